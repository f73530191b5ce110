/** Values in ascending order with the weight that each stands for; a plain sample has weights of 1. */
export interface Weighted {
  values: ArrayLike<number>;
  weights: ArrayLike<number> | undefined;
}

/** A sample as it is. NaN is left out. */
export function sampleOf(values: Iterable<number>): Weighted {
  return { values: Float64Array.from([...values].filter((value) => !Number.isNaN(value))).sort(), weights: undefined };
}

/** How many values a sample stands for. */
export function weightOf({ values, weights }: Weighted): number {
  if (weights === undefined) return values.length;
  let total = 0;
  for (let i = 0; i < weights.length; i++) total += weights[i];
  return total;
}

/** Calls `at` for each stretch between neighbouring values of both with the two distribution functions on it. */
function walk(a: Weighted, b: Weighted, at: (width: number, fa: number, fb: number) => void): void {
  const na = weightOf(a);
  const nb = weightOf(b);
  let i = 0;
  let j = 0;
  let fa = 0;
  let fb = 0;
  while (i < a.values.length || j < b.values.length) {
    const x = Math.min(
      i < a.values.length ? a.values[i] : Number.POSITIVE_INFINITY,
      j < b.values.length ? b.values[j] : Number.POSITIVE_INFINITY,
    );
    for (; i < a.values.length && a.values[i] === x; i++) fa += a.weights?.[i] ?? 1;
    for (; j < b.values.length && b.values[j] === x; j++) fb += b.weights?.[j] ?? 1;
    const next = Math.min(
      i < a.values.length ? a.values[i] : Number.POSITIVE_INFINITY,
      j < b.values.length ? b.values[j] : Number.POSITIVE_INFINITY,
    );
    at(next - x, fa / na, fb / nb);
  }
}

/** Kolmogorov and Smirnov's D: the largest distance of the two distribution functions. */
export function kolmogorovSmirnov(a: Weighted, b: Weighted): number {
  let largest = 0;
  walk(a, b, (_, fa, fb) => {
    largest = Math.max(largest, Math.abs(fa - fb));
  });
  return largest;
}

/** Wasserstein's (earth mover's) distance of order 1, in the values' unit. */
export function wasserstein(a: Weighted, b: Weighted): number {
  let sum = 0;
  walk(a, b, (width, fa, fb) => {
    if (Number.isFinite(width)) sum += width * Math.abs(fa - fb);
  });
  return sum;
}

/** Of the whole population, as numpy's std. */
export function deviation(sample: Weighted): number {
  const total = weightOf(sample);
  let mean = 0;
  for (let i = 0; i < sample.values.length; i++) mean += ((sample.weights?.[i] ?? 1) / total) * sample.values[i];
  let square = 0;
  for (let i = 0; i < sample.values.length; i++)
    square += ((sample.weights?.[i] ?? 1) / total) * (sample.values[i] - mean) ** 2;
  return Math.sqrt(square);
}

/** What Wasserstein's distance is divided by: the reference's deviation, which counts as 0.001 when it is smaller. */
export function unitOf(reference: Weighted): number {
  return Math.max(deviation(reference), 0.001);
}

/** In standard deviations of the reference: evidently's norm. */
export function normedWasserstein(reference: Weighted, current: Weighted): number {
  return wasserstein(reference, current) / unitOf(reference);
}
