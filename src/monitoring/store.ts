import { type CommitContext, commit, type Happening } from '../registry/commit.ts';
import type { RegistryDatabase } from '../registry/database/database.ts';
import type { MonitorTables } from '../registry/database/tables/monitors.ts';
import { type Alarm, QUIET } from './alarm.ts';
import type { RetrainingStatus } from './retraining.ts';
import { freshRetrainState, type RetrainState } from './retraining.ts';
import type { DatasetPlace, Exported, Reference } from './types.ts';

/** Everything that a monitor remembers. JSON as it is. */
export interface MonitorState {
  /** By signal and version: 'drift/3', 'accuracy/3'. */
  alarms: Record<string, Alarm>;
  /** By metric and version: figures of the first windows. */
  first: Record<string, number[]>;
  /** The version that `retrain.alias` named last; '' = not known. */
  champion: string;
  /** Versions that had it before: what is still heard of them rings no more. */
  retired: string[];
  retrain: RetrainState;
  /** Grows with each reset by a person. */
  generation: number;
}

export function freshState(): MonitorState {
  return { alarms: {}, first: {}, champion: '', retired: [], retrain: freshRetrainState(), generation: 0 };
}

export function alarmOf({ alarms }: MonitorState, key: string): Alarm {
  return alarms[key] ?? { ...QUIET };
}

export interface WindowRow {
  key: number;
  monitor: string;
  version: string;
  kind: 'drift' | 'quality';
  state: string;
  reason: string;
  rows: number;
  from: number;
  to: number;
  firstId: string;
  lastId: string;
  body: unknown;
}

export interface RetrainingRow {
  key: number;
  id: string;
  monitor: string;
  model: string;
  fromVersion: string;
  cause: string;
  reason: string;
  changedAt: number;
  status: RetrainingStatus;
  outcome: string;
  /** Older ones are in no dataset. */
  dataset: (Exported & { file: string } & Partial<DatasetPlace>) | null;
  pipelineRun: string;
  version: string;
  createdAt: number;
  endedAt: number | null;
}

type StoredWindow = Omit<MonitorTables['monitor_windows'], 'window_key'> & { window_key: number };
type StoredRetraining = Omit<MonitorTables['monitor_retrainings'], 'retraining_key'> & { retraining_key: number };

/** What monitors are, saw and did, in the registry's database. */
export class MonitorStore {
  private readonly database: RegistryDatabase;
  private readonly commits: CommitContext;
  private readonly keepWindows: number;

  /** @param keepWindows of each monitor */
  constructor(commits: CommitContext, keepWindows: number) {
    this.database = commits.database;
    this.commits = commits;
    this.keepWindows = keepWindows;
  }

  documents(): Promise<{ name: string; body: string }[]> {
    return this.database.read((db) =>
      db.selectFrom('monitor_documents').select(['name', 'body']).orderBy('name').execute(),
    );
  }

  /** All in one write. `body: undefined` removes. */
  putDocuments(changes: readonly { name: string; body: string | undefined }[], now: number): Promise<void> {
    return this.database.write(async (db) => {
      for (const { name, body } of changes) {
        if (body === undefined) await db.deleteFrom('monitor_documents').where('name', '=', name).execute();
        else
          await db
            .insertInto('monitor_documents')
            .values({ name, body, changed_at: now })
            .onConflict((conflict) => conflict.column('name').doUpdateSet({ body, changed_at: now }))
            .execute();
      }
    });
  }

  async references(monitor: string): Promise<Reference[]> {
    const rows = await this.database.read((db) =>
      db.selectFrom('monitor_references').select('body').where('monitor', '=', monitor).orderBy('frozen_at').execute(),
    );
    return rows.map(({ body }) => JSON.parse(body) as Reference);
  }

  putReference(reference: Reference): Promise<void> {
    const { monitor, version, digest, frozenAt: frozen_at } = reference;
    const body = JSON.stringify(reference);
    return this.database.write(async (db) => {
      await db
        .insertInto('monitor_references')
        .values({ monitor, version, digest, body, frozen_at })
        .onConflict((conflict) => conflict.columns(['monitor', 'version', 'digest']).doUpdateSet({ body, frozen_at }))
        .execute();
    });
  }

  dropReferences(monitor: string): Promise<void> {
    return this.database.write(async (db) => {
      await db.deleteFrom('monitor_references').where('monitor', '=', monitor).execute();
    });
  }

