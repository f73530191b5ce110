import { betaBest, gaussianBest } from '../../experiments/statistics/best-arm.ts';
import { evenlyOnBest } from './distribution.ts';
import type { ArmSums } from './statistics.ts';

/**
 * Policies without a context: their distribution depends on the totals alone and is computed once per refresh, off the
 * request path. Arms without a reward come first where the formula has no value for them.
 */

/** 1 − ε on the best mean, ε spread evenly over all. */
export function epsilonGreedy(arms: readonly ArmSums[], epsilon: number): Float64Array {
  const means = arms.map(({ count, sum }) => (count > 0 ? sum / count : Number.POSITIVE_INFINITY));
  return evenlyOnBest(means, new Float64Array(arms.length)).map((p) => (1 - epsilon) * p + epsilon / arms.length);
}

/** Upper confidence bounds X̄ + α√(2 ln t / n): all on the highest. Sharing the distribution is the floor's work. */
export function ucb1(arms: readonly ArmSums[], alpha: number): Float64Array {
  return evenlyOnBest(ucb1Scores(arms, alpha), new Float64Array(arms.length));
}

/** UCB1 (Auer, Cesa-Bianchi and Fischer 2002): each arm's upper bound, infinite for one without a reward. */
export function ucb1Scores(arms: readonly ArmSums[], alpha: number): number[] {
  const total = arms.reduce((sum, { count }) => sum + count, 0);
  const log = Math.max(0, Math.log(total));
  return arms.map(({ count, sum }) =>
    count > 0 ? sum / count + alpha * Math.sqrt((2 * log) / count) : Number.POSITIVE_INFINITY,
  );
}

/**
 * Thompson sampling for rewards in [0, 1]: P(arm is best) under Beta(1 + S, 1 + F) posteriors, integrated by
 * quadrature instead of drawn, so that the propensity is known.
 */
export function thompsonBeta(arms: readonly ArmSums[]): Float64Array {
  return betaBest(arms.map(({ count, sum }) => ({ alpha: 1 + sum, beta: 1 + Math.max(0, count - sum) })));
}

/**
 * The same for rewards of any range: Gaussian posteriors of the means. One imagined reward in the middle of the range,
 * with the variance of an even spread over it, stands for what is known before the first.
 */
export function thompsonGaussian(arms: readonly ArmSums[], range: readonly [number, number]): Float64Array {
  return gaussianBest(arms.map((sums) => gaussianPosterior(sums, range)));
}

/** Mean and standard deviation of what is known of an arm's mean reward, in the reward's unit. */
export function gaussianPosterior(
  { count, sum, sumSquares }: ArmSums,
  [low, high]: readonly [number, number],
): { mean: number; deviation: number } {
  const middle = (low + high) / 2;
  const spread = (high - low) ** 2 / 12;
  const n = count + 1;
  const mean = (sum + middle) / n;
  const variance = Math.max((sumSquares + middle * middle + spread) / n - mean * mean, spread / n);
  return { mean, deviation: Math.sqrt(variance / n) };
}
