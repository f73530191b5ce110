import type { Insertable, Selectable } from 'kysely';
import type { Db, RegistryDatabase } from '../../registry/database/database.ts';
import type { SweepTables } from '../../registry/database/tables/sweeps.ts';

export type SweepRow = Selectable<SweepTables['sweeps']>;
export type TrialRow = Selectable<SweepTables['sweep_trials']>;

/** Sweeps and trials in SQL. What takes a `db` is part of the caller's write. */
export class SweepStore {
  private readonly database: RegistryDatabase;

  constructor(database: RegistryDatabase) {
    this.database = database;
  }

  write<T>(fn: (db: Db) => Promise<T>): Promise<T> {
    return this.database.write(fn);
  }

  /** Keeps a new sweep; false: its idempotency key is taken. */
  async insert(db: Db, row: Insertable<SweepTables['sweeps']>): Promise<boolean> {
    const inserted = await db
      .insertInto('sweeps')
      .values(row)
      .onConflict((conflict) => conflict.column('idempotency_key').doNothing())
      .returning('sweep_id')
      .executeTakeFirst();
    return inserted !== undefined;
  }

  get(id: string): Promise<SweepRow | undefined> {
    return this.database.read((db) =>
      db.selectFrom('sweeps').selectAll().where('sweep_id', '=', id).executeTakeFirst(),
    );
  }

  byKey(key: string): Promise<SweepRow | undefined> {
    return this.database.read((db) =>
      db.selectFrom('sweeps').selectAll().where('idempotency_key', '=', key).executeTakeFirst(),
    );
  }

  /** Newest first, behind the place (creation time, id). */
  list(limit: number, status: string | undefined, after: readonly [number, string] | undefined): Promise<SweepRow[]> {
    return this.database.read((db) => {
      let query = db.selectFrom('sweeps').selectAll();
      if (status !== undefined) query = query.where('status', '=', status);
      if (after !== undefined) {
        const [at, id] = after;
        query = query.where((where) =>
          where.or([
            where('created_at', '<', at),
            where.and([where('created_at', '=', at), where('sweep_id', '<', id)]),
          ]),
        );
      }
      return query.orderBy('created_at', 'desc').orderBy('sweep_id', 'desc').limit(limit).execute();
    });
  }

  /** The sweeps that are not over. */
  open(): Promise<{ sweep_id: string; status: string }[]> {
    return this.database.read((db) =>
      db.selectFrom('sweeps').select(['sweep_id', 'status']).where('status', 'in', ['running', 'ending']).execute(),
    );
  }

  /** Changes a sweep that stands at `from`; false: it does not. */
  async change(db: Db, id: string, from: string, set: Partial<SweepRow>): Promise<boolean> {
    const changed = await db
      .updateTable('sweeps')
      .set(set)
      .where('sweep_id', '=', id)
      .where('status', '=', from)
      .returning('sweep_id')
      .executeTakeFirst();
    return changed !== undefined;
  }

  /** By number, from a number on. */
  trials(id: string, from = 0, limit = Number.MAX_SAFE_INTEGER): Promise<TrialRow[]> {
    return this.database.read((db) =>
      db
        .selectFrom('sweep_trials')
        .selectAll()
        .where('sweep_id', '=', id)
        .where('number', '>=', from)
        .orderBy('number')
        .limit(limit)
        .execute(),
    );
  }

  /** How many trials of each sweep stand where. */
  counts(ids: readonly string[]): Promise<{ sweep_id: string; status: string; count: number }[]> {
    if (ids.length === 0) return Promise.resolve([]);
    return this.database.read(async (db) => {
      const rows = await db
        .selectFrom('sweep_trials')
        .select(['sweep_id', 'status'])
        .select((select) => select.fn.countAll().as('count'))
        .where('sweep_id', 'in', ids)
        .groupBy(['sweep_id', 'status'])
        .execute();
      return rows.map((row) => ({ ...row, count: Number(row.count) }));
    });
  }

  /** The complete trial with the lowest, or highest, value. */
  best(id: string, direction: 'asc' | 'desc'): Promise<TrialRow | undefined> {
    return this.database.read((db) =>
      db
        .selectFrom('sweep_trials')
        .selectAll()
        .where('sweep_id', '=', id)
        .where('status', '=', 'complete')
        .where('value', 'is not', null)
        .orderBy('value', direction)
        .orderBy('number')
        .limit(1)
        .executeTakeFirst(),
    );
  }

  /** Keeps a new trial; false: somebody else has kept one with this number. */
  async addTrial(row: TrialRow): Promise<boolean> {
    const inserted = await this.database.write((db) =>
      db
        .insertInto('sweep_trials')
        .values(row)
        .onConflict((conflict) => conflict.columns(['sweep_id', 'number']).doNothing())
        .returning('number')
        .executeTakeFirst(),
    );
    return inserted !== undefined;
  }

  async changeTrial(db: Db, id: string, number: number, set: Partial<TrialRow>): Promise<void> {
    await db.updateTable('sweep_trials').set(set).where('sweep_id', '=', id).where('number', '=', number).execute();
  }
}
