import type { BatchingConfig } from '../config/model-config.ts';
import type { LatencyModel } from './latency-model.ts';

/** A batch that a tight deadline would cut below this share of the attainable rows per millisecond is not worth it. */
const WORTHWHILE_RATE = 0.95;

/** How large a batch may get, and what it then costs: the configured limits and what the latency model has learned. */
export class BatchSizing {
  /** Rows at which a batch is full. */
  readonly maxRows: number;
  /** Largest preferred size; 0: none. */
  readonly maxPreferred: number;
  readonly #allowed: readonly number[];
  readonly #preferred: ReadonlySet<number>;
  readonly #latency: LatencyModel;
  readonly #targetMs: number;

  /** `targetMs`: the p99 target, 0 = none. */
  constructor(config: BatchingConfig, latency: LatencyModel, targetMs: number) {
    const batches = config.maxBatchSize > 0;
    const limit = Math.max(1, config.maxBatchSize);
    this.#allowed = batches ? config.allowedBatchSizes.filter((size) => size <= limit) : [];
    this.maxRows = this.#allowed.at(-1) ?? limit;
    const preferred = config.preferredBatchSizes.filter((size) => size > 0 && size <= this.maxRows);
    this.#preferred = new Set(preferred);
    this.maxPreferred = preferred.length === 0 ? 0 : Math.max(...preferred);
    this.#latency = latency;
    this.#targetMs = targetMs;
  }

  /** The rows a batch of `rows` is padded to; `rows` itself when no allowed size is as large. */
  padded(rows: number): number {
    for (const size of this.#allowed) if (size >= rows) return size;
    return rows;
  }

  /** Whether so many unpadded rows are a size that the configuration prefers. */
  isPreferred(rows: number): boolean {
    return this.#preferred.has(rows);
  }

  /** Milliseconds a batch of so many unpadded rows will hardly exceed; 0 while nothing is known. */
  cost(rows: number): number {
    return this.#latency.predict(this.padded(rows));
  }

  /** Milliseconds such a batch takes on average; 0 while nothing is known. */
  expectedCost(rows: number): number {
    return this.#latency.expected(this.padded(rows));
  }

  /** Largest batch up to `limit` rows that costs at most `ms`; 0 when not even one row does. */
  largestWithin(ms: number, limit: number): number {
    return largest(limit, (rows) => this.cost(rows) <= ms);
  }

  /**
   * Rows that keep the latency target for an item that has waited `waitedMs`. Never less than what runs in half the
   * target on average: an arrival waits for one running batch and then for its own, so that size is safe under steady
   * load. Anything smaller serves fewer rows a second, and under a backlog that makes everyone late: in a simulation of
   * 256 closed-loop clients with batches that vary by a fifth, cutting by the careful estimate instead cost an eighth
   * of the throughput and made the p99 worse.
   */
  targetRows(waitedMs: number): number {
    if (this.#targetMs <= 0 || this.#latency.observations === 0) return this.maxRows;
    const half = this.#targetMs / 2;
    const steady = largest(this.maxRows, (rows) => this.expectedCost(rows) <= half);
    return Math.max(1, steady, this.largestWithin(this.#targetMs - waitedMs, this.maxRows));
  }

  /** Latest time at which a batch of `rows` with this oldest arrival and tightest deadline may start. */
  latestStart(rows: number, oldest: number, tightest: number): number {
    const due = this.#targetMs > 0 ? Math.min(tightest, oldest + this.#targetMs) : tightest;
    if (due === Infinity) return Infinity;
    return this.#latency.observations === 0 ? -Infinity : due - this.cost(rows);
  }

  /**
   * Whether serving an item with `slackMs` left, in a batch small enough for it, wastes capacity that `waitingRows`
   * others need: under overload, earliest deadline first alone would run ever smaller batches.
   */
  wasteful(slackMs: number, rows: number, waitingRows: number): boolean {
    const attainable = Math.min(waitingRows, this.maxRows);
    const fits = Math.max(rows, this.largestWithin(slackMs, attainable));
    if (fits >= attainable) return false;
    return fits / this.expectedCost(fits) < (WORTHWHILE_RATE * attainable) / this.expectedCost(attainable);
  }
}

/** The largest number up to `limit` that fits, 0 when 1 does not; whatever is below one that fits must fit. */
function largest(limit: number, fits: (rows: number) => boolean): number {
  if (fits(limit)) return limit;
  let within = 0;
  let beyond = limit;
  while (beyond - within > 1) {
    const middle = (within + beyond) >> 1;
    if (fits(middle)) within = middle;
    else beyond = middle;
  }
  return within;
}
