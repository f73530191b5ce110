import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { EvaluationResult } from '../evaluation/result.ts';
import { type ChampionEvaluation, gateRulesSchema, judge } from './gate.ts';

const result = (metrics: Record<string, number>, slices: EvaluationResult['slices'] = []): EvaluationResult => ({
  task: 'classification',
  samples: 200,
  metrics,
  slices,
});
const decide = (rules: unknown[], own: EvaluationResult, champion: ChampionEvaluation = 'none') =>
  judge(gateRulesSchema.parse(rules), own, champion);

test('every rule must hold: one failure fails, one doubt holds', () => {
  const own = result({ accuracy: 0.9, logLoss: 0.2 });
  const good = { metric: 'accuracy', op: '>=', value: 0.9 };
  const bad = { metric: 'logLoss', op: '<', value: 0.1 };
  const unknown = { metric: 'auc', op: '>', value: 0.5 };
  assert.equal(decide([good], own).outcome, 'pass');
  assert.equal(decide([good, unknown], own).outcome, 'hold');
  const verdict = decide([good, unknown, bad], own);
  assert.equal(verdict.outcome, 'fail');
  assert.equal(verdict.rules[2].reason, 'logLoss is 0.2, must be < 0.1');
  assert.match(verdict.rules[1].reason, /no such metric; it has accuracy, logLoss/);
});

test('the champion is beaten in the direction of the metric', () => {
  const champion: ChampionEvaluation = { version: '3', result: result({ accuracy: 0.9, rmse: 2 }) };
  const outcome = (rule: object, metrics: Record<string, number>) => decide([rule], result(metrics), champion).outcome;
  assert.equal(outcome({ metric: 'accuracy', vs: 'champion', minDelta: 0.01 }, { accuracy: 0.91 }), 'pass');
  assert.equal(outcome({ metric: 'accuracy', vs: 'champion', minDelta: 0.02 }, { accuracy: 0.91 }), 'fail');
  assert.equal(outcome({ metric: 'accuracy', vs: 'champion', maxRegression: 0.01 }, { accuracy: 0.89 }), 'pass');
  assert.equal(outcome({ metric: 'rmse', vs: 'champion' }, { rmse: 2.1 }), 'fail');
  assert.equal(outcome({ metric: 'rmse', vs: 'champion', minDelta: 0.5 }, { rmse: 1.5 }), 'pass');
});

test('without a champion comparisons pass; one that was not evaluated holds', () => {
  const rule = { metric: 'accuracy', vs: 'champion', minDelta: 0.1 };
  assert.equal(decide([rule], result({ accuracy: 0.5 }), 'none').outcome, 'pass');
  const held = decide([rule], result({ accuracy: 0.5 }), 'missing');
  assert.equal(held.outcome, 'hold');
  assert.match(held.rules[0].reason, /against: \[champion\]/);
});

test('slices are judged by their own samples', () => {
  const own = result({ accuracy: 0.9 }, [{ name: 'region=north', samples: 12, metrics: { accuracy: 0.5 } }]);
  const rule = { metric: 'accuracy', op: '>', value: 0.8, slice: 'region=north' };
  assert.equal(decide([rule], own).outcome, 'fail');
  assert.equal(decide([{ ...rule, minSamples: 30 }], own).outcome, 'hold');
  assert.match(decide([{ ...rule, slice: 'region=west' }], own).rules[0].reason, /has region=north/);
});

test('a rule that says two things, or nothing, is refused', () => {
  const problems = (rule: object) =>
    gateRulesSchema.safeParse([rule]).error?.issues.map(({ message }) => message) ?? [];
  assert.match(problems({ metric: 'accuracy' })[0], /give op and value, or vs/);
  assert.match(problems({ metric: 'accuracy', vs: 'champion', op: '>' })[0], /not together with vs/);
  assert.match(problems({ metric: 'revenue', vs: 'champion' })[0], /known which is better/);
  assert.match(problems({ metric: 'accuracy', vs: 'champion', minDelta: 1, maxRegression: 1 })[0], /not together/);
  assert.deepEqual(problems({ metric: 'revenue', op: '>', value: 3 }), []);
});
