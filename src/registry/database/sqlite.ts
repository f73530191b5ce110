import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { Kysely, SqliteDialect } from 'kysely';
import Database from 'libsql';
import { LRUCache } from 'lru-cache';
import type { Db, RegistryDatabase } from './database.ts';
import { GroupCommit } from './group-commit.ts';
import { migrate } from './migrations.ts';
import type { Tables } from './tables.ts';

type Connection = InstanceType<typeof Database>;

const PRAGMAS = [
  'journal_mode = WAL',
  // A commit returns when it is on disk, not when the system has it.
  'synchronous = FULL',
  'foreign_keys = ON',
  'busy_timeout = 5000',
  'temp_store = MEMORY',
  'cache_size = -65536',
  // A checkpoint writes every page once, however many commits changed it.
  'wal_autocheckpoint = 4000',
];

function connect(file: string): Connection {
  const connection = new Database(file);
  for (const pragma of PRAGMAS) connection.exec(`PRAGMA ${pragma}`);
  return connection;
}

/** kysely prepares anew for each execution, which costs more than most executions do. */
function withStatementCache(connection: Connection): ConstructorParameters<typeof SqliteDialect>[0]['database'] {
  const statements = new LRUCache<string, Prepared>({ max: 500 });
  return {
    prepare: (text: string) => {
      let prepared = statements.get(text);
      if (prepared === undefined) {
        const statement = connection.prepare(text);
        prepared = {
          reader: statement.reader,
          all: (parameters) => statement.all(parameters),
          run: (parameters) => {
            const { changes, lastInsertRowid } = statement.run(parameters);
            return { changes, lastInsertRowid: Number(lastInsertRowid) };
          },
          iterate: (parameters) => statement.iterate(parameters) as IterableIterator<unknown>,
        };
        statements.set(text, prepared);
      }
      return prepared;
    },
    close: () => {
      statements.clear();
      connection.close();
    },
  };
}

interface Prepared {
  reader: boolean;
  all(parameters: readonly unknown[]): unknown[];
  run(parameters: readonly unknown[]): { changes: number; lastInsertRowid: number };
  iterate(parameters: readonly unknown[]): IterableIterator<unknown>;
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

  async close(): Promise<void> {
    await this.group.close();
    await this.reader.destroy();
    await this.writer.destroy();
  }
}

export async function openSqlite(file: string): Promise<RegistryDatabase> {
  mkdirSync(dirname(file), { recursive: true });
  const connection = connect(file);
  const writer: Db = new Kysely<Tables>({ dialect: new SqliteDialect({ database: withStatementCache(connection) }) });
  try {
    await migrate(writer as unknown as Kysely<never>, 'sqlite');
  } catch (error) {
    await writer.destroy();
    throw error;
  }
  const reader: Db = new Kysely<Tables>({
    dialect: new SqliteDialect({ database: withStatementCache(connect(file)) }),
  });
  const control = new Map<string, { run(parameters: unknown[]): unknown }>();
  const statement = (text: string): { run(parameters: unknown[]): unknown } => {
    let prepared = control.get(text);
    if (prepared === undefined) {
      prepared = connection.prepare(text);
      control.set(text, prepared);
    }
    return prepared;
  };
  const group = new GroupCommit<Db>(
    {
      exec: (text) => void statement(text).run([]),
      get inTransaction() {
        return connection.inTransaction;
      },
    },
    writer,
  );
  return new SqliteDatabase(reader, writer, group);
}
