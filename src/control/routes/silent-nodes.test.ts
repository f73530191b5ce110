import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SilentNodes } from './silent-nodes.ts';

test('who has not counted for longer than the silence is gone, and nobody else', () => {
  const nodes = new SilentNodes(1000);
  assert.ok(nodes.due(0));
  assert.deepEqual(nodes.look({ a: '1', b: '7' }, 0), []);
  assert.ok(!nodes.due(99));
  assert.ok(nodes.due(100));
  assert.deepEqual(nodes.look({ a: '1', b: '8' }, 1000), []);
  assert.deepEqual(nodes.look({ a: '1', b: '9', c: '1' }, 1001), [['a', '1']]);
  // A Redis that was failed over may have lost the last counts.
  assert.deepEqual(nodes.look({ b: '7', c: '1' }, 2001), []);
  assert.deepEqual(nodes.look({ b: '7', c: '1' }, 2100), [['c', '1']]);
});

test('time in which nobody could be heard is no silence', () => {
  const nodes = new SilentNodes(1000);
  assert.deepEqual(nodes.look({ a: '1' }, 0), []);
  nodes.reset();
  assert.ok(nodes.due(1), 'the next look is at once');
  assert.deepEqual(nodes.look({ a: '1' }, 5000), []);
  assert.deepEqual(nodes.look({ a: '1' }, 6000), []);
  assert.deepEqual(nodes.look({ a: '1' }, 6001), [['a', '1']]);
});
