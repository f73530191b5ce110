import { Gathering } from './gathering.ts';

/** The part of a SQLite connection that transactions need. */
export interface TransactionControl {
  exec(text: string): void;
  /** COMMIT, on another thread: this one goes on with requests while the disk is written. */
  commit(): Promise<void>;
  readonly inTransaction: boolean;
}

/** Writes of one kind. Those that share a commit also share their statements. */
export interface SharedWrite<Db, Item, Result> {
  /**
   * Writes the items, in their order, and returns a result for each. When it throws, nothing of it stays, and each item
   * is written alone, so that a bad one spoils nobody else's.
   */
  run(db: Db, items: readonly Item[]): Promise<Result[]>;
}

interface Job<Db> {
  kind: SharedWrite<Db, unknown, unknown>;
  item: unknown;
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

/** How writes are undone without others' of the same transaction. */
interface Guard {
  before: readonly string[];
  done: readonly string[];
  undo: readonly string[];
}

const SAVEPOINT: Guard = {
  before: ['SAVEPOINT one_write'],
  done: ['RELEASE one_write'],
  undo: ['ROLLBACK TO one_write', 'RELEASE one_write'],
};
/** For all of a transaction. For a savepoint SQLite copies each page that changes, which costs more than the change. */
const TRANSACTION: Guard = { before: [], done: [], undo: ['ROLLBACK', 'BEGIN IMMEDIATE'] };

type Outcome = { ok: true; value: unknown } | { ok: false; error: unknown };

const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/**
 * Group commit: writes that arrive in one turn of the event loop, which is also all that arrived while the last commit
 * waited for the disk, share one transaction and its one fsync. Each runs in a savepoint, those of one kind together in
 * one, so that a failing write fails alone. Nobody is answered before the shared commit.
 */
export class GroupCommit<Db> {
  private readonly control: TransactionControl;
  private readonly db: Db;
  private readonly gathering = new Gathering();
  private waiting: Job<Db>[] = [];
  private running = false;
  private closed = false;
  private idle: (() => void) | undefined;
  /** Ends a wait for more writes when there are enough. */
  private arrived: (() => void) | undefined;

  constructor(control: TransactionControl, db: Db) {
    this.control = control;
    this.db = db;
  }

  write<T>(fn: (db: Db) => Promise<T>): Promise<T> {
    return this.writeShared({ run: async (db: Db) => [await fn(db)] }, undefined);
  }

  writeShared<Item, Result>(kind: SharedWrite<Db, Item, Result>, item: Item): Promise<Result> {
    if (this.closed) return Promise.reject(new Error('the database is closed'));
    return new Promise<Result>((resolve, reject) => {
      this.waiting.push({ kind, item, resolve, reject } as Job<Db>);
      this.arrived?.();
      if (this.running) return;
      this.running = true;
      setImmediate(() => void this.pump());
    });
  }

  /** Waits for writes that are on their way and takes no more. */
  async close(): Promise<void> {
    this.closed = true;
    if (!this.running) return;
    await new Promise<void>((resolve) => {
      this.idle = resolve;
    });
  }

  private async pump(): Promise<void> {
    while (this.waiting.length > 0) {
      await this.gather();
      const jobs = this.waiting;
      this.waiting = [];
      await this.commit(jobs);
      // Lets the answers out and the next requests in: they make the next group.
      await nextTurn();
    }
    this.running = false;
    this.idle?.();
  }

  private async gather(): Promise<void> {
    const ms = this.gathering.wait(this.waiting.length, performance.now());
    if (ms === 0) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.arrived = () => {
        if (this.gathering.wait(this.waiting.length, performance.now()) > 0) return;
        clearTimeout(timer);
        resolve();
      };
    });
    this.arrived = undefined;
  }

  private async commit(jobs: readonly Job<Db>[]): Promise<void> {
    const outcomes = new Map<Job<Db>, Outcome>();
    try {
      this.control.exec('BEGIN IMMEDIATE');
      const kinds = byKind(jobs);
      const guard = kinds.length === 1 ? TRANSACTION : SAVEPOINT;
      for (const own of kinds) await this.runTogether(own, guard, outcomes);
      const begun = performance.now();
      await this.control.commit();
      this.gathering.committed(jobs.length, this.waiting.length, begun, performance.now());
    } catch (error) {
      // A full disk or a lost file, not a mistake of one write: nothing of the group is there.
      this.rollBack();
      for (const job of jobs) job.reject(error);
      return;
    }
    for (const [job, outcome] of outcomes) {
      if (outcome.ok) job.resolve(outcome.value);
      else job.reject(outcome.error);
    }
  }

  /** Runs writes of one kind, and when they fail together each alone. */
  private async runTogether(jobs: readonly Job<Db>[], guard: Guard, outcomes: Map<Job<Db>, Outcome>): Promise<void> {
    this.execAll(guard.before);
    try {
      const values = await jobs[0].kind.run(
        this.db,
        jobs.map(({ item }) => item),
      );
      this.execAll(guard.done);
      for (const [i, job] of jobs.entries()) outcomes.set(job, { ok: true, value: values[i] });
    } catch (error) {
      // Some errors (disk full, I/O) end the whole transaction by themselves: then the group fails.
      if (!this.control.inTransaction) throw error;
      this.execAll(guard.undo);
      if (jobs.length === 1) outcomes.set(jobs[0], { ok: false, error });
      else for (const job of jobs) await this.runTogether([job], SAVEPOINT, outcomes);
    }
  }

  private execAll(texts: readonly string[]): void {
    for (const text of texts) this.control.exec(text);
  }

  private rollBack(): void {
    try {
      if (this.control.inTransaction) this.control.exec('ROLLBACK');
    } catch {
      // The connection is beyond use; the next BEGIN says so.
    }
  }
}

function byKind<Db>(jobs: readonly Job<Db>[]): Job<Db>[][] {
  const kinds = new Map<unknown, Job<Db>[]>();
  for (const job of jobs) {
    const own = kinds.get(job.kind);
    if (own === undefined) kinds.set(job.kind, [job]);
    else own.push(job);
  }
  return [...kinds.values()];
}
