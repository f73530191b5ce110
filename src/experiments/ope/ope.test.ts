import assert from 'node:assert/strict';
import { test } from 'node:test';
import { draw } from '../../routing/policies/distribution.ts';
import { crossFit } from './cross-fit.ts';
import { evaluate, type LoggedDecision } from './estimators.ts';

function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** A log of an uneven policy over three arms whose reward depends on a context of 0 or 1. */
function logged(count: number, seed: number) {
  const random = seeded(seed);
  const behaviour = [0.6, 0.3, 0.1];
  const rate = [
    [0.1, 0.3],
    [0.2, 0.2],
    [0.5, 0.1],
  ];
  return Array.from({ length: count }, (): LoggedDecision & { context: Float64Array } => {
    const x = random() < 0.5 ? 0 : 1;
    const action = draw(behaviour, random());
    const reward = random() < rate[action][x] ? 1 : 0;
    return {
      action,
      propensity: behaviour[action],
      reward,
      target: x === 0 ? [0, 0.1, 0.9] : [0.8, 0.2, 0],
      context: Float64Array.of(1, x),
    };
  });
}
const TRUTH = 0.5 * (0.1 * 0.2 + 0.9 * 0.5) + 0.5 * (0.8 * 0.3 + 0.2 * 0.2);

test('by hand: two decisions', () => {
  const log = [
    { action: 0, propensity: 0.5, reward: 1, target: [0.25, 0.75] },
    { action: 1, propensity: 0.25, reward: 2, target: [0.25, 0.75] },
  ];
  const result = evaluate(log, { predict: () => [1, 1] });
  assert.equal(result.ips.value, (0.5 + 6) / 2);
  assert.equal(result.snips.value, 6.5 / 3.5);
  assert.equal(result.dr?.value, (1 + 0 + 1 + 3) / 2);
  assert.equal(result.effectiveSamples, 3.5 ** 2 / 9.25);
  assert.equal(result.meanWeight, 1.75);
  assert.match(result.refusal, /^only 1.3 effective samples of at least 100/);
});

test('intervals hold the truth about as often as they say, and DR is the narrowest', () => {
  const held = { ips: 0, snips: 0, dr: 0 };
  const width = { ips: 0, snips: 0, dr: 0 };
  const runs = 150;
  for (let seed = 1; seed <= runs; seed++) {
    const log = logged(2000, seed * 7919);
    const result = evaluate(log, { predict: crossFit(log, 3) });
    assert.equal(result.refusal, '');
    for (const key of ['ips', 'snips', 'dr'] as const) {
      const { low, high } = result[key]!;
      if (low <= TRUTH && TRUTH <= high) held[key]++;
      width[key] += high - low;
    }
  }
  // 95 % nominal; 150 fixed runs.
  for (const key of ['ips', 'snips', 'dr'] as const) assert.ok(held[key] / runs > 0.9, `${key}: ${held[key]}`);
  assert.ok(width.dr < width.snips && width.snips < width.ips);
});

test('a policy the log has hardly tried, and wrong propensities, are refused', () => {
  const unlike = logged(500, 5).map((decision) => ({ ...decision, target: [0, 0, 1] }));
  assert.match(evaluate(unlike).refusal, /effective samples/);
  const wrong = logged(5000, 6).map((decision) => ({ ...decision, propensity: decision.propensity / 2 }));
  assert.match(evaluate(wrong).refusal, /the mean weight is [12]\.\d+, not 1/);
  assert.throws(() => evaluate([{ action: 0, propensity: 0, reward: 1, target: [1] }]), /propensity 0 is not in/);
  assert.match(evaluate([]).refusal, /only 0.0 effective/);
});
