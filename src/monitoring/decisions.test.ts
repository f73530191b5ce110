import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Alarm, QUIET, withFinding } from './alarm.ts';
import { monitorSchema } from './document.ts';
import { judgeQuality, qualityInterval } from './quality.ts';
import {
  decideRetraining,
  freshRetrainState,
  type RetrainState,
  type Want,
  withBreaker,
  withEnd,
  withStart,
} from './retraining.ts';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

function monitor(spec: object) {
  return monitorSchema.parse({
    apiVersion: 'switchyard/v1',
    kind: 'Monitor',
    metadata: { name: 'm' },
    spec: { model: 'm', reference: { records: 1000 }, ...spec },
  }).spec;
}

const retrainSpec = (spec: object = {}) =>
  monitor({
    quality: { prediction: 'outputs.y', metrics: [{ metric: 'accuracy', min: 0.9 }] },
    retrain: { pipeline: 'p', cooldown: '10m', dailyBudget: 3, data: { minRows: 100 }, ...spec },
  }).retrain!;

const want = (version: string, key = 'drift/1'): Want => ({ cause: 'drift', version, reason: 'r', changedAt: 1, key });

function alarmAfter(findings: string, spec = { windows: 2, of: 3, clear: 2 }): Alarm {
  let alarm: Alarm = { ...QUIET };
  [...findings].forEach((letter, i) => {
    const finding = letter === 'b' ? 'bad' : letter === 'g' ? 'good' : 'unknown';
    alarm = withFinding(alarm, spec, finding, { from: 10 * i, to: 10 * i + 10, reason: `window ${i}` });
  });
  return alarm;
}

test('k of n windows are an alert, one is a warning, and only good ones in a row end it', () => {
  assert.equal(alarmAfter('g').level, 'ok');
  assert.equal(alarmAfter('gb').level, 'warning');
  assert.equal(alarmAfter('gbg').level, 'warning');
  assert.equal(alarmAfter('gbgb').level, 'alert');
  assert.equal(alarmAfter('bbg').level, 'alert', 'one good window does not end it');
  assert.equal(alarmAfter('bbgbg').level, 'alert', 'nor one now and then');
  assert.equal(alarmAfter('bbggg').level, 'ok');
});

test('a window that tells nothing changes nothing, and never is a good one', () => {
  assert.equal(alarmAfter('buuub').level, 'alert');
  assert.equal(alarmAfter('bbuuuuuu').level, 'alert');
});

test('an alarm knows when the data changed and why it rang', () => {
  const alarm = alarmAfter('ggbb');
  assert.deepEqual([alarm.changedAt, alarm.since, alarm.reason], [20, 40, 'window 3']);
  assert.equal(alarmAfter('ggbbgg').changedAt, 0);
});

test('a retraining waits for labels, for the one before, for its cooldown and for its budget', () => {
  const spec = retrainSpec();
  let state = freshRetrainState();
  assert.equal(decideRetraining(spec, state, undefined, 500, 0).what, 'nothing');
  assert.match(JSON.stringify(decideRetraining(spec, state, want('1'), 99, 0)), /99 labelled rows, 100 are wanted/);
  assert.equal(decideRetraining(spec, state, want('1'), 100, 0).what, 'start');
  state = withStart(spec, state, 'a', want('1'), 0);
  assert.match(JSON.stringify(decideRetraining(spec, state, want('1'), 500, MINUTE)), /wait.*single flight/);
  const others = [{ id: 'other', cause: 'drift' as const, version: '1', key: '', monitor: 'second' }];
  assert.match(
    JSON.stringify(decideRetraining(spec, freshRetrainState(), want('1'), 500, 0, others)),
    /wait.*single flight: retraining other \(drift\) of monitor second/,
  );
  assert.match(
    JSON.stringify(decideRetraining(spec, state, { ...want('1'), cause: 'labels' }, 500, 1)),
    /single flight/,
  );
  state = withEnd(state, { id: 'a', status: 'promoted', version: '2' }, 5 * MINUTE);
  assert.match(JSON.stringify(decideRetraining(spec, state, want('2'), 500, 10 * MINUTE)), /wait.*cooldown/);
  assert.equal(decideRetraining(spec, state, want('2'), 500, 15 * MINUTE).what, 'start');
  const busy: RetrainState = { ...state, starts: [MINUTE, 2 * MINUTE, 3 * MINUTE] };
  assert.match(JSON.stringify(decideRetraining(spec, busy, want('3'), 500, HOUR)), /wait.*budget of 3/);
  assert.equal(decideRetraining(spec, busy, want('3'), 500, 25 * HOUR).what, 'start');
});

