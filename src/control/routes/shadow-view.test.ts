import assert from 'node:assert/strict';
import { test } from 'node:test';
import { shadowView } from './shadow-view.ts';

const sums = (match: number, mismatch: number) => ({ match, mismatch, failed: 1, dropped: 2, uncompared: 3 });

test('a mismatch rate has its interval, and a verdict against what the route allows', () => {
  const few = shadowView(sums(45, 5), 0.01);
  assert.equal(few.mismatch_rate, 0.1);
  assert.ok(few.mismatch_low < 0.1 && few.mismatch_high > 0.1, JSON.stringify(few));
  assert.equal(few.verdict, 'inconclusive');
  assert.equal(shadowView(sums(450, 50), 0.01).verdict, 'fail');
  assert.equal(shadowView(sums(45, 5), 0.1).verdict, 'inconclusive');
  assert.equal(shadowView(sums(5000, 0), 0.01).verdict, 'pass');
  assert.equal(shadowView(sums(50, 0), 0.01).verdict, 'inconclusive', 'few say little');
});

test('without a limit there is no verdict, and without comparisons no rate', () => {
  const none = shadowView(sums(0, 0), undefined);
  assert.deepEqual([none.mismatch_rate, none.mismatch_low, none.mismatch_high, none.verdict], [null, 0, 1, null]);
  assert.equal(shadowView(sums(0, 0), 0.01).verdict, 'inconclusive', 'no data is never a pass');
});
