import { asymptoticDifference } from '../../src/experiments/statistics/asymptotic.ts';
import {
  addToCluster,
  type Clusters,
  effectiveMoments,
  noClusters,
} from '../../src/experiments/statistics/clusters.ts';
import { type Moments, mean, NO_MOMENTS, variance, withValue } from '../../src/experiments/statistics/moments.ts';
import { asPairs, logMsprt, msprtPValue } from '../../src/experiments/statistics/msprt.ts';
import { gaussian, mulberry32 } from './random.ts';

/** Experiments whose users come again: a reward is the user's own level, noise, and the arm's effect. */
export const INTERVAL_SETTING = {
  alpha: 0.05,
  looks: 30,
  perLook: 200,
  users: 300,
  /** Of users' levels, and of noise about them. */
  between: 1,
  within: 1,
  tune: 1000,
  effects: [0, 0.3],
};

const TESTS = [
  'asymptoticCS, clusters of users',
  'mSPRT, clusters of users',
  'asymptoticCS, requests as independent',
  'mSPRT, requests as independent',
  'z-test at every look, clusters of users',
] as const;

export interface IntervalRow {
  test: string;
  /** Share of experiments that said "different", by effect; and after how many looks half of those did. */
  found: number[];
  looks: number[];
}

export function simulateIntervals(seeds: number, say: (line: string) => void): IntervalRow[] {
  const rows = TESTS.map((test): IntervalRow => ({ test, found: [], looks: [] }));
  for (const effect of INTERVAL_SETTING.effects) {
    const firsts = Array.from({ length: seeds }, (_, seed) => play(seed + 1, effect));
    rows.forEach((row, i) => {
      const found = firsts.map((first) => first[i]).filter((look) => look > 0);
      found.sort((a, b) => a - b);
      row.found.push(found.length / seeds);
      row.looks.push(found[Math.floor(found.length / 2)] ?? 0);
    });
    say(`effect ${effect}: ${rows.map(({ found }) => found.at(-1)).join(', ')}`);
  }
  return rows;
}

/** @returns by test the first look at which it said "different"; 0: none. */
function play(seed: number, effect: number): number[] {
  const { alpha, looks, perLook, users, between, within, tune } = INTERVAL_SETTING;
  const random = mulberry32(seed);
  const normal = gaussian(random);
  const levels = Array.from({ length: 2 * users }, () => between * normal());
  const moments: Moments[] = [NO_MOMENTS, NO_MOMENTS];
  const clusters: Clusters[] = [noClusters(), noClusters()];
  const first = TESTS.map(() => 0);
  let p = [1, 1];
  for (let look = 1; look <= looks; look++) {
    for (let i = 0; i < perLook; i++) {
      const user = Math.floor(random() * 2 * users);
      const arm = user % 2;
      const value = levels[user] + within * normal() + arm * effect;
      moments[arm] = withValue(moments[arm], value);
      addToCluster(clusters[arm], user, value);
    }
    const robust = moments.map((sums, arm) => effectiveMoments(sums, clusters[arm]));
    const pairs = [robust, moments];
    p = pairs.map(([a, b], i) => msprtPValue(p[i], logRatio(a, b)));
    const excludes = pairs.map(([a, b]) => {
      const { low, high } = asymptoticDifference(a, b, alpha, tune);
      return low > 0 || high < 0;
    });
    const [a, b] = robust;
    const z = Math.abs(mean(b) - mean(a)) / Math.sqrt(variance(a) / a.count + variance(b) / b.count);
    [excludes[0], p[0] < alpha, excludes[1], p[1] < alpha, z > 1.959964].forEach((different, i) => {
      if (different && first[i] === 0) first[i] = look;
    });
  }
  return first;
}

/** With a mixture of a tenth of a standard deviation. */
function logRatio(a: Moments, b: Moments): number {
  if (a.count < 2 || b.count < 2) return 0;
  const { n, variance: pooled } = asPairs(a, b);
  return logMsprt(n, mean(b) - mean(a), pooled, 0.1 * Math.sqrt(pooled));
}

export function intervalReport(rows: readonly IntervalRow[], seeds: number): string {
  const { alpha, looks, perLook, users, effects } = INTERVAL_SETTING;
  const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;
  return [
    `${seeds} experiments of ${2 * users} users, ${looks} looks of ${perLook} requests, α = ${alpha}; half of a reward's variance is`,
    "its user's. Said to differ, and after how many looks (median):",
    '',
    `| test | no difference | a difference of ${effects[1]} |`,
    '|---|--:|--:|',
    ...rows.map(
      ({ test, found, looks: after }) => `| ${test} | ${percent(found[0])} | ${percent(found[1])}, ${after[1]} looks |`,
    ),
  ].join('\n');
}
