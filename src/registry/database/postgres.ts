import { Kysely, PostgresDialect } from 'kysely';
import pg from 'pg';
import type { Db, RegistryDatabase } from './database.ts';
import { migrate } from './migrations.ts';
import type { Tables } from './tables.ts';

const INT8 = 20;
/** Serialization failure, deadlock: the same write may well succeed the next time. */
const CONFLICTS = new Set(['40001', '40P01']);
const ATTEMPTS = 5;

/** PostgreSQL through a pool: every write is a transaction of its own. */
class PostgresDatabase implements RegistryDatabase {
  readonly kind = 'postgres';
  private readonly db: Db;

  constructor(db: Db) {
    this.db = db;
  }

  read<T>(fn: (db: Db) => Promise<T>): Promise<T> {
    return fn(this.db);
  }

  async write<T>(fn: (db: Db) => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.db.transaction().execute(fn);
      } catch (error) {
        if (attempt === ATTEMPTS || !CONFLICTS.has((error as { code?: string }).code ?? '')) throw error;
      }
    }
  }

  async close(): Promise<void> {
    await this.db.destroy();
  }
}

export async function openPostgres(url: string): Promise<RegistryDatabase> {
  const pool = new pg.Pool({
    connectionString: url,
    max: 16,
    connectionTimeoutMillis: 5_000,
    // Milliseconds, steps and row numbers stay below 2^53.
    types: { getTypeParser: (oid, format) => (oid === INT8 ? Number : pg.types.getTypeParser(oid, format as 'text')) },
  });
  // Of idle connections; the pool replaces them.
  pool.on('error', () => {});
  const db: Db = new Kysely<Tables>({ dialect: new PostgresDialect({ pool }) });
  try {
    await migrate(db as unknown as Kysely<never>, 'postgres');
  } catch (error) {
    await db.destroy();
    throw error;
  }
  return new PostgresDatabase(db);
}
