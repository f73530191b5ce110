import type { Interval } from './bernoulli.ts';
import { type Moments, mean, variance } from './moments.ts';

/**
 * Waudby-Smith's asymptotic confidence sequence for a mean: needs no model of the data, only many of them, and holds
 * at all looks at once. Tightest at N = `tune` values.
 */
export function asymptoticRho(alpha: number, tune: number): number {
  const log = -2 * Math.log(alpha);
  return Math.sqrt((log + Math.log1p(log)) / tune);
}

/**
 * Half the interval's width after n values of this standard deviation, in their unit; holds at all n at once with
 * probability 1 − α in the limit. @param rho of `asymptoticRho`
 */
export function asymptoticHalfWidth(n: number, deviation: number, rho: number, alpha: number): number {
  const time = n * rho * rho;
  return deviation * Math.sqrt(((2 * (time + 1)) / (n * time)) * Math.log(Math.sqrt(time + 1) / alpha));
}

/** Interval for the mean of values, in their unit; unbounded below two values. */
export function asymptoticInterval(values: Moments, alpha: number, tune: number): Interval {
  if (values.count < 2) return { low: Number.NEGATIVE_INFINITY, high: Number.POSITIVE_INFINITY };
  const half = asymptoticHalfWidth(values.count, Math.sqrt(variance(values)), asymptoticRho(alpha, tune), alpha);
  return { low: mean(values) - half, high: mean(values) + half };
}

/**
 * Interval for mean(b) − mean(a). The two arms are one stream of n = n_a + n_b values whose influence functions are
 * the arms' deviations weighted by n/n_arm: that stream's variance is n·(σ_a²/n_a + σ_b²/n_b).
 */
export function asymptoticDifference(a: Moments, b: Moments, alpha: number, tune: number): Interval {
  if (a.count < 2 || b.count < 2) return { low: Number.NEGATIVE_INFINITY, high: Number.POSITIVE_INFINITY };
  const n = a.count + b.count;
  const deviation = Math.sqrt(n * (variance(a) / a.count + variance(b) / b.count));
  const half = asymptoticHalfWidth(n, deviation, asymptoticRho(alpha, tune), alpha);
  const difference = mean(b) - mean(a);
  return { low: difference - half, high: difference + half };
}
