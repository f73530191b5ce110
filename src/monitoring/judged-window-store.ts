import type { RegistryDatabase } from '../registry/database/database.ts';
import type { MonitorTables } from '../registry/database/tables/monitors.ts';

/** A window as it was judged. */
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

type Stored = Omit<MonitorTables['monitor_windows'], 'window_key'> & { window_key: number };
/** Windows of monitors and what was said of them, in the registry's database. */
export class JudgedWindowStore {
  private readonly database: RegistryDatabase;
  private readonly kept: number;

  /** @param kept of each monitor */
  constructor(database: RegistryDatabase, kept: number) {
    this.database = database;
    this.kept = kept;
  }

  /** Resolves with the window's number. The oldest beyond the limit are forgotten. */
  add(row: Omit<WindowRow, 'key'>): Promise<number> {
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
          .offset(this.kept)
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
  async has(
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
  async list(monitor: string, before: number, limit: number): Promise<WindowRow[]> {
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
    return rows.map((row) => windowOf(row as Stored));
  }

  async byKey(keys: readonly number[]): Promise<WindowRow[]> {
    if (keys.length === 0) return [];
    const rows = await this.database.read((db) =>
      db.selectFrom('monitor_windows').selectAll().where('window_key', 'in', keys).orderBy('window_key').execute(),
    );
    return rows.map((row) => windowOf(row as Stored));
  }

  /** Windows of a version that ended in a time, oldest first. */
  async between(monitor: string, version: string, from: number, to: number): Promise<WindowRow[]> {
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
    return rows.map((row) => windowOf(row as Stored));
  }
}

function windowOf(row: Stored): WindowRow {
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
