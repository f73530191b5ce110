import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { drainRate } from './pace.ts';

test('a sink that keeps up, and one that drains while nobody asks, is not held back', () => {
  assert.equal(drainRate(0, 10_000), Number.POSITIVE_INFINITY);
  assert.equal(drainRate(1_000_000, 0), Number.POSITIVE_INFINITY);
});

test('a backlog shrinks whatever the rate at which requests come', () => {
  fc.assert(
    fc.property(fc.integer({ min: 5001 }), fc.double({ min: 1, max: 1e6, noNaN: true }), (backlog, arriving) => {
      assert.ok(drainRate(backlog, arriving) > arriving, 'more leaves than comes');
    }),
  );
});