  /** Resolves with the window's number. The oldest beyond the limit are forgotten. */
  addWindow(row: Omit<WindowRow, 'key'>): Promise<number> {
    return this.database.write(async (db) => {
      const { window_key } = await db
        .insertInto('monitor_windows')
        .values({
          monitor: row.monitor,
          version: row.version,
          kind: row.kind,
          state: row.state,
          reason: row.reason.slice(0, 2000),
          row_count: row.rows,
          from_at: row.from,
          to_at: row.to,
          first_id: row.firstId,
          last_id: row.lastId,
          body: JSON.stringify(row.body),
        })
        .returning('window_key')
        .executeTakeFirstOrThrow();
      if (window_key % 100 === 0) {
        const oldest = await db
          .selectFrom('monitor_windows')
          .select('window_key')
          .where('monitor', '=', row.monitor)
          .orderBy('window_key', 'desc')
          .offset(this.keepWindows)
          .limit(1)
          .executeTakeFirst();
        if (oldest !== undefined)
          await db
            .deleteFrom('monitor_windows')
            .where('monitor', '=', row.monitor)
            .where('window_key', '<=', oldest.window_key)
            .execute();
      }
      return Number(window_key);
    });
  }

  /** Whether a window of these requests is there. */
  async hasWindow(
    kind: WindowRow['kind'],
    {
      monitor,
      version,
      from,
      to,
      firstId,
      lastId,
    }: Pick<WindowRow, 'monitor' | 'version' | 'from' | 'to' | 'firstId' | 'lastId'>,
  ): Promise<boolean> {
    const row = await this.database.read((db) =>
      db
        .selectFrom('monitor_windows')
        .select('window_key')
        .where('monitor', '=', monitor)
        .where('version', '=', version)
        .where('kind', '=', kind)
        .where('from_at', '=', from)
        .where('to_at', '=', to)
        .where('first_id', '=', firstId)
        .where('last_id', '=', lastId)
        .executeTakeFirst(),
    );
    return row !== undefined;
  }

  /** Newest first. */
  async windows(monitor: string, before: number, limit: number): Promise<WindowRow[]> {
    const rows = await this.database.read((db) =>
      db
        .selectFrom('monitor_windows')
        .selectAll()
        .where('monitor', '=', monitor)
        .where('window_key', '<', before)
        .orderBy('window_key', 'desc')
        .limit(limit)
        .execute(),
    );
    return rows.map((row) => windowOf(row as StoredWindow));
  }

  async windowsByKey(keys: readonly number[]): Promise<WindowRow[]> {
    if (keys.length === 0) return [];
    const rows = await this.database.read((db) =>
      db.selectFrom('monitor_windows').selectAll().where('window_key', 'in', keys).orderBy('window_key').execute(),
    );
    return rows.map((row) => windowOf(row as StoredWindow));
  }

  /** Windows of a version that ended in a time, oldest first. */
  async windowsBetween(monitor: string, version: string, from: number, to: number): Promise<WindowRow[]> {
    const rows = await this.database.read((db) =>
      db
        .selectFrom('monitor_windows')
        .selectAll()
        .where('monitor', '=', monitor)
        .where('version', '=', version)
        .where('to_at', '>=', from)
        .where('from_at', '<=', to)
        .orderBy('window_key')
        .limit(100)
        .execute(),
    );
    return rows.map((row) => windowOf(row as StoredWindow));
  }

  async state(name: string): Promise<MonitorState> {
    const row = await this.database.read((db) =>
      db.selectFrom('monitor_states').select('body').where('name', '=', name).executeTakeFirst(),
    );
    return row === undefined ? freshState() : (JSON.parse(row.body) as MonitorState);
  }

  /** Changes a state in one write: several servers may do so at once. `before` is what `change` was given. */
  update(
    name: string,
    now: number,
    change: (state: MonitorState) => MonitorState,
    tells: (before: MonitorState, after: MonitorState) => readonly Happening[] = () => [],
  ): Promise<{ before: MonitorState; after: MonitorState }> {
    return commit(this.commits, async (db, _, note) => {
      await db
        .insertInto('monitor_states')
        .values({ name, body: JSON.stringify(freshState()), changed_at: now })
        .onConflict((conflict) => conflict.column('name').doNothing())
        .execute();
      let query = db.selectFrom('monitor_states').select('body').where('name', '=', name);
      if (this.database.kind === 'postgres') query = query.forUpdate();
      const before = JSON.parse((await query.executeTakeFirstOrThrow()).body) as MonitorState;
      const after = change(before);
      if (after !== before)
        await db
          .updateTable('monitor_states')
          .set({ body: JSON.stringify(after), changed_at: now })
          .where('name', '=', name)
          .execute();
      for (const happening of tells(before, after)) note(happening);
      return { before, after };
    });
  }

