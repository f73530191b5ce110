import type { Kysely } from 'kysely';
import type { SharedWrite } from './group-commit.ts';
import type { Tables } from './tables.ts';

/** What queries run on: the whole database, or one write's place in a transaction. */
export type Db = Kysely<Tables>;

export type DatabaseKind = 'sqlite' | 'postgres';

/** The registry's SQL database. Both implementations hold the same tables and give the same promises. */
export interface RegistryDatabase {
  readonly kind: DatabaseKind;
  /** Queries that see what is committed. Each statement is a snapshot of its own. */
  read<T>(fn: (db: Db) => Promise<T>): Promise<T>;
  /**
   * Runs `fn` as one atomic write, and resolves after its commit is on disk. When `fn` throws, nothing of it stays.
   * `fn` awaits nothing but queries on `db`: on SQLite other writes share its transaction and wait for it. It may run
   * again when PostgreSQL reports a conflict, so it has no other effects.
   */
  write<T>(fn: (db: Db) => Promise<T>): Promise<T>;
  /**
   * As `write`, for a kind of write that comes often: on SQLite those that share a commit are run together, so that they
   * share their statements too. What holds for `fn` holds for `kind.run`.
   */
  writeShared<Item, Result>(kind: SharedWrite<Db, Item, Result>, item: Item): Promise<Result>;
  close(): Promise<void>;
}

export type DatabaseSettings = { kind: 'sqlite'; file: string } | { kind: 'postgres'; url: string };

/** Opens the database and brings its tables up to date. Rejects when it cannot be reached or is newer than this program. */
export async function openDatabase(settings: DatabaseSettings): Promise<RegistryDatabase> {
  if (settings.kind === 'sqlite') return (await import('./sqlite.ts')).openSqlite(settings.file);
  return (await import('./postgres.ts')).openPostgres(settings.url);
}
