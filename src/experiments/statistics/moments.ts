/** Sums of a stream of numbers. They only grow and add up, so that several nodes' can be merged in any order. */
export interface Moments {
  count: number;
  sum: number;
  sumSquares: number;
}

export const NO_MOMENTS: Readonly<Moments> = { count: 0, sum: 0, sumSquares: 0 };

/** The sums with one value more. */
export function withValue({ count, sum, sumSquares }: Moments, value: number): Moments {
  return { count: count + 1, sum: sum + value, sumSquares: sumSquares + value * value };
}

/** The sums of both streams together. */
export function addMoments(a: Moments, b: Moments): Moments {
  return { count: a.count + b.count, sum: a.sum + b.sum, sumSquares: a.sumSquares + b.sumSquares };
}

/** NaN without a value. */
export function mean({ count, sum }: Moments): number {
  return sum / count;
}

/** Population variance (divided by n); rounding cannot make it negative. */
export function variance({ count, sum, sumSquares }: Moments): number {
  return Math.max(0, sumSquares / count - (sum / count) ** 2);
}
