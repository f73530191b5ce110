import { Kysely, PostgresDialect } from 'kysely';
import pg from 'pg';
import { RegistryError } from '../errors.ts';
import type { Db, RegistryDatabase } from './database.ts';
import type { SharedWrite } from './group-commit.ts';
import { migrate } from './migrations.ts';
import type { Tables } from './tables.ts';

const INT8 = 20;
/** Serialization failure, deadlock: the same write may well succeed the next time. */
const CONFLICTS = new Set(['40001', '40P01']);
const ATTEMPTS = 5;
/** SQL states of a server that is starting, stopping, failing over or full, and what the network says of one that is away. */
const LOST =
  /^(08...|57P0[1-5]|53300|25006|ECONNREFUSED|ECONNRESET|ECONNABORTED|EPIPE|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|ENOTFOUND|EAI_AGAIN)$/;
/** pg and its pool say these without a code. */
const LOST_WITHOUT_CODE =
  /^(Connection terminated|Client has encountered a connection error|Client was closed|timeout e(xceeded|xpired))/;

/** PostgreSQL through a pool: every write is a transaction of its own. */
class PostgresDatabase implements RegistryDatabase {
  readonly kind = 'postgres';
  private readonly db: Db;

  constructor(db: Db) {
    this.db = db;
  }

  async read<T>(fn: (db: Db) => Promise<T>): Promise<T> {
    try {
      return await fn(this.db);
    } catch (error) {
      throw told(error);
    }
  }

  async write<T>(fn: (db: Db) => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.db.transaction().execute(fn);
      } catch (error) {
        if (attempt === ATTEMPTS || !CONFLICTS.has((error as { code?: string }).code ?? '')) throw told(error);
      }
    }
  }

  async writeShared<Item, Result>(kind: SharedWrite<Db, Item, Result>, item: Item): Promise<Result> {
    const [result] = await this.write((db) => kind.run(db, [item]));
    return result;
  }

  async close(): Promise<void> {
    await this.db.destroy();
  }
}

/** A lost connection, or too many conflicts, as an error that is worth a retry, which MLflow's client does by itself. */
function told(error: unknown): unknown {
  const { code, message } = error as { code?: unknown; message?: unknown };
  if (typeof code === 'string' && CONFLICTS.has(code)) {
    const text = `the write was in conflict with others ${ATTEMPTS} times; try again`;
    return new RegistryError('TEMPORARILY_UNAVAILABLE', text, { retryAfterMs: 1000, cause: error });
  }
  const lost = typeof code === 'string' ? LOST.test(code) : LOST_WITHOUT_CODE.test(String(message));
  if (!lost) return error;
  const text = "the registry's database cannot be reached; try again";
  return new RegistryError('TEMPORARILY_UNAVAILABLE', text, { retryAfterMs: 1000, cause: error });
}

export async function openPostgres(url: string): Promise<RegistryDatabase> {
  const pool = new pg.Pool({
    connectionString: url,
    max: 16,
    connectionTimeoutMillis: 5_000,
    // Milliseconds, steps and row numbers stay below 2^53.
    types: { getTypeParser: (oid, format) => (oid === INT8 ? Number : pg.types.getTypeParser(oid, format as 'text')) },
  });
  // Of idle connections; the pool replaces them. One that is lost while it is in use tells its query, and all who listen:
  // with nobody there, it would end the process.
  pool.on('error', () => {});
  pool.on('connect', (client) => client.on('error', () => {}));
  const db: Db = new Kysely<Tables>({ dialect: new PostgresDialect({ pool }) });
  try {
    await migrate(db as unknown as Kysely<never>, 'postgres');
  } catch (error) {
    await db.destroy();
    throw error;
  }
  return new PostgresDatabase(db);
}
