import assert from 'node:assert/strict';
import { test } from 'node:test';
import { WaitingTopics } from './waiting-topics.ts';

test('a topic that is made later gets what it has missed, and the others nothing twice', async () => {
  const there = new Set(['a']);
  const told: string[] = [];
  const topics = new WaitingTopics({ list: async () => [...there], tell: (topic) => told.push(topic) });
  assert.equal(topics.wants('b', 10), true);
  assert.equal(await topics.learn(['a', 'b']), true);
  assert.equal(await topics.learn(['a', 'b']), false, 'nothing new');
  assert.deepEqual(told, ['b']);
  for (const next of [10, 20, 30]) {
    assert.deepEqual([topics.wants('a', next), topics.wants('b', next)], [true, false]);
    topics.sent(next);
  }
  assert.equal(await topics.again(100_000), false);
  there.add('b');
  assert.equal(await topics.again(100_001), false, 'not asked all the time');
  assert.equal(await topics.again(200_000), true);
  assert.equal(topics.some, false);
  // Read again from the beginning, in other batches than before.
  for (const next of [15, 30]) {
    assert.deepEqual([topics.wants('a', next), topics.wants('b', next)], [false, true]);
    topics.sent(next);
  }
  assert.deepEqual([topics.wants('a', 40), topics.wants('b', 40)], [true, true]);
});

test('while one of two is made, the other goes on waiting', async () => {
  const there = new Set<string>();
  const topics = new WaitingTopics({ list: async () => [...there], tell: () => {} });
  await topics.learn(['a', 'b']);
  topics.sent(10);
  there.add('a');
  assert.equal(await topics.again(100_000), true);
  assert.deepEqual([topics.wants('a', 10), topics.wants('b', 10)], [true, false]);
  topics.sent(10);
  there.add('b');
  assert.equal(await topics.again(200_000), true);
  assert.deepEqual([topics.wants('a', 10), topics.wants('b', 10)], [false, true]);
});

test('a topic that takes nothing is tried again, and its reason told once', async () => {
  const told: [string, string][] = [];
  const topics = new WaitingTopics({ list: async () => ['a', 'b'], tell: (...of) => told.push(of) });
  topics.close('b', 'no rights');
  topics.sent(10);
  assert.equal(topics.some, true);
  assert.deepEqual([topics.wants('a', 20), topics.wants('b', 20)], [true, false]);
  topics.sent(20);
  assert.equal(await topics.again(0), false);
  assert.equal(await topics.again(29_999), false);
  assert.equal(await topics.again(30_000), true);
  assert.deepEqual([topics.wants('a', 10), topics.wants('b', 10)], [false, true]);
  // As before.
  topics.close('b', 'no rights');
  topics.sent(10);
  topics.sent(20);
  assert.deepEqual([topics.wants('a', 30), topics.wants('b', 30)], [true, false]);
  topics.sent(30);
  assert.equal(await topics.again(40_000), false);
  assert.equal(await topics.again(70_000), true);
  for (const next of [10, 20, 30]) {
    assert.deepEqual([topics.wants('a', next), topics.wants('b', next)], [false, true]);
    topics.sent(next);
  }
  assert.deepEqual([topics.wants('a', 40), topics.wants('b', 40)], [true, true]);
  assert.equal(topics.some, false);
  assert.deepEqual(told, [['b', 'no rights']]);
  topics.close('b', 'no rights');
  assert.equal(told.length, 2, 'told again, since it had gone well');
});
