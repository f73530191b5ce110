import assert from 'node:assert/strict';
import { test } from 'node:test';
import { comparisons, shadowView } from './shadow-view.ts';

const sums = (match: number, mismatch: number, failed = 0) => ({ match, mismatch, failed, dropped: 2, uncompared: 3 });

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

test('a copy that failed where the client was answered differs from the answer; one that was dropped says nothing', () => {
  assert.deepEqual(comparisons(sums(5, 2, 3)), { compared: 10, mismatched: 5 });
  const broken = shadowView(sums(0, 0, 500), 0.01);
  assert.deepEqual([broken.mismatch_rate, broken.verdict], [1, 'fail']);
  assert.equal(shadowView({ ...sums(0, 0), dropped: 500 }, 0.01).verdict, 'inconclusive');
});

test('without a limit there is no verdict, and without comparisons no rate', () => {
  const none = shadowView(sums(0, 0), undefined);
  assert.deepEqual([none.mismatch_rate, none.mismatch_low, none.mismatch_high, none.verdict], [null, 0, 1, null]);
  assert.equal(shadowView(sums(0, 0), 0.01).verdict, 'inconclusive', 'no data is never a pass');
});
