import { type Interval, logBernoulliMixture } from './bernoulli.ts';
import { bisect, minimise } from './root.ts';

/**
 * Sequential inference on a quantile, from counts below thresholds alone (Howard and Ramdas 2022): if x is the
 * q-quantile, then "a value lies below x" is a Bernoulli trial of probability q.
 */
export interface QuantileTest {
  quantile: number;
  /** The number of values at which it is tuned to be strongest. */
  tOpt: number;
  alphaOpt?: number;
}

/** The share of values below a threshold that speaks least against its being the quantile, and with what strength. */
export interface Valley {
  share: number;
  count: number;
}

/**
 * ln of the evidence against a threshold of which `below` of `count` values lie under: it exceeds ln(1/α) with
 * probability α at most, ever, where the threshold is the quantile.
 */
export function logQuantileMixture(below: number, count: number, test: QuantileTest): number {
  return logBernoulliMixture(below, count, test.quantile, test.tOpt, test.alphaOpt);
}

/** Where the mixture is smallest: near the quantile, shifted a little by its prior. */
export function valley(count: number, test: QuantileTest): Valley {
  const share = minimise(0, 1, (s) => logQuantileMixture(s * count, count, test), 1e-9);
  return { share, count };
}

/** Evidence against a threshold of which only is known that `low` to `high` values lie below it. */
export function leastEvidence(low: number, high: number, at: Valley, test: QuantileTest): number {
  return logQuantileMixture(Math.min(Math.max(at.share * at.count, low), high), at.count, test);
}

/** The range of counts-below that a (1 − α) confidence sequence cannot rule out for the quantile. */
export function quantileRanks(count: number, alpha: number, test: QuantileTest): Interval {
  const threshold = Math.log(1 / alpha);
  const lowest = valley(count, test).share * count;
  const rejected = (below: number) => logQuantileMixture(below, count, test) > threshold;
  return {
    low: rejected(0) ? bisect(0, lowest, rejected) : 0,
    high: rejected(count) ? bisect(lowest, count, (below) => !rejected(below)) : count,
  };
}

/** A (1 − α) confidence sequence for a quantile of sorted values; an end that nothing bounds yet is infinite. */
export function quantileInterval(sorted: ArrayLike<number>, alpha: number, test: QuantileTest): Interval {
  const ranks = quantileRanks(sorted.length, alpha, test);
  const low = Math.ceil(ranks.low);
  const high = Math.floor(ranks.high);
  return {
    low: low < 1 ? Number.NEGATIVE_INFINITY : sorted[low - 1],
    high: high >= sorted.length ? Number.POSITIVE_INFINITY : sorted[high],
  };
}
