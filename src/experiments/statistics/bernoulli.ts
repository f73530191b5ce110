import { logBeta } from './gamma.ts';
import { mixtureRho } from './normal-mixture.ts';
import { bisect } from './root.ts';

export interface Interval {
  low: number;
  high: number;
}

/**
 * Howard and Ramdas' two-sided beta-binomial mixture for "each trial succeeds with probability p": the logarithm of a
 * martingale under that hypothesis, so that P(it ever reaches ln 1/α) ≤ α, however often somebody looks.
 * `successes` may be fractional. `tOpt`: the number of trials at which it is tuned to be strongest.
 */
export function logBernoulliMixture(
  successes: number,
  trials: number,
  p: number,
  tOpt: number,
  alphaOpt = 0.05,
): number {
  const variance = p * (1 - p);
  const r = Math.max(mixtureRho(variance * tOpt, alphaOpt) - variance, 1e-3 * variance);
  const a = r / (1 - p);
  const b = r / p;
  const failures = trials - successes;
  return logBeta(a + successes, b + failures) - logBeta(a, b) - successes * Math.log(p) - failures * Math.log1p(-p);
}

/** A (1 − α) confidence sequence for a success probability: valid at all looks at once. */
export function bernoulliInterval(
  successes: number,
  trials: number,
  alpha: number,
  tOpt: number,
  alphaOpt = 0.05,
): Interval {
  if (trials === 0) return { low: 0, high: 1 };
  const threshold = Math.log(1 / alpha);
  const rejected = (p: number) => logBernoulliMixture(successes, trials, p, tOpt, alphaOpt) > threshold;
  const rate = successes / trials;
  return {
    low: successes === 0 ? 0 : bisect(0, rate, rejected),
    high: successes === trials ? 1 : bisect(rate, 1, (p) => !rejected(p)),
  };
}

export interface Trials {
  successes: number;
  trials: number;
}

/** Interval for rate(b) − rate(a) from a confidence sequence per arm at α/2. Valid at all looks at once. */
export function rateDifference(a: Trials, b: Trials, alpha: number, tOpt: number): Interval {
  const first = bernoulliInterval(a.successes, a.trials, alpha / 2, tOpt, alpha / 2);
  const second = bernoulliInterval(b.successes, b.trials, alpha / 2, tOpt, alpha / 2);
  return { low: second.low - first.high, high: second.high - first.low };
}
