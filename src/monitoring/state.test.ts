import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Alarm } from './alarm.ts';
import { afterReset, alarmOf, freshState, type MonitorState, outlivedAlarms, withChampion } from './state.ts';

const ringing = { ...alarmOf(freshState(), 'drift/1'), level: 'alert' } as Alarm;
const state = (champion: string): MonitorState => ({
  ...freshState(),
  champion,
  retired: ['1'],
  generation: 4,
  alarms: { 'drift/2': ringing, 'accuracy/3': ringing },
});

test('a version that takes the place of another retires it and ends the alarms of all others', () => {
  const after = withChampion(state('2'), '3');
  assert.equal(after.champion, '3');
  assert.deepEqual(after.retired, ['1', '2']);
  assert.deepEqual(Object.keys(after.alarms), ['accuracy/3']);
  assert.deepEqual(outlivedAlarms(state('2'), '3'), ['drift/2']);
});

test('one that comes back is retired no more, and the first one known ends no alarm', () => {
  assert.deepEqual(withChampion(state('2'), '1').retired, ['2']);
  assert.deepEqual(withChampion(state(''), '3').retired, ['1']);
  assert.deepEqual(outlivedAlarms(state(''), '3'), []);
});

test('a reset ends alarms and closes the breaker, and keeps which versions were promoted', () => {
  const fresh = freshState();
  const tripped = { ...state('2'), retrain: { ...fresh.retrain, inVain: 3, waiting: 'for labels', due: 17 } };
  const after = afterReset(tripped);
  assert.deepEqual(after.alarms, {});
  assert.equal(after.generation, 5);
  assert.deepEqual([after.champion, after.retired], ['2', ['1']]);
  assert.deepEqual(after.retrain, { ...fresh.retrain, due: 17 });
});
