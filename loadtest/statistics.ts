/** Median and other quantiles by linear interpolation between order statistics. Throws RangeError on an empty list. */
export function quantile(values: readonly number[], q: number): number {
  if (values.length === 0) throw new RangeError('quantile of an empty list');
  if (!(q >= 0 && q <= 1)) throw new RangeError(`quantile ${q} is outside [0, 1]`);
  const sorted = [...values].sort((a, b) => a - b);
  const position = (sorted.length - 1) * q;
  const below = Math.floor(position);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below] + (sorted[above] - sorted[below]) * (position - below);
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/** A point estimate with the bounds of its interval. */
export interface Estimate {
  value: number;
  low: number;
  high: number;
}

/** Ratios `a[i] / b[i]` of measurements taken in the same round, so that slow drifts of the machine cancel out. */
export function pairedRatios(a: readonly number[], b: readonly number[]): number[] {
  if (a.length !== b.length) throw new RangeError(`paired lists differ in length: ${a.length} and ${b.length}`);
  return a.map((value, i) => {
    if (b[i] === 0) throw new RangeError(`round ${i}: the reference measured 0`);
    return value / b[i];
  });
}

/**
 * Median with a percentile-bootstrap interval. Resampling is seeded: the same figures give the same report.
 * With a single value the interval is that value.
 */
export function bootstrapMedian(values: readonly number[], confidence = 0.95, resamples = 2000, seed = 1): Estimate {
  const random = mulberry32(seed);
  const medians: number[] = [];
  const sample = new Array<number>(values.length);
  for (let r = 0; r < resamples; r++) {
    for (let i = 0; i < sample.length; i++) sample[i] = values[Math.floor(random() * values.length)];
    medians.push(median(sample));
  }
  const tail = (1 - confidence) / 2;
  return { value: median(values), low: quantile(medians, tail), high: quantile(medians, 1 - tail) };
}

/** Small seeded generator of uniform numbers in [0, 1); also makes the weights and inputs of the load-test models. */
export function mulberry32(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
