import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { Kysely, SqliteDialect } from 'kysely';
import Database from 'libsql';
import AsyncDatabase from 'libsql/promise';
import { LRUCache } from 'lru-cache';
import type { Db, RegistryDatabase } from './database.ts';
import { GroupCommit, type SharedWrite } from './group-commit.ts';
import { migrate } from './migrations.ts';
import { runDirectly } from './statements.ts';
import type { Tables } from './tables.ts';

type Connection = InstanceType<typeof Database>;

const PRAGMAS = [
  // First: the next one waits for whoever has the file, such as a process that was killed and has not quite gone.
  'busy_timeout = 5000',
  'journal_mode = WAL',
  // A commit returns when it is on disk, not when the system has it.
  'synchronous = FULL',
  'foreign_keys = ON',
  'temp_store = MEMORY',
  'cache_size = -65536',
  // A checkpoint writes every page once, however many commits changed it.
  'wal_autocheckpoint = 16000',
];

function connect(file: string): Connection {
  const connection = new Database(file);
  for (const pragma of PRAGMAS) connection.exec(`PRAGMA ${pragma}`);
  return connection;
}

interface Prepared {
  reader: boolean;
  all(parameters: readonly unknown[]): unknown[];
  run(parameters: readonly unknown[]): { changes: number; lastInsertRowid: number };
  iterate(parameters: readonly unknown[]): IterableIterator<unknown>;
}

/** kysely prepares anew for each execution, which costs more than most executions do. */
class StatementCache {
  private readonly connection: Connection;
  private readonly statements = new LRUCache<string, Prepared>({ max: 500 });

  constructor(connection: Connection) {
    this.connection = connection;
  }

  prepare(text: string): Prepared {
    const known = this.statements.get(text);
    if (known !== undefined) return known;
    const statement = this.connection.prepare(text);
    const prepared: Prepared = {
      reader: statement.reader,
      all: (parameters) => statement.all(parameters),
      run: (parameters) => {
        const { changes, lastInsertRowid } = statement.run(parameters);
        return { changes, lastInsertRowid: Number(lastInsertRowid) };
      },
      iterate: (parameters) => statement.iterate(parameters) as IterableIterator<unknown>,
    };
    this.statements.set(text, prepared);
    return prepared;
  }

  /** Runs a statement and gives its rows, without kysely. */
  execute(text: string, parameters: readonly unknown[]): unknown[] {
    const prepared = this.prepare(text);
    if (prepared.reader) return prepared.all(parameters);
    prepared.run(parameters);
    return [];
  }

  close(): void {
    this.statements.clear();
    this.connection.close();
  }
}

function kyselyOn(statements: StatementCache): Db {
  const db: Db = new Kysely<Tables>({ dialect: new SqliteDialect({ database: statements }) });
  runDirectly(db, (text, parameters) => statements.execute(text, parameters));
  return db;
}

/** One connection writes, another reads what is committed: in WAL mode neither waits for the other. */
class SqliteDatabase implements RegistryDatabase {
  readonly kind = 'sqlite';
  private readonly reader: Db;
  private readonly writer: Db;
  private readonly group: GroupCommit<Db>;

  constructor(reader: Db, writer: Db, group: GroupCommit<Db>) {
    this.reader = reader;
    this.writer = writer;
    this.group = group;
  }

  read<T>(fn: (db: Db) => Promise<T>): Promise<T> {
    return fn(this.reader);
  }

  write<T>(fn: (db: Db) => Promise<T>): Promise<T> {
    return this.group.write(fn);
  }

  writeShared<Item, Result>(kind: SharedWrite<Db, Item, Result>, item: Item): Promise<Result> {
    return this.group.writeShared(kind, item);
  }

  async close(): Promise<void> {
    await this.group.close();
    await this.reader.destroy();
    await this.writer.destroy();
  }
}

export async function openSqlite(file: string): Promise<RegistryDatabase> {
  mkdirSync(dirname(file), { recursive: true });
  const connection = connect(file);
  const statements = new StatementCache(connection);
  const writer = kyselyOn(statements);
  try {
    await migrate(writer as unknown as Kysely<never>, 'sqlite');
  } catch (error) {
    await writer.destroy();
    throw error;
  }
  const reader = kyselyOn(new StatementCache(connect(file)));
  const group = new GroupCommit<Db>(
    {
      exec: (text) => void statements.execute(text, []),
      // Both classes of the library hold the same native connection; this one's calls run on a thread of the library.
      commit: () => AsyncDatabase.prototype.exec.call(connection, 'COMMIT') as Promise<void>,
      get inTransaction() {
        return connection.inTransaction;
      },
    },
    writer,
  );
  return new SqliteDatabase(reader, writer, group);
}
