import { chiSquareTail, logGamma } from './gamma.ts';

/** One stretch of time with constant weights. */
export interface Period {
  counts: readonly number[];
  /** Need not add up to 1. */
  weights: readonly number[];
}

export interface RatioTest {
  chiSquare: number;
  pValue: number;
}

/** Did the arms get the shares they were meant to? With changing weights the expectation is summed over the periods. */
export function sampleRatioTest(periods: readonly Period[]): RatioTest {
  const arms = Math.max(0, ...periods.map(({ counts }) => counts.length));
  const observed = new Array<number>(arms).fill(0);
  const expected = new Array<number>(arms).fill(0);
  for (const { counts, weights } of periods) {
    const total = sum(counts);
    const weight = sum(weights);
    counts.forEach((count, arm) => {
      observed[arm] += count;
      expected[arm] += (total * weights[arm]) / weight;
    });
  }
  let chiSquare = 0;
  let used = 0;
  for (let arm = 0; arm < arms; arm++) {
    if (expected[arm] > 0) {
      chiSquare += (observed[arm] - expected[arm]) ** 2 / expected[arm];
      used++;
    } else if (observed[arm] > 0) return { chiSquare: Number.POSITIVE_INFINITY, pValue: 0 };
  }
  return { chiSquare, pValue: used < 2 ? 1 : chiSquareTail(chiSquare, used - 1) };
}

/** How sure the sequential test is of the planned shares: the total of its Dirichlet prior. */
export const RATIO_CONCENTRATION = 10_000;

/** The same for samples of distinct units, which are smaller: sooner sure of large mismatches. */
const UNITS_CONCENTRATION = 1000;

/** Lindon and Malek's Dirichlet-multinomial Bayes factor against the planned shares, in logarithms. */
export function logRatioBayesFactor(
  counts: readonly number[],
  weights: readonly number[],
  concentration = RATIO_CONCENTRATION,
): number {
  const weight = sum(weights);
  const total = sum(counts);
  let log = logGamma(concentration) - logGamma(concentration + total);
  for (let arm = 0; arm < counts.length; arm++) {
    const share = weights[arm] / weight;
    if (share === 0) {
      if (counts[arm] > 0) return Number.POSITIVE_INFINITY;
      continue;
    }
    const prior = share * concentration;
    log += logGamma(prior + counts[arm]) - logGamma(prior) - counts[arm] * Math.log(share);
  }
  return log;
}

/** Evidence of earlier looks and periods: the product of their Bayes factors is a martingale too. */
export interface RatioEvidence {
  /** ln of the product over finished periods. */
  finished: number;
  /** The largest ln Bayes factor seen. */
  largest: number;
  /** The same for each level of a sample of units, whose counts start anew with every level. */
  levels?: readonly number[];
}

export const NO_RATIO_EVIDENCE: Readonly<RatioEvidence> = { finished: 0, largest: 0 };

/** A look at the running period. Pass `close` when its weights end; counts start again from 0 then. */
export function lookAtRatio(evidence: RatioEvidence, period: Period, close = false): RatioEvidence {
  const log = evidence.finished + logRatioBayesFactor(period.counts, period.weights);
  return { finished: close ? log : evidence.finished, largest: Math.max(evidence.largest, log) };
}

/**
 * A look at distinct units, sampled at a level. Every unit counts once, under the weights it was first seen with, so the
 * product of the Bayes factors of all weights there were is a martingale in the order in which units come.
 */
export function lookAtUnits(evidence: RatioEvidence, level: number, groups: readonly Period[]): RatioEvidence {
  const log = groups.reduce(
    (total, { counts, weights }) => total + logRatioBayesFactor(counts, weights, UNITS_CONCENTRATION),
    0,
  );
  const levels = Array.from({ length: Math.max(level + 1, evidence.levels?.length ?? 0) }, (_, l) =>
    Math.max(evidence.levels?.[l] ?? 0, l === level ? log : 0),
  );
  return { ...evidence, levels };
}

/**
 * Valid at every look: p = min(1, 1 / max BF). Of a sample's levels each is a test of its own, and level l may be wrong
 * with a share 1/((l+1)(l+2)) of α: the shares add up to 1.
 */
export function ratioPValue({ largest, levels }: RatioEvidence): number {
  const logs = levels?.map((log, l) => log - Math.log((l + 1) * (l + 2))) ?? [];
  return Math.min(1, Math.exp(-Math.max(largest, ...logs)));
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