test('retrained and drifting again, or never promoted: the breaker opens until a person closes it', () => {
  const spec = retrainSpec({ breaker: { after: 2, within: '1d' } });
  let state = withStart(spec, freshRetrainState(), 'a', want('1'), 0);
  state = withEnd(state, { id: 'a', status: 'promoted', version: '2' }, MINUTE);
  // Version 2 drifts at once: the first one was in vain.
  assert.equal(decideRetraining(spec, state, want('2'), 500, HOUR).what, 'start');
  state = withStart(spec, state, 'b', want('2'), HOUR);
  assert.equal(state.inVain, 1);
  state = withEnd(state, { id: 'b', status: 'failed', version: '' }, HOUR + MINUTE);
  assert.equal(state.inVain, 2);
  const decision = decideRetraining(spec, state, want('2'), 500, 3 * HOUR);
  assert.equal(decision.what, 'trip');
  state = withBreaker(state, 'two in a row', 3 * HOUR);
  assert.match(JSON.stringify(decideRetraining(spec, state, want('2'), 500, 9 * HOUR)), /wait.*breaker is open/);
});

test('one that helped for long enough starts the count anew', () => {
  const spec = retrainSpec({ breaker: { after: 2, within: '1d' } });
  let state = withEnd(
    withStart(spec, freshRetrainState(), 'a', want('1'), 0),
    { id: 'a', status: 'failed', version: '' },
    1,
  );
  state = withStart(spec, state, 'b', want('1'), HOUR);
  state = withEnd(state, { id: 'b', status: 'promoted', version: '2' }, 2 * HOUR);
  state = withStart(spec, state, 'c', want('2'), 72 * HOUR);
  assert.equal(state.inVain, 0);
});

test('quality is held against limits, and against the band of the first windows', () => {
  const sums = (correct: number) => ({ rows: 100, correct, absolute: 50, square: 90, fourth: 300 });
  const fixed = { metric: 'accuracy', min: 0.9, windows: 5 } as const;
  assert.equal(judgeQuality(fixed, sums(95), []).finding, 'good');
  assert.match(judgeQuality(fixed, sums(80), []).reason, /accuracy is 0.8, at least 0.9/);
  const learnt = { metric: 'mae', sigmas: 3, windows: 3 } as const;
  assert.equal(judgeQuality(learnt, sums(0), [0.4, 0.41]).finding, 'unknown');
  assert.equal(judgeQuality(learnt, sums(0), [0.4, 0.41, 0.39]).finding, 'bad');
  assert.equal(judgeQuality(learnt, sums(0), [0.4, 0.6, 0.5]).finding, 'good');
});

test('figures of quality have intervals', () => {
  const sums = { rows: 100, correct: 90, absolute: 50, square: 90, fourth: 300 };
  const near = ({ low, high }: { low: number; high: number }, [from, to]: [number, number]): void =>
    assert.ok(Math.abs(low - from) < 5e-5 && Math.abs(high - to) < 5e-5, `${low} … ${high}, not ${from} … ${to}`);
  // statsmodels.stats.proportion.proportion_confint(90, 100, method='wilson')
  near(qualityInterval('accuracy', sums), [0.82564, 0.94477]);
  near(qualityInterval('errorRate', sums), [0.05523, 0.17436]);
  near(qualityInterval('mae', sums), [0.5 - 1.95996 * Math.sqrt(0.65 / 100), 0.5 + 1.95996 * Math.sqrt(0.65 / 100)]);
  const half = 1.95996 * Math.sqrt((3 - 0.81) / 100);
  near(qualityInterval('rmse', sums), [Math.sqrt(0.9 - half), Math.sqrt(0.9 + half)]);
});
