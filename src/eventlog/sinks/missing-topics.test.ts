import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MissingTopics } from './missing-topics.ts';

test('a topic that is made later gets what it has missed, and the others nothing twice', async () => {
  const there = new Set(['a']);
  const told: string[] = [];
  const topics = new MissingTopics({ list: async () => [...there], tell: (topic) => told.push(topic) });
  assert.equal(topics.wants('b', 10), true);
  assert.equal(await topics.learn(['a', 'b']), true);
  assert.equal(await topics.learn(['a', 'b']), false, 'nothing new');
  assert.deepEqual(told, ['b']);
  for (const next of [10, 20, 30]) {
    assert.deepEqual([topics.wants('a', next), topics.wants('b', next)], [true, false]);
    topics.sent(next);
  }
  assert.equal(await topics.made(100_000), false);
  there.add('b');
  assert.equal(await topics.made(100_001), false, 'not asked all the time');
  assert.equal(await topics.made(200_000), true);
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
  const topics = new MissingTopics({ list: async () => [...there], tell: () => {} });
  await topics.learn(['a', 'b']);
  topics.sent(10);
  there.add('a');
  assert.equal(await topics.made(100_000), true);
  assert.deepEqual([topics.wants('a', 10), topics.wants('b', 10)], [true, false]);
  topics.sent(10);
  there.add('b');
  assert.equal(await topics.made(200_000), true);
  assert.deepEqual([topics.wants('a', 10), topics.wants('b', 10)], [false, true]);
});
