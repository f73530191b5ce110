/** The part of a synchronous SQLite connection that transactions need. */
export interface TransactionControl {
  exec(text: string): void;
  readonly inTransaction: boolean;
}

interface Job<Db> {
  run(db: Db): Promise<unknown>;
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

type Outcome = { ok: true; value: unknown } | { ok: false; error: unknown };

const MAX_WAIT_MS = 2;

const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/**
 * Group commit: writes that arrive in one turn of the event loop, which is also all that arrived while the last commit
 * waited for the disk, share one transaction and its one fsync. Each runs in a savepoint, so a failing write fails
 * alone, and nobody is answered before the shared commit.
 */
export class GroupCommit<Db> {
  private readonly control: TransactionControl;
  private readonly db: Db;
  private waiting: Job<Db>[] = [];
  private running = false;
  private closed = false;
  private idle: (() => void) | undefined;

  constructor(control: TransactionControl, db: Db) {
    this.control = control;
    this.db = db;
  }

  write<T>(fn: (db: Db) => Promise<T>): Promise<T> {
    if (this.closed) return Promise.reject(new Error('the database is closed'));
    return new Promise<T>((resolve, reject) => {
      this.waiting.push({ run: fn, resolve: resolve as (value: unknown) => void, reject });
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
      const jobs = this.waiting;
      this.waiting = [];
      const begun = performance.now();
      await this.commit(jobs);
      // Lets the answers out and the next requests in: they make the next group.
      await nextTurn();
      if (this.waiting.length > 0) await this.gather(jobs.length, performance.now() - begun);
    }
    this.running = false;
    this.idle?.();
  }

  /**
   * While one group commits the next gathers, so that clients who wait for their answers fall into two groups that take
   * turns. Those just answered are given a moment to come back and join: half the commits do the same work then. A lone
   * writer never waits.
   */
  private async gather(answered: number, commitMs: number): Promise<void> {
    const all = this.waiting.length + answered;
    const until = performance.now() + Math.min(MAX_WAIT_MS, commitMs / 2);
    while (this.waiting.length < all && performance.now() < until) await nextTurn();
  }

  private async commit(jobs: readonly Job<Db>[]): Promise<void> {
    const outcomes: Outcome[] = [];
    try {
      this.control.exec('BEGIN IMMEDIATE');
      for (const job of jobs) outcomes.push(await this.runOne(job));
      this.control.exec('COMMIT');
    } catch (error) {
      // A full disk or a lost file, not a mistake of one write: nothing of the group is there.
      this.rollBack();
      for (const job of jobs) job.reject(error);
      return;
    }
    for (const [i, job] of jobs.entries()) {
      const outcome = outcomes[i];
      if (outcome.ok) job.resolve(outcome.value);
      else job.reject(outcome.error);
    }
  }

  private async runOne(job: Job<Db>): Promise<Outcome> {
    this.control.exec('SAVEPOINT one_write');
    try {
      const value = await job.run(this.db);
      this.control.exec('RELEASE one_write');
      return { ok: true, value };
    } catch (error) {
      // Some errors (disk full, I/O) end the whole transaction by themselves: then the group fails.
      if (!this.control.inTransaction) throw error;
      this.control.exec('ROLLBACK TO one_write');
      this.control.exec('RELEASE one_write');
      return { ok: false, error };
    }
  }

  private rollBack(): void {
    try {
      if (this.control.inTransaction) this.control.exec('ROLLBACK');
    } catch {
      // The connection is beyond use; the next BEGIN says so.
    }
  }
}
