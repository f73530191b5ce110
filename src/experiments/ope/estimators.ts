import type { Interval } from '../statistics/bernoulli.ts';
import { normalQuantile } from '../statistics/normal.ts';

/** One logged decision and its reward. */
export interface LoggedDecision {
  /** Index of the arm that was served. */
  action: number;
  /** The probability it was drawn with, as logged. */
  propensity: number;
  reward: number;
  /** The evaluated policy's distribution for the same request. */
  target: ArrayLike<number>;
  /** How many decisions this one stands for, where logs are sampled; absent: all for equally many. */
  sampleWeight?: number;
}

export interface Estimate extends Interval {
  value: number;
}

export interface Evaluation {
  decisions: number;
  /** About 1 if the logged propensities are right and cover the policy. */
  meanWeight: number;
  maxWeight: number;
  /** (Σw)²/Σw²: how many decisions of the policy itself these are worth. */
  effectiveSamples: number;
  ips: Estimate;
  snips: Estimate;
  /** With a reward model only. */
  dr: Estimate | undefined;
  /** Why no verdict should be drawn from these figures; '' = they can be used. */
  refusal: string;
}

export interface EvaluationOptions {
  alpha?: number;
  /** Fewer effective samples are refused. */
  minEffective?: number;
  /** Predicted rewards of all arms for decision i, by a model that has not seen it: see crossFit. */
  predict?: (i: number) => ArrayLike<number>;
}

const MIN_EFFECTIVE = 100;
/** The mean weight may stray from 1 by this many standard errors before the propensities are doubted. */
const DOUBTED_ERRORS = 5;

/** What a policy would have earned, from what another one did. Throws RangeError on a propensity that cannot be. */
export function evaluate(log: readonly LoggedDecision[], options: EvaluationOptions = {}): Evaluation {
  const { alpha = 0.05, minEffective = MIN_EFFECTIVE, predict } = options;
  const n = log.length;
  const weights = new Float64Array(n);
  const samples = sampleWeights(log);
  log.forEach(({ action, propensity, target }, i) => {
    if (!(propensity > 0 && propensity <= 1))
      throw new RangeError(`decision ${i}: propensity ${propensity} is not in (0, 1]`);
    weights[i] = (samples[i] * (target[action] ?? 0)) / propensity;
  });
  const sum = weights.reduce((total, w) => total + w, 0);
  const squares = weights.reduce((total, w) => total + w * w, 0);
  const z = normalQuantile(1 - alpha / 2);
  const weighted = weights.map((w, i) => w * log[i].reward);
  const snips = sum > 0 ? weighted.reduce((total, v) => total + v, 0) / sum : Number.NaN;
  // The ratio's influence function: w (r − snips) / mean w.
  const influence = weights.map((w, i) => (n * w * (log[i].reward - snips)) / sum);
  const effectiveSamples = squares > 0 ? (sum * sum) / squares : 0;
  const meanWeight = sum / n;
  return {
    decisions: n,
    meanWeight,
    maxWeight: weights.reduce((most, w) => Math.max(most, w), 0),
    effectiveSamples,
    ips: meanOf(weighted, z),
    snips: { ...around(snips, z * standardError(influence)) },
    dr: predict === undefined ? undefined : meanOf(doublyRobust(log, weights, samples, predict), z),
    refusal: refusalOf(effectiveSamples, minEffective, meanWeight, standardError(weights)),
  };
}

/** Of mean 1. */
function sampleWeights(log: readonly LoggedDecision[]): Float64Array {
  const samples = Float64Array.from(log, ({ sampleWeight }) => sampleWeight ?? 1);
  const mean = samples.reduce((total, v) => total + v, 0) / samples.length;
  return samples.map((v) => v / mean);
}

function doublyRobust(
  log: readonly LoggedDecision[],
  weights: Float64Array,
  samples: Float64Array,
  predict: (i: number) => ArrayLike<number>,
): Float64Array {
  return weights.map((w, i) => {
    const { action, reward, target } = log[i];
    const predicted = predict(i);
    let expected = 0;
    for (let k = 0; k < target.length; k++) expected += target[k] * predicted[k];
    return samples[i] * expected + w * (reward - predicted[action]);
  });
}

function refusalOf(effective: number, least: number, meanWeight: number, error: number): string {
  if (effective < least) {
    return `only ${effective.toFixed(1)} effective samples of at least ${least}: the logged decisions are too unlike the policy; log more, or with a higher floor`;
  }
  if (Math.abs(meanWeight - 1) > DOUBTED_ERRORS * error) {
    return `the mean weight is ${meanWeight.toFixed(4)}, not 1: the logged propensities are wrong, or arms the policy uses were never drawn`;
  }
  return '';
}

function meanOf(values: Float64Array, z: number): Estimate {
  const value = values.reduce((total, v) => total + v, 0) / values.length;
  return around(value, z * standardError(values));
}

function around(value: number, half: number): Estimate {
  return { value, low: value - half, high: value + half };
}

function standardError(values: Float64Array): number {
  const n = values.length;
  if (n < 2) return Number.POSITIVE_INFINITY;
  const average = values.reduce((total, v) => total + v, 0) / n;
  const squares = values.reduce((total, v) => total + (v - average) ** 2, 0);
  return Math.sqrt(squares / (n - 1) / n);
}
