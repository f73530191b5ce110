import { type Moments, variance } from './moments.ts';

/**
 * Johari's mixture sequential probability ratio test for the difference of two means: normal data of known variance,
 * n values in each arm, and a N(0, τ²) mixture over the difference.
 */

/**
 * Two arms as n pairs: with unequal arms, n is the harmonic mean of their sizes, which has the difference's variance.
 * `variance` is one arm's; NaN with an empty arm.
 */
export function asPairs(a: Moments, b: Moments): { n: number; variance: number } {
  const n = 2 / (1 / a.count + 1 / b.count);
  return { n, variance: (n * (variance(a) / a.count + variance(b) / b.count)) / 2 };
}

/** ln Λ after n pairs with observed difference Δ; `variance` is one arm's. */
export function logMsprt(n: number, difference: number, variance: number, tau: number): number {
  const v = 2 * variance;
  const spread = v + n * tau * tau;
  return 0.5 * Math.log(v / spread) + (n * n * tau * tau * difference * difference) / (2 * v * spread);
}

/** The running p-value: what it was before, or 1/Λ if that is less. Never rises, starts at 1. */
export function msprtPValue(previous: number, logLambda: number): number {
  return Math.min(previous, Math.exp(-logLambda));
}

/** Half-width of the confidence sequence that belongs to the test. */
export function msprtHalfWidth(n: number, variance: number, tau: number, alpha: number): number {
  const v = 2 * variance;
  const spread = v + n * tau * tau;
  return Math.sqrt((v * spread * (2 * Math.log(1 / alpha) + Math.log(spread / v))) / (n * n * tau * tau));
}
