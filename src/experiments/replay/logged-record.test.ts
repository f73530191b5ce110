import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readLoggedReward } from '../ope/rewards.ts';
import { readLogged } from './logged-record.ts';

test('fields of others in lines of records and rewards are left out', () => {
  const more = { note: 'x', nested: { propensity: 2 }, label: null };
  const record = { id: 'a', time: 1, route: 'r', variant: 'v', propensity: 0.5, pmf: [0.5, 0.5], latencyMs: 2 };
  assert.deepEqual(readLogged({ ...record, ...more }), readLogged(record));
  const reward = { id: 'a', reward: 1, event: 'e', tenant: 'acme' };
  assert.deepEqual(readLoggedReward({ ...reward, ...more }, 'reward'), reward);
});

test('a field by another name is one that is missing', () => {
  assert.throws(() => readLogged({ id: 'a', time: 1, route: 'r', Variant: 'v' }), /variant/);
  assert.throws(() => readLoggedReward({ ID: 'a', reward: 1 }, 'reward'), /id is missing/);
  assert.equal(readLoggedReward({ id: 'a', Reward: 1 }, 'reward'), undefined);
});
