const SMOOTHING = 0.05;
/** A size not seen for so many batches counts half against its neighbours, and starts anew when it is seen again. */
const STALE_AFTER = 4096;
/** The curve may lack this many of the latest batches. */
const MAX_UNSEEN = 16;
/** Samples beyond this many deviations are cut once a size is known: one pause must not close the gates. */
const OUTLIER_DEVIATIONS = 5;

interface Bucket {
  /** Smoothed batch size and milliseconds of what fell into this bucket. */
  rows: number;
  mean: number;
  variance: number;
  count: number;
  lastSeen: number;
}

/**
 * Learns how many milliseconds a batch of n (padded) rows takes. Sizes fall into buckets, exact up to 15 rows and
 * eight per octave above; between the buckets the curve is linear, and it never falls with the size.
 */
export class LatencyModel {
  readonly #buckets: (Bucket | undefined)[] = [];
  #observations = 0;
  /** Observations that the curve holds. */
  #drawn = 0;
  // The curve as parallel arrays, rebuilt when asked after enough new observations.
  #size: number[] = [];
  #mean: number[] = [];
  #upper: number[] = [];

  /** Batches observed so far. */
  get observations(): number {
    return this.#observations;
  }

  /** `rows`: the padded batch size that ran; `ms`: how long. Figures that are no positive finite number are ignored. */
  observe(rows: number, ms: number): void {
    if (!(rows >= 1) || !(ms >= 0) || ms === Infinity) return;
    const index = bucketOf(rows);
    const at = ++this.#observations;
    const bucket = this.#buckets[index];
    if (bucket === undefined || at - bucket.lastSeen > STALE_AFTER) {
      this.#buckets[index] = { rows, mean: ms, variance: 0, count: 1, lastSeen: at };
      return;
    }
    bucket.lastSeen = at;
    bucket.count++;
    const weight = Math.max(SMOOTHING, 1 / bucket.count);
    const spread = Math.max(Math.sqrt(bucket.variance), 0.1 * bucket.mean);
    const sample = bucket.count > 8 ? Math.min(ms, bucket.mean + OUTLIER_DEVIATIONS * spread) : ms;
    const delta = sample - bucket.mean;
    bucket.mean += weight * delta;
    bucket.variance = (1 - weight) * (bucket.variance + weight * delta * delta);
    bucket.rows += weight * (rows - bucket.rows);
  }

  /**
   * Milliseconds a batch will hardly exceed: mean + 2 deviations. Below the smallest size seen it stays at that
   * size's figure, above the largest it grows in proportion: both err on the slow side. 0 before any observation.
   */
  predict(rows: number): number {
    this.#refresh();
    const size = this.#size;
    if (size.length === 0) return 0;
    if (rows <= size[0]) return this.#upper[0];
    return this.#interpolate(this.#upper, rows);
  }

  /**
   * Milliseconds to expect. Below the smallest size seen it falls in proportion, which errs on the fast side: what
   * is refused for being too slow would otherwise never be measured. 0 before any observation.
   */
  expected(rows: number): number {
    this.#refresh();
    const size = this.#size;
    if (size.length === 0) return 0;
    if (rows <= size[0]) return (this.#mean[0] * rows) / size[0];
    return this.#interpolate(this.#mean, rows);
  }

  /** The observed size with the most rows per millisecond; 0 before any observation. */
  bestBatchSize(): number {
    this.#refresh();
    let best = 0;
    let bestRate = -1;
    for (let i = 0; i < this.#size.length; i++) {
      const rate = this.#size[i] / this.#mean[i];
      if (rate > bestRate) {
        bestRate = rate;
        best = this.#size[i];
      }
    }
    return Math.round(best);
  }

  #interpolate(values: number[], rows: number): number {
    const size = this.#size;
    const last = size.length - 1;
    if (rows >= size[last]) return (values[last] * rows) / size[last];
    let low = 0;
    let high = last;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (size[middle] <= rows) low = middle;
      else high = middle;
    }
    return values[low] + ((values[high] - values[low]) * (rows - size[low])) / (size[high] - size[low]);
  }

  /** One batch moves a well-known curve by next to nothing, and drawing it costs as much as a small batch. */
  #refresh(): void {
    const unseen = this.#observations - this.#drawn;
    if (unseen > 0 && unseen >= Math.min(MAX_UNSEEN, this.#drawn / 16)) this.#rebuild();
  }

  /** Pools neighbours whose means fall with the size (isotonic regression, weighted by what each has seen and how lately). */
  #rebuild(): void {
    this.#drawn = this.#observations;
    const seen = this.#buckets.filter((bucket) => bucket !== undefined);
    const pools: { mean: number; weight: number; members: number }[] = [];
    for (const bucket of seen) {
      const age = (this.#observations - bucket.lastSeen) / STALE_AFTER;
      let pool = { mean: bucket.mean, weight: Math.min(bucket.count, 1 / SMOOTHING) / (1 + age), members: 1 };
      for (let before = pools.at(-1); before !== undefined && before.mean > pool.mean; before = pools.at(-1)) {
        pools.pop();
        const weight = before.weight + pool.weight;
        const mean = (before.mean * before.weight + pool.mean * pool.weight) / weight;
        pool = { mean, weight, members: before.members + pool.members };
      }
      pools.push(pool);
    }
    this.#size = seen.map((bucket) => bucket.rows);
    this.#mean = pools.flatMap((pool) => new Array<number>(pool.members).fill(pool.mean));
    let highest = 0;
    this.#upper = seen.map((bucket, i) => {
      // A deviation learned from few samples says little, so a share of the mean stands in for it at first.
      const deviation = Math.sqrt(bucket.variance) + (0.25 * bucket.mean) / bucket.count;
      highest = Math.max(highest, this.#mean[i] + 2 * deviation);
      return highest;
    });
  }
}

function bucketOf(rows: number): number {
  const whole = Math.floor(rows);
  if (whole < 16) return whole;
  const octave = 31 - Math.clz32(whole);
  return (octave - 2) * 8 + ((whole >> (octave - 3)) & 7);
}
