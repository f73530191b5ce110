import assert from 'node:assert/strict';
import { test } from 'node:test';
import { firstDifference, firstRankDifference } from './differences.ts';

const of =
  (...values: number[]) =>
  (i: number): number =>
    values[i];

test('numbers agree within the absolute and the relative tolerance together', () => {
  assert.equal(firstDifference(2, of(100, 1), of(100.15, 1), 0.1, 0.001), '');
  assert.equal(firstDifference(2, of(1, 100), of(1, 100.3), 0.1, 0.001), 'element 1 is 100.3, not 100');
});

test('NaN agrees with NaN alone, infinities with themselves', () => {
  const { NaN: nan, POSITIVE_INFINITY: inf } = Number;
  assert.equal(firstDifference(2, of(nan, inf), of(nan, inf), 1, 1), '');
  assert.equal(firstDifference(1, of(nan), of(0), 1, 1), 'element 0 is 0, not NaN');
  assert.equal(firstDifference(1, of(1), of(nan), 1, 1), 'element 0 is NaN, not 1');
});

test('the k largest of each row are compared as a set', () => {
  assert.equal(firstRankDifference([2, 3], of(3, 2, 1, 1, 2, 3), of(2, 3, 1, 1, 2, 4), 2), '');
  assert.equal(
    firstRankDifference([2, 3], of(3, 2, 1, 1, 2, 3), of(3, 2, 1, 3, 2, 1), 1),
    'row 1 has top 1 {0}, not {2}',
  );
  assert.equal(firstRankDifference([0, 3], of(), of(), 1), '');
});
