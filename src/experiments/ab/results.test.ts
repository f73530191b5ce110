import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ExperimentSpec } from '../../config/strategy-schema.ts';
import { addToCluster, noClusters } from '../statistics/clusters.ts';
import { newHistogram, record } from '../statistics/latency-histogram.ts';
import { type ArmData, compareArms } from './results.ts';

const REWARD = { wait: 0, default: 0, aggregate: 'first', range: [0, 1] as [number, number] } as const;

function experiment(metric: string, over: object = {}): ExperimentSpec {
  return {
    split: { a: 50, b: 50 },
    primary: { metric, test: 'asymptoticCS', alpha: 0.05, tune: 5000 },
    reward: { ...REWARD, range: [0, 1] },
    guardrails: [],
    srm: { alpha: 0.001, onFail: 'invalidate' },
    ...over,
  };
}

function arm(name: string, requests: number, errors: number, successes: number, ms: number): ArmData {
  const latency = newHistogram();
  for (let i = 0; i < requests; i++) record(latency, ms * (0.5 + (i % 100) / 100));
  return { name, requests, errors, latency, rewards: { count: requests, sum: successes, sumSquares: successes } };
}

test('a difference is found in each kind of metric, in its own direction', () => {
  const arms = [arm('a', 20_000, 200, 6000, 10), arm('b', 20_000, 1400, 8000, 14)];
  const verdict = (metric: string, test = 'asymptoticCS'): string => {
    const primary = { metric, test, alpha: 0.05, tune: 5000 } as ExperimentSpec['primary'];
    return compareArms(experiment(metric, { primary }), arms).primary[0].verdict;
  };
  assert.equal(verdict('reward'), 'better');
  assert.equal(verdict('reward', 'mSPRT'), 'better');
  assert.equal(verdict('errors'), 'worse');
  assert.equal(verdict('latency.mean'), 'worse');
  assert.equal(verdict('latency.p90'), 'worse');
});

test('equal arms, and no data, decide nothing', () => {
  const equal = [arm('a', 5000, 50, 1500, 10), arm('b', 5000, 50, 1500, 10)];
  const none = [arm('a', 0, 0, 0, 10), arm('b', 0, 0, 0, 10)];
  for (const arms of [equal, none]) {
    for (const metric of ['reward', 'errors', 'latency.mean', 'latency.p99']) {
      const [effect] = compareArms(experiment(metric), arms).primary;
      assert.equal(effect.verdict, 'undecided', metric);
      assert.doesNotThrow(() => JSON.stringify(effect));
    }
  }
});

test('guardrails hold, are violated, or wait for data', () => {
  const guardrails = [
    { metric: 'errors', nonInferiority: 0.02, alpha: 0.05 },
    { metric: 'latency.p90', nonInferiority: 0.1, alpha: 0.05 },
  ];
  const verdicts = (b: ArmData): string[] =>
    compareArms(experiment('reward', { guardrails }), [arm('a', 20_000, 200, 6000, 10), b]).guardrails.map(
      ({ verdict }) => verdict,
    );
  assert.deepEqual(verdicts(arm('b', 20_000, 200, 6000, 10)), ['held', 'held']);
  assert.deepEqual(verdicts(arm('b', 20_000, 1200, 6000, 20)), ['violated', 'violated']);
  assert.deepEqual(verdicts(arm('b', 5, 0, 1, 10)), ['undecided', 'undecided']);
});

test('a difference below the smallest worth finding is called equivalent, and what is missing to know is told', () => {
  for (const test of ['asymptoticCS', 'mSPRT']) {
    const primary = { metric: 'reward', mde: 0.1, test, alpha: 0.05, tune: 20_000 } as ExperimentSpec['primary'];
    const effect = (n: number, successes: number) =>
      compareArms(experiment('reward', { primary }), [arm('a', n, 0, n * 0.3, 10), arm('b', n, 0, successes, 10)], 0.3)
        .primary[0];
    const early = effect(2000, 600);
    assert.equal(early.verdict, 'undecided', test);
    assert.ok(Math.abs((early.mde ?? 0) - 0.03) < 1e-12, test);
    const needed = early.samples_needed ?? 0;
    assert.ok(needed > 0, test);
    // With as many as it says the interval is about ±mde wide.
    const then = effect((4000 + needed) / 2, 0.3 * ((4000 + needed) / 2));
    const width = ((then.interval[1] ?? 0) - (then.interval[0] ?? 0)) / 2;
    assert.ok(width > 0.015 && width < 0.036, `${test}: ±${width}`);
    const late = effect(100_000, 30_000);
    assert.deepEqual([late.verdict, late.samples_needed], ['equivalent', 0], test);
    assert.equal(effect(100_000, 35_000).verdict, 'better', test);
    assert.equal(effect(100_000, 25_000).verdict, 'worse', test);
  }
  // Of quantiles the difference is relative already.
  const primary = { metric: 'latency.p50', mde: 0.1, test: 'asymptoticCS', alpha: 0.05, tune: 20_000 };
  const [p50] = compareArms(experiment('latency.p50', { primary }), [
    arm('a', 20_000, 0, 0, 10),
    arm('b', 20_000, 0, 0, 10),
  ]).primary;
  assert.equal(p50.verdict, 'equivalent');
});

test("users that come again count less: an interval knows how many there are, and mSPRT waits for control's size", () => {
  const n = 20_000;
  const clusters = (users: number, rate: number) => (metric: string) => {
    const sums = noClusters();
    const whole = Math.round(users * rate);
    // Each user always does the same.
    if (metric === 'reward') for (let i = 0; i < n; i++) addToCluster(sums, i % users, i % users < whole ? 1 : 0);
    return sums;
  };
  const arms = (users: number): ArmData[] => [
    { ...arm('a', n, 0, n * 0.3, 10), clusters: clusters(users, 0.3) },
    { ...arm('b', n, 0, n * 0.4, 10), clusters: clusters(users, 0.4) },
  ];
  const verdict = (users: number, test: string, scale?: number): string => {
    const primary = { metric: 'reward', mde: 0.1, test, alpha: 0.05, tune: 5000 } as ExperimentSpec['primary'];
    return compareArms(experiment('reward', { primary }), arms(users), scale).primary[0].verdict;
  };
  assert.equal(
    compareArms(experiment('reward'), [arm('a', n, 0, 6000, 1), arm('b', n, 0, 8000, 1)]).primary[0].verdict,
    'better',
  );
  for (const users of [10, 100, 500]) assert.equal(verdict(users, 'asymptoticCS'), 'undecided', `${users} users`);
  assert.equal(verdict(500, 'mSPRT'), 'undecided');
});