  addRetraining(row: Omit<RetrainingRow, 'key'>): Promise<void> {
    return this.database.write(async (db) => {
      await db
        .insertInto('monitor_retrainings')
        .values({
          id: row.id,
          monitor: row.monitor,
          model: row.model,
          from_version: row.fromVersion,
          cause: row.cause,
          reason: row.reason.slice(0, 2000),
          changed_at: row.changedAt,
          status: row.status,
          outcome: row.outcome,
          dataset: JSON.stringify(row.dataset),
          pipeline_run: row.pipelineRun,
          version: row.version,
          created_at: row.createdAt,
          ended_at: row.endedAt,
        })
        .onConflict((conflict) => conflict.column('id').doNothing())
        .execute();
    });
  }

  changeRetraining(id: string, { status, outcome, version, endedAt, dataset }: Partial<RetrainingRow>): Promise<void> {
    return this.database.write(async (db) => {
      await db
        .updateTable('monitor_retrainings')
        .set({
          ...(status === undefined ? {} : { status }),
          ...(outcome === undefined ? {} : { outcome: outcome.slice(0, 2000) }),
          ...(version === undefined ? {} : { version }),
          ...(endedAt === undefined ? {} : { ended_at: endedAt }),
          ...(dataset === undefined ? {} : { dataset: JSON.stringify(dataset) }),
        })
        .where('id', '=', id)
        .execute();
    });
  }

  async retraining(id: string): Promise<RetrainingRow | undefined> {
    const row = await this.database.read((db) =>
      db.selectFrom('monitor_retrainings').selectAll().where('id', '=', id).executeTakeFirst(),
    );
    return row === undefined ? undefined : retrainingOf(row as StoredRetraining);
  }

  /** Those that began since a time, oldest first. */
  async retrainingsSince(monitor: string, since: number, limit: number): Promise<RetrainingRow[]> {
    const rows = await this.database.read((db) =>
      db
        .selectFrom('monitor_retrainings')
        .selectAll()
        .where('monitor', '=', monitor)
        .where('created_at', '>=', since)
        .orderBy('retraining_key')
        .limit(limit)
        .execute(),
    );
    return rows.map((row) => retrainingOf(row as StoredRetraining));
  }

  /** Those that brought a version, newest first. */
  async retrainingsTo(model: string, version: string, before: number, limit: number): Promise<RetrainingRow[]> {
    const rows = await this.database.read((db) =>
      db
        .selectFrom('monitor_retrainings')
        .selectAll()
        .where('model', '=', model)
        .where('version', '=', version)
        .where('retraining_key', '<', before)
        .orderBy('retraining_key', 'desc')
        .limit(limit)
        .execute(),
    );
    return rows.map((row) => retrainingOf(row as StoredRetraining));
  }

  /** Newest first. */
  async retrainings(monitor: string, before: number, limit: number): Promise<RetrainingRow[]> {
    const rows = await this.database.read((db) =>
      db
        .selectFrom('monitor_retrainings')
        .selectAll()
        .where('monitor', '=', monitor)
        .where('retraining_key', '<', before)
        .orderBy('retraining_key', 'desc')
        .limit(limit)
        .execute(),
    );
    return rows.map((row) => retrainingOf(row as StoredRetraining));
  }
}

function windowOf(row: StoredWindow): WindowRow {
  return {
    key: Number(row.window_key),
    monitor: row.monitor,
    version: row.version,
    kind: row.kind,
    state: row.state,
    reason: row.reason,
    rows: Number(row.row_count),
    from: Number(row.from_at),
    to: Number(row.to_at),
    firstId: row.first_id,
    lastId: row.last_id,
    body: JSON.parse(row.body),
  };
}

function retrainingOf(row: StoredRetraining): RetrainingRow {
  return {
    key: Number(row.retraining_key),
    id: row.id,
    monitor: row.monitor,
    model: row.model,
    fromVersion: row.from_version,
    cause: row.cause,
    reason: row.reason,
    changedAt: Number(row.changed_at),
    status: row.status as RetrainingStatus,
    outcome: row.outcome,
    dataset: JSON.parse(row.dataset) as RetrainingRow['dataset'],
    pipelineRun: row.pipeline_run,
    version: row.version,
    createdAt: Number(row.created_at),
    endedAt: row.ended_at === null ? null : Number(row.ended_at),
  };
}
