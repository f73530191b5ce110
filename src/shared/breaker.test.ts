import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Breaker } from './breaker.ts';

test('opens after consecutive failures, tries once per open time, closes on success', () => {
  let now = 0;
  const breaker = new Breaker(3, 100, () => now);
  breaker.failure();
  breaker.failure();
  breaker.success();
  breaker.failure();
  breaker.failure();
  assert.equal(breaker.allows(), true);
  breaker.failure();
  assert.equal(breaker.allows(), false);
  now = 100;
  assert.equal(breaker.allows(), true, 'one trial');
  assert.equal(breaker.allows(), false, 'no second one beside it');
  breaker.failure();
  now = 199;
  assert.equal(breaker.allows(), false);
  now = 200;
  assert.equal(breaker.allows(), true);
  breaker.success();
  assert.equal(breaker.allows(), true);
  assert.equal(breaker.allows(), true);
});
