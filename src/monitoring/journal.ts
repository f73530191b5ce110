import { createRequire } from 'node:module';
import { deserialize } from 'node:v8';
import type Database from 'libsql';

/** A disk that refuses them for so long loses the oldest; what is in memory goes on. */
const MOST_WAITING = 100_000;
const require = createRequire(import.meta.url);

type Parameters = readonly (string | number | Uint8Array)[];
type Statement = ReturnType<InstanceType<typeof Database>['prepare']>;

/**
 * The database beside the event log in which monitors write down what must outlive the process. What is added waits for the
 * next flush, and is written by one transaction with all else: so it is of one moment. Used by the log thread alone. A disk
 * that refuses is told and tried again, and costs nothing but this.
 */
export class Journal {
  private readonly db: InstanceType<typeof Database>;
  private readonly problem: (error: unknown) => void;
  private readonly statements = new Map<string, Statement>();
  private waiting: { text: string; parameters: Parameters }[] = [];
  private failing = false;
  /** The library ends the process where a closed database is used. */
  private closed = false;

  /** Throws what the disk says. @param problem is told once, until it goes on. */
  constructor(file: string, problem: (error: unknown) => void) {
    this.problem = problem;
    // Loaded with the first monitor: no log thread starts with it.
    const Library = require('libsql') as typeof Database;
    this.db = new Library(file);
    // First: the next one waits for a process that was killed and has not quite gone.
    // A commit outlives the process at once, and a power cut once the system has written it.
    for (const pragma of [
      'busy_timeout = 5000',
      'journal_mode = WAL',
      'synchronous = NORMAL',
      'wal_autocheckpoint = 4000',
    ])
      this.db.exec(`PRAGMA ${pragma}`);
  }

  /** How many writes wait. */
  get size(): number {
    return this.waiting.length;
  }

  /** Throws what the disk says. */
  define(tables: string): void {
    this.db.exec(tables);
  }

  add(text: string, ...parameters: Parameters): void {
    this.waiting.push({ text, parameters });
  }

  /** Throws what the disk says. */
  all<T>(text: string, ...parameters: string[]): T[] {
    return this.db.prepare(text).all(parameters) as T[];
  }

  /** What `read` gives when all that waited is written; tells of a disk that refuses, and gives `otherwise`. */
  read<T>(read: () => T, otherwise: T): T {
    this.flush();
    try {
      return read();
    } catch (error) {
      this.problem(error);
      return otherwise;
    }
  }

  /** What was added so far outlives the process. False: the disk refuses it for now. */
  flush(): boolean {
    const { waiting } = this;
    if (waiting.length === 0 || this.closed) return true;
    try {
      this.db.exec('BEGIN');
      for (const { text, parameters } of waiting) this.statement(text).run([...parameters]);
      this.db.exec('COMMIT');
      this.waiting = [];
      this.failing = false;
      return true;
    } catch (error) {
      if (this.db.inTransaction) this.db.exec('ROLLBACK');
      if (waiting.length > MOST_WAITING) this.waiting = waiting.slice(-MOST_WAITING);
      if (!this.failing) this.problem(error);
      this.failing = true;
      return false;
    }
  }

  close(): void {
    this.flush();
    this.waiting = [];
    this.closed = true;
    this.db.close();
  }

  private statement(text: string): Statement {
    let statement = this.statements.get(text);
    if (statement === undefined) {
      statement = this.db.prepare(text);
      this.statements.set(text, statement);
    }
    return statement;
  }
}

/** Of what was serialised: the library gives bytes as an ArrayBuffer. */
export function unpacked(bytes: ArrayBuffer): unknown {
  return deserialize(Buffer.from(bytes));
}
