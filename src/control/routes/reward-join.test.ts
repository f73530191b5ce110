import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { MAX_EVENT_IDS, RewardJoin, type RewardResult } from './reward-join.ts';

const SPEC = { wait: 100, default: 0.25, aggregate: 'first', range: [0, 1] as [number, number] } as const;

function join(over: object = {}, limit?: number): RewardJoin {
  return new RewardJoin({ ...SPEC, ...over, range: [0, 1] }, 0, limit);
}

function matured(rewards: RewardJoin, now: number): number[] {
  const taken: number[] = [];
  rewards.mature(now, (_, reward) => taken.push(reward));
  return taken;
}

test('a decision counts once, when its time is over, with what arrived or with the default', () => {
  const rewards = join();
  rewards.decided('a', 0, { arm: 0, context: undefined });
  rewards.decided('b', 10, { arm: 1, context: undefined });
  assert.equal(rewards.reward('b', 1, undefined, 20), 'accepted');
  assert.deepEqual(matured(rewards, 99), []);
  assert.deepEqual(matured(rewards, 100), [0.25]);
  assert.equal(rewards.reward('a', 1, undefined, 100), 'expired');
  assert.deepEqual(matured(rewards, 1000), [1]);
  assert.deepEqual(matured(rewards, 2000), []);
});

test('what cannot be a reward is told by name and changes nothing', () => {
  const rewards = join();
  rewards.decided('a', 0, { arm: 0, context: undefined });
  const results: [number, RewardResult][] = [
    [Number.NaN, 'notANumber'],
    [1.01, 'outOfRange'],
    [Number.POSITIVE_INFINITY, 'outOfRange'],
    [-0.1, 'outOfRange'],
    [0.5, 'accepted'],
    [0.6, 'duplicate'],
  ];
  for (const [reward, result] of results) assert.equal(rewards.reward('a', reward, undefined, 1), result);
  assert.equal(rewards.reward('z', 1, undefined, 1), 'unknown');
  assert.deepEqual(matured(rewards, 100), [0.5]);
});

test('a decision is unknown to tenants that did not ask for it, before it is learnt and behind that', () => {
  const rewards = join();
  rewards.decided('a', 0, { arm: 0, context: undefined, tenant: 'acme' });
  rewards.decided('b', 0, { arm: 0, context: undefined, tenant: 'acme' });
  rewards.decided('old', 0, { arm: 0, context: undefined });
  const of = (id: string, tenant: string, now = 1): RewardResult => rewards.reward(id, 1, undefined, now, tenant);
  assert.equal(of('a', 'other'), 'unknown');
  assert.equal(of('a', 'acme'), 'accepted', 'the foreign one did not come first');
  assert.equal(of('b', ''), 'accepted', 'somebody who speaks for all');
  assert.equal(of('old', 'other'), 'accepted', 'nobody wrote down who asked');
  assert.deepEqual(matured(rewards, 100), [1, 1, 1]);
  assert.deepEqual([of('a', 'other', 101), of('a', 'acme', 101)], ['unknown', 'expired']);
});

test('rewards add up as the route says, and an event that is sent twice counts once', () => {
  const cases = { first: 0.5, last: 0.1, sum: 0.8, mean: 0.8 / 3, max: 0.5 } as const;
  for (const [aggregate, expected] of Object.entries(cases)) {
    const rewards = join({ aggregate });
    rewards.decided('a', 0, { arm: 0, context: undefined });
    for (const [event, reward] of [
      ['1', 0.5],
      ['2', 0.2],
      ['1', 0.5],
      ['3', 0.1],
    ] as const)
      rewards.reward('a', reward, event, 1);
    const [value] = matured(rewards, 100);
    assert.ok(Math.abs(value - expected) < 1e-12, `${aggregate}: ${value}`);
  }
});

test('an event counts once however many a decision has: what could not be remembered is not counted at all', () => {
  const rewards = join({ aggregate: 'mean' });
  rewards.decided('a', 0, { arm: 0, context: undefined });
  const send = (event: number | undefined, reward: number): RewardResult =>
    rewards.reward('a', reward, event?.toString(), 1);
  for (let event = 0; event < MAX_EVENT_IDS; event++) assert.equal(send(event, 0), 'accepted');
  for (const event of [64, 65, MAX_EVENT_IDS - 1]) assert.equal(send(event, 1), 'duplicate');
  for (let times = 0; times < 2; times++) assert.equal(send(MAX_EVENT_IDS, 1), 'tooManyIds');
  assert.equal(send(undefined, 1), 'accepted', 'one without an id needs no memory');
  assert.deepEqual(matured(rewards, 100), [1 / (MAX_EVENT_IDS + 1)]);
});

test('all decisions that wait share a bound of event ids, and give their part back when they are learnt', () => {
  const rewards = new RewardJoin({ ...SPEC, aggregate: 'sum', range: [0, 9] }, 0, undefined, undefined, 3);
  rewards.decided('a', 0, { arm: 0, context: undefined });
  rewards.decided('b', 50, { arm: 0, context: undefined });
  const send = (id: string, event: string): RewardResult => rewards.reward(id, 1, event, 60);
  for (const event of ['1', '2']) assert.equal(send('a', event), 'accepted');
  assert.deepEqual([send('b', '1'), send('b', '2'), send('a', '3')], ['accepted', 'tooManyIds', 'tooManyIds']);
  assert.deepEqual(matured(rewards, 100), [2]);
  assert.deepEqual([send('b', '2'), send('b', '3'), send('b', '4')], ['accepted', 'accepted', 'tooManyIds']);
  assert.deepEqual(matured(rewards, 150), [3]);
});

test('memory is bounded and what it cannot hold is counted', () => {
  const rewards = join({}, 10);
  for (let i = 0; i < 25; i++) rewards.decided(`d${i}`, i, { arm: 0, context: undefined });
  assert.equal(rewards.waiting, 10);
  assert.equal(rewards.lost, 15);
});

test('whatever is sent, every decision matures exactly once with a value in range', () => {
  const event = fc.record({ id: fc.nat(5), reward: fc.double(), at: fc.nat(300) });
  fc.assert(
    fc.property(fc.array(event), fc.constantFrom('first', 'last', 'sum', 'mean', 'max'), (events, aggregate) => {
      const rewards = join({ aggregate });
      for (let id = 0; id < 4; id++) rewards.decided(String(id), 0, { arm: id, context: undefined });
      for (const { id, reward, at } of events) rewards.reward(String(id), reward, undefined, at);
      const values = matured(rewards, 10_000);
      assert.equal(values.length, 4);
      for (const value of values) assert.ok(value >= 0 && value <= 1);
    }),
  );
});
