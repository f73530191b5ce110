import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { firstDifference, firstRankDifference } from './differences.ts';

const of =
  (...values: number[]) =>
  (i: number): number =>
    values[i];

test('numbers agree within the absolute and the relative tolerance together', () => {
  assert.equal(firstDifference(2, of(100, 1), of(100.15, 1), 0.1, 0.001), '');
  assert.equal(
    firstDifference(2, of(1, 100), of(1, 100.3), 0.1, 0.001),
    'element 1 differs by 0.3 (atol 0.1, rtol 0.001)',
  );
});

test('NaN agrees with NaN alone, infinities with themselves', () => {
  const { NaN: nan, POSITIVE_INFINITY: inf } = Number;
  assert.equal(firstDifference(2, of(nan, inf), of(nan, inf), 1, 1), '');
  assert.equal(firstDifference(1, of(nan), of(0), 1, 1), 'element 0 is not a number in one of the two');
  assert.equal(firstDifference(1, of(1), of(nan), 1, 1), 'element 0 is not a number in one of the two');
  assert.equal(firstDifference(1, of(inf), of(-inf), 1, 0), 'element 0 differs by Infinity (atol 1, rtol 0)');
});

test('the k largest of each row are compared as a set', () => {
  assert.equal(firstRankDifference([2, 3], of(3, 2, 1, 1, 2, 3), of(2, 3, 1, 1, 2, 4), 2), '');
  assert.equal(
    firstRankDifference([2, 3], of(3, 2, 1, 1, 2, 3), of(3, 2, 1, 3, 2, 1), 1),
    'row 1 has another top 1: 1 of them differ',
  );
  assert.equal(firstRankDifference([0, 3], of(), of(), 1), '');
});

test('the k largest are those that sorting finds', () => {
  const number = fc.oneof(fc.integer({ min: -3, max: 3 }), fc.constantFrom(Number.NaN, Infinity, -Infinity));
  fc.assert(
    fc.property(fc.array(number, { minLength: 1, maxLength: 12 }), fc.integer({ min: 1, max: 14 }), (row, k) => {
      const rank = (value: number): number => (Number.isNaN(value) ? -Number.MAX_VALUE : value);
      const below = (i: number, j: number): boolean => Number.isNaN(row[i]) && !Number.isNaN(row[j]);
      const sorted = row.map((_, i) => i);
      sorted.sort((i, j) => (below(i, j) ? 1 : below(j, i) ? -1 : Math.sign(rank(row[j]) - rank(row[i])) || i - j));
      const top = sorted.slice(0, k).sort((i, j) => i - j);
      // Another row whose largest k are those, and nothing else.
      const marked = row.map((_, i) => (top.includes(i) ? 1 : 0));
      assert.equal(firstRankDifference([row.length], of(...row), of(...marked), k), '');
    }),
  );
});

test('a row wider than what is looked at is still compared', () => {
  const width = 100_000;
  const peak = (at: number) => (i: number) => (i === at ? 1 : 0);
  assert.equal(firstRankDifference([1, width], peak(99_999), peak(99_999), 1), '');
  assert.equal(firstRankDifference([1, width], peak(99_999), peak(5), 1), 'row 0 has another top 1: 1 of them differ');
});

test('of more than can be looked at, what is looked at lies all over it', () => {
  const count = 1_000_000;
  const zero = () => 0;
  const from = (start: number) => (i: number) => (i >= start ? 1 : 0);
  assert.match(firstDifference(count, zero, from(999_000), 0, 0), /^element 999\d{3} differs by 1 \(atol 0, rtol 0\)$/);
  // No column of a table escapes.
  for (let column = 0; column < 16; column++) {
    assert.notEqual(
      firstDifference(count, zero, (i) => (i % 16 === column ? 1 : 0), 0, 0),
      '',
    );
  }
  const rows = firstRankDifference(
    [count / 100, 100],
    (i) => -(i % 100),
    (i) => (i >= 990_000 ? i % 100 : -(i % 100)),
    1,
  );
  assert.match(rows, /^row 99\d\d has another top 1: 1 of them differ$/);
});
