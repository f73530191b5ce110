import { normalCdf } from '../experiments/statistics/normal.ts';
import { freeze } from '../monitoring/counters.ts';
import type { StatisticName } from '../monitoring/document.ts';
import { type Bins, binCount, binner, type Value } from '../monitoring/statistics/bins.ts';
import { jensenShannon, lInfinity, psi } from '../monitoring/statistics/distances.ts';
import {
  effectInterval,
  type Interval,
  largestInterval,
  rankDeviation,
  sampleInterval,
  seededRandom,
} from '../monitoring/statistics/interval.ts';
import { KllSketch, type KllState } from '../monitoring/statistics/kll.ts';
import { kolmogorovSmirnov, unitOf, wasserstein } from '../monitoring/statistics/samples.ts';
import { chiSquareTwoSample } from '../monitoring/statistics/tests.ts';

/** What is drawn: normal values whose mean moves by so many σ, or three categories whose shares change. */
export type Change = { shift: number } | { from: readonly number[]; to: readonly number[] };

export interface Coverage {
  statistic: StatisticName;
  change: Change;
  rows: number;
  trials: number;
  /** What it is without sampling: on average over the trials, as bins are frozen anew in each. */
  truth: number;
  covered: number;
}

const OF_BINS = { psi, jensenShannon, lInfinity };
const MANY = 1e12;

/**
 * How often the 95 % interval of a statistic holds what the statistic is without sampling. Reference and window are drawn
 * anew in each trial, go through the bins and sketches that windows go through, and have `rows` rows each.
 */
export function coverageOf(statistic: StatisticName, change: Change, rows: number, trials: number, seed = 1): Coverage {
  const random = seededRandom(seed);
  let covered = 0;
  let truths = 0;
  for (let trial = 0; trial < trials; trial++) {
    const draw = (moved: boolean): { values: Value[]; slices: string[] }[] =>
      Array.from({ length: rows }, () => ({ values: [drawn(change, moved, random)], slices: [] }));
    const before = draw(false);
    const { columns, slices } = freeze(['inputs.x'], before, true);
    const held = slices[''];
    const now = draw(true);
    const { interval, truth } = intervalOf(statistic, columns[0].bins, held, now, change, trial + 1);
    truths += truth;
    if (interval.low <= truth && truth <= interval.high) covered++;
  }
  return { statistic, change, rows, trials, truth: truths / trials, covered };
}

function drawn(change: Change, moved: boolean, random: () => number): Value {
  if ('shift' in change)
    return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random()) + (moved ? change.shift : 0);
  const shares = moved ? change.to : change.from;
  let at = random();
  const found = shares.findIndex((share) => {
    at -= share;
    return at < 0;
  });
  return `c${found < 0 ? shares.length - 1 : found}`;
}

function intervalOf(
  statistic: StatisticName,
  bins: Bins,
  held: { counts: number[][]; sketches?: (KllState | null)[] },
  rows: readonly { values: Value[] }[],
  change: Change,
  seed: number,
): { interval: Interval; truth: number } {
  if (statistic === 'ks' || statistic === 'wasserstein') {
    if (!('shift' in change)) throw new Error('categories have no quantiles');
    const sketch = new KllSketch(200, seed);
    for (const { values } of rows) sketch.add(Number(values[0]));
    const [a, b] = [held.sketches?.[0] as KllState, sketch.state()];
    const deviation = ({ k, levels }: KllState): number => (levels.length > 1 ? rankDeviation(k) : 0);
    const [before, now] = [KllSketch.from(a).sample(), KllSketch.from(b).sample()];
    const [effect, unit] = statistic === 'ks' ? [kolmogorovSmirnov, 1] : [wasserstein, unitOf(before)];
    const interval = sampleInterval(effect, before, now, [deviation(a), deviation(b)], unit, { seed });
    return { interval, truth: statistic === 'ks' ? 2 * normalCdf(change.shift / 2) - 1 : Math.abs(change.shift) };
  }
  const counts = new Array<number>(binCount(bins)).fill(0);
  const bin = binner(bins);
  for (const { values } of rows) counts[bin(values[0])]++;
  const effect = OF_BINS[statistic];
  const [p, q] = sharesIn(bins, change);
  const chance = chiSquareTwoSample(held.counts[0], counts, true).pValue > 0.05;
  return {
    interval:
      statistic === 'lInfinity'
        ? largestInterval(effect, held.counts[0], counts, { seed })
        : effectInterval(effect, held.counts[0], counts, { root: statistic === 'psi', chance }, { seed }),
    truth: effect(
      p.map((share) => share * MANY),
      q.map((share) => share * MANY),
    ),
  };
}

/** Shares of the bins without sampling. What lies outside of the reference it never has, as its bins were frozen from it. */
function sharesIn(bins: Bins, change: Change): [number[], number[]] {
  if (bins.kind === 'categories') {
    const { from, to } = change as Exclude<Change, { shift: number }>;
    const shares = (of: readonly number[]): number[] => [
      ...bins.categories.map((name) => of[Number(name.slice(1))]),
      0,
      0,
    ];
    return [shares(from), shares(to)];
  }
  const { shift } = change as { shift: number };
  const { edges } = bins;
  const inside = (mean: number): number[] =>
    edges.slice(1).map((edge, i) => normalCdf(edge - mean) - normalCdf(edges[i] - mean));
  const below = normalCdf(edges[0] - shift);
  const above = 1 - normalCdf(edges[edges.length - 1] - shift);
  return [
    [0, ...inside(0), 0, 0],
    [below, ...inside(shift), above, 0],
  ];
}
