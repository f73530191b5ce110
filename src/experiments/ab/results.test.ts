import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ExperimentSpec } from '../../config/strategy-schema.ts';
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
