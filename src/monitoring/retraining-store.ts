import type { RegistryDatabase } from '../registry/database/database.ts';
import type { MonitorTables } from '../registry/database/tables/monitors.ts';
import type { RetrainingStatus } from './retraining.ts';
import type { DatasetPlace, Exported } from './types.ts';

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

type Stored = Omit<MonitorTables['monitor_retrainings'], 'retraining_key'> & { retraining_key: number };

/** Retrainings that monitors began and what became of them, in the registry's database. */
export class RetrainingStore {
  private readonly database: RegistryDatabase;

  constructor(database: RegistryDatabase) {
    this.database = database;
  }

  add(row: Omit<RetrainingRow, 'key'>): Promise<void> {
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

  change(id: string, { status, outcome, version, endedAt, dataset }: Partial<RetrainingRow>): Promise<void> {
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

  async get(id: string): Promise<RetrainingRow | undefined> {
    const row = await this.database.read((db) =>
      db.selectFrom('monitor_retrainings').selectAll().where('id', '=', id).executeTakeFirst(),
    );
    return row === undefined ? undefined : retrainingOf(row as Stored);
  }

  /** Those that began since a time, oldest first. */
  async since(monitor: string, since: number, limit: number): Promise<RetrainingRow[]> {
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
    return rows.map((row) => retrainingOf(row as Stored));
  }

  /** Those that brought a version, newest first. */
  async bringing(model: string, version: string, before: number, limit: number): Promise<RetrainingRow[]> {
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
    return rows.map((row) => retrainingOf(row as Stored));
  }

  /** Newest first. */
  async list(monitor: string, before: number, limit: number): Promise<RetrainingRow[]> {
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
    return rows.map((row) => retrainingOf(row as Stored));
  }
}

function retrainingOf(row: Stored): RetrainingRow {
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
