import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { bootstrapMedian, median, mulberry32, pairedRatios, quantile } from './statistics.ts';

test('quantiles interpolate between order statistics', () => {
  assert.equal(median([3, 1, 2]), 2);
  assert.equal(median([4, 1, 2, 3]), 2.5);
  assert.equal(quantile([10, 20, 30], 0), 10);
  assert.equal(quantile([10, 20, 30], 0.75), 25);
  assert.equal(quantile([10, 20, 30], 1), 30);
  assert.throws(() => median([]), /empty list/);
  assert.throws(() => quantile([1], 1.5), /outside/);
});

test('ratios are paired by round', () => {
  assert.deepEqual(pairedRatios([2, 9], [1, 3]), [2, 3]);
  assert.throws(() => pairedRatios([1], [1, 2]), /differ in length/);
  assert.throws(() => pairedRatios([1], [0]), /measured 0/);
});

test('a drift that halves both sides leaves the ratio alone', () => {
  const ratios = pairedRatios([100, 50, 25], [200, 100, 50]);
  assert.deepEqual(bootstrapMedian(ratios), { value: 0.5, low: 0.5, high: 0.5 });
});

test('the interval holds the estimate and stays within the data', () => {
  fc.assert(
    fc.property(
      fc.array(fc.double({ min: 0.01, max: 100, noNaN: true }), { minLength: 1, maxLength: 12 }),
      (values) => {
        const { value, low, high } = bootstrapMedian(values, 0.95, 200);
        assert.ok(low <= value && value <= high);
        assert.ok(low >= Math.min(...values) && high <= Math.max(...values));
      },
    ),
    { numRuns: 50 },
  );
});

test('the interval covers a known median about as often as it says', () => {
  const random = mulberry32(42);
  let covered = 0;
  for (let trial = 0; trial < 200; trial++) {
    const values = Array.from({ length: 15 }, () => random());
    const { low, high } = bootstrapMedian(values, 0.95, 300, trial);
    if (low <= 0.5 && 0.5 <= high) covered++;
  }
  assert.ok(covered >= 170, `covered ${covered} of 200`);
});
