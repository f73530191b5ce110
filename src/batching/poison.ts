import type { ErrorCode, SwitchyardError } from '../shared/errors.ts';

/** Batches in a row that failed to the last item with one error before re-runs stop. */
const BROKEN_AFTER = 3;
/** While the model counts as broken, one failed batch in so many is still searched, in case it recovered. */
const PROBE_EVERY = 8;
/** Up to here the items of a failed batch run singly; larger ones are halved. */
const SINGLES_UP_TO = 4;
/** Failed re-runs without one success after which the search gives up: both halves, all quarters and all eighths. */
const HOPELESS_AFTER = 14;

/** Errors of the moment or of the caller's patience: running the items again by themselves would not tell them apart. */
const NOT_THE_ITEMS: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'unavailable',
  'deadline_exceeded',
  'cancelled',
  'overloaded',
  'unauthenticated',
  'permission_denied',
  'not_found',
  'unsupported',
]);

/** Items [start, end) of the failed batch, to be run again as a batch of their own. */
export interface Rerun {
  start: number;
  end: number;
}

/**
 * The search through one failed batch for the items that made it fail. The executor runs what `next` gives, reports
 * `succeeded` or `failed`, and repeats until `next` gives nothing; every item ends in exactly one of the two. It goes
 * breadth first, so the healthy half answers before the search goes deep. After `maxReruns` nothing is split further.
 */
export class BatchRescue {
  readonly #pending: Rerun[] = [];
  readonly #items: number;
  readonly #maxReruns: number;
  #taken = 0;
  #reruns = 0;
  #successes = 0;
  #failures = 0;
  #running: Rerun | undefined;

  constructor(items: number, maxReruns: number) {
    this.#items = items;
    this.#maxReruns = maxReruns;
    this.#split({ start: 0, end: items });
  }

  /** No re-run succeeded so far. */
  get fruitless(): boolean {
    return this.#successes === 0;
  }

  /** The next range to run; undefined: the search is over. */
  next(): Rerun | undefined {
    this.#running = this.#taken < this.#pending.length ? this.#pending[this.#taken++] : undefined;
    if (this.#running !== undefined) this.#reruns++;
    return this.#running;
  }

  /** The range `next` gave ran well; its items are answered. */
  succeeded(): void {
    this.#successes++;
  }

  /**
   * The range `next` gave failed too. Returns the ranges whose items now get the error: empty when the range was
   * split instead, it alone when it is to blame (or may not be split), all that is left when the search is hopeless.
   */
  failed(): Rerun[] {
    const range = this.#running as Rerun;
    this.#failures++;
    if (this.#successes === 0 && this.#failures >= HOPELESS_AFTER && this.#items > SINGLES_UP_TO) {
      return [range, ...this.#pending.splice(this.#taken)];
    }
    const planned = this.#reruns + (this.#pending.length - this.#taken);
    if (range.end - range.start === 1 || planned >= this.#maxReruns) return [range];
    this.#split(range);
    return [];
  }

  #split(range: Rerun): void {
    const length = range.end - range.start;
    if (length <= SINGLES_UP_TO) {
      for (let i = range.start; i < range.end; i++) this.#pending.push({ start: i, end: i + 1 });
      return;
    }
    const middle = range.start + (length >> 1);
    this.#pending.push({ start: range.start, end: middle }, { start: middle, end: range.end });
  }
}

/**
 * Decides, per loaded version, whether a failed batch is searched for a poisoned item or fails as a whole because the
 * model itself is broken. Driven by the executor; one per model version and executor.
 */
export class PoisonPolicy {
  readonly #maxReruns: number;
  #lastError = '';
  #strikes = 0;
  #sinceProbe = 0;

  /** `maxReruns`: bound for one batch; 0: by its size, enough to find several items among its mates. */
  constructor(maxReruns = 0) {
    this.#maxReruns = maxReruns;
  }

  /** True while failed batches fail whole. */
  get broken(): boolean {
    return this.#strikes >= BROKEN_AFTER;
  }

  /** A batch of `items` failed. The search to carry out, or undefined: all its items get `error`. */
  batchFailed(items: number, error: SwitchyardError): BatchRescue | undefined {
    if (items < 2 || NOT_THE_ITEMS.has(error.code)) return undefined;
    if (this.broken && signature(error) === this.#lastError && ++this.#sinceProbe % PROBE_EVERY !== 0) return undefined;
    const budget = this.#maxReruns > 0 ? this.#maxReruns : Math.min(2 * items, 8 + 4 * Math.ceil(Math.log2(items)));
    return new BatchRescue(items, budget);
  }

  /** The search that `batchFailed` started has ended. */
  rescueEnded(rescue: BatchRescue, error: SwitchyardError): void {
    if (!rescue.fruitless) {
      this.batchSucceeded();
      return;
    }
    const now = signature(error);
    this.#strikes = now === this.#lastError ? this.#strikes + 1 : 1;
    this.#lastError = now;
  }

  /** A whole batch ran well. */
  batchSucceeded(): void {
    this.#strikes = 0;
    this.#sinceProbe = 0;
  }
}

/** The error without its figures: row numbers and sizes differ between batches, the cause does not. */
function signature(error: SwitchyardError): string {
  return `${error.code} ${error.message.replace(/\d+/g, '#')}`;
}
