import { monotonicMs } from '../shared/clock.ts';

/** Lets at most `width` tasks run at once; the others wait in order. */
export class Semaphore {
  private free: number;
  private readonly waiting: (() => void)[] = [];

  constructor(width: number) {
    this.free = width;
  }

  async run<T>(task: () => Promise<T>): Promise<T> {
    if (this.free > 0) this.free--;
    else await new Promise<void>((resolve) => this.waiting.push(resolve));
    try {
      return await task();
    } finally {
      const next = this.waiting.shift();
      if (next) next();
      else this.free++;
    }
  }
}

/** Runs tasks one after the other; a failing one does not stop the next. */
export class Serial {
  private tail: Promise<unknown> = Promise.resolve();
  private pending = 0;

  get busy(): boolean {
    return this.pending > 0;
  }

  run<T>(task: () => Promise<T>): Promise<T> {
    this.pending++;
    const result = this.tail.then(task).finally(() => {
      this.pending--;
    });
    this.tail = result.catch(() => undefined);
    return result;
  }
}

/** Runs shorter than this need no rest after them. */
const SHORT_RUN_MS = 2;

/**
 * Merges calls of one slow action: a call made while the action runs waits for the next run, which starts after it, so
 * every caller's change is covered. Unless told otherwise, between two runs lies as much time as the run took, so that other work gets at least
 * half of it and a thousand changes need only a few runs.
 */
export class Coalesced {
  private readonly action: () => Promise<void>;
  private running: Promise<void> | undefined;
  private next: Promise<void> | undefined;
  private restUntil = 0;
  private resting = false;
  private readonly rests: boolean;

  /** @param rests false: a run that is waited for begins as soon as the one before it has ended */
  constructor(action: () => Promise<void>, rests = true) {
    this.action = action;
    this.rests = rests;
  }

  request(): Promise<void> {
    if (this.next !== undefined) return this.next;
    if (this.running === undefined) return this.begin();
    if (this.resting) return this.running;
    this.next = this.running.catch(() => undefined).then(() => this.begin());
    return this.next;
  }

  private begin(): Promise<void> {
    this.next = undefined;
    this.resting = true;
    const run = this.runOnce().finally(() => {
      if (this.running === run) this.running = undefined;
    });
    this.running = run;
    return run;
  }

  private async runOnce(): Promise<void> {
    const rest = this.restUntil - monotonicMs();
    if (rest > 0) await new Promise((resolve) => setTimeout(resolve, rest));
    const start = monotonicMs();
    // Calls made during the rest are covered too, but calls from here on need another run.
    this.resting = false;
    try {
      await this.action();
    } finally {
      const end = monotonicMs();
      this.restUntil = !this.rests || end - start < SHORT_RUN_MS ? end : end + (end - start);
    }
  }
}
