/**
 * Latencies counted in buckets of equal ratio. Counts only grow and add up, so that threads and nodes merge by
 * addition. Bucket i holds [LOWEST·RATIO^i, LOWEST·RATIO^(i+1)); the first takes everything below, the last above.
 * Its bounds are exact thresholds: tests on counts lose nothing but the place inside one bucket.
 */
export const RATIO = 1.01;
const LOWEST_MS = 0.001;
const HIGHEST_MS = 3_600_000;
const LOG_RATIO = Math.log(RATIO);
export const BUCKETS = Math.ceil(Math.log(HIGHEST_MS / LOWEST_MS) / LOG_RATIO) + 1;

/** BUCKETS counts of 0. */
export function newHistogram(): Float64Array {
  return new Float64Array(BUCKETS);
}

/** The bucket of a latency; the first for NaN and what is negative. */
export function bucketOf(milliseconds: number): number {
  if (!(milliseconds > LOWEST_MS)) return 0;
  return Math.min(BUCKETS - 1, Math.floor(Math.log(milliseconds / LOWEST_MS) / LOG_RATIO));
}

/** In milliseconds. */
export function lowerBound(bucket: number): number {
  return LOWEST_MS * RATIO ** bucket;
}

/** Counts one latency, in place. */
export function record(histogram: Float64Array, milliseconds: number): void {
  histogram[bucketOf(milliseconds)]++;
}

/** Adds counts in place. @param other one that is shorter ends in empty buckets */
export function addHistogram(into: Float64Array, other: ArrayLike<number>): void {
  for (let i = 0; i < into.length; i++) into[i] += other[i] ?? 0;
}

/** How many values were counted. */
export function total(histogram: ArrayLike<number>): number {
  let count = 0;
  for (let i = 0; i < histogram.length; i++) count += histogram[i];
  return count;
}

/** The quantile to within half a bucket's ratio; NaN for an empty histogram. */
export function histogramQuantile(histogram: ArrayLike<number>, q: number): number {
  const count = total(histogram);
  if (count === 0) return Number.NaN;
  const rank = q * count;
  let below = 0;
  for (let i = 0; i < histogram.length; i++) {
    below += histogram[i];
    if (below >= rank && histogram[i] > 0) return lowerBound(i) * Math.sqrt(RATIO);
  }
  return lowerBound(histogram.length - 1);
}

/** Runs of [first bucket, counts …]: a histogram as small JSON. */
export function encodeHistogram(histogram: ArrayLike<number>): number[][] {
  const runs: number[][] = [];
  for (let i = 0; i < histogram.length; i++) {
    if (histogram[i] === 0) continue;
    if (i > 0 && histogram[i - 1] !== 0) runs.at(-1)?.push(histogram[i]);
    else runs.push([i, histogram[i]]);
  }
  return runs;
}

/** Adds encoded counts in place. Runs that do not fit a histogram are left out. */
export function addEncoded(into: Float64Array, runs: readonly (readonly number[])[]): void {
  for (const run of runs) {
    const start = run[0];
    if (!Number.isInteger(start) || start < 0 || start + run.length - 1 > BUCKETS) continue;
    for (let i = 1; i < run.length; i++) into[start + i - 1] += run[i];
  }
}

/** As `encodeHistogram` wrote it; runs that lie outside the buckets are passed over. */
export function decodeHistogram(runs: readonly (readonly number[])[]): Float64Array {
  const histogram = newHistogram();
  addEncoded(histogram, runs);
  return histogram;
}
