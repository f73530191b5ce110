import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { addHash, distinctCount, distinctHash } from './distinct.ts';
import {
  addNumber,
  addProduct,
  addSum,
  addTerm,
  deviationOf,
  type ExactSum,
  roundedSum,
  wideSum,
} from './exact-sum.ts';

const SCALE = 200;
/** Doubles of very different sizes, whose lowest digit is not below 2^-SCALE. */
const term = fc
  .tuple(
    fc.integer({ min: -(2 ** 30), max: 2 ** 30 }),
    fc.integer({ min: 0, max: 2 ** 22 }),
    fc.integer({ min: -140, max: 120 }),
  )
  .map(([high, low, exponent]) => (high * 2 ** 22 + low) * 2 ** exponent);

/** The double as an integer of 2^-SCALE. */
function scaled(value: number): bigint {
  let shift = 0;
  let whole = value;
  while (!Number.isInteger(whole)) {
    whole *= 2;
    shift++;
  }
  return BigInt(whole) << BigInt(SCALE - shift);
}

function exact(terms: readonly number[]): ExactSum {
  const sum: ExactSum = [];
  for (const each of terms) addTerm(sum, each);
  return sum;
}

test('sums are those of unlimited precision, rounded once, in any order and any grouping', () => {
  fc.assert(
    fc.property(fc.array(term, { maxLength: 40 }), fc.nat(), (terms, cut) => {
      const wanted = Number(terms.reduce((sum, each) => sum + scaled(each), 0n)) * 2 ** -SCALE;
      const reversed = exact(terms.toReversed());
      const parts = exact(terms.slice(0, cut % (terms.length + 1)));
      addSum(parts, exact(terms.slice(cut % (terms.length + 1))));
      for (const sum of [exact(terms), reversed, parts]) assert.equal(roundedSum(sum) + 0, wanted + 0);
    }),
  );
});

test('deviations are those of unlimited precision, also where a mean is far larger', () => {
  const value = fc.integer({ min: -1000, max: 1000 }).map((near) => 2 ** 40 + near);
  fc.assert(
    fc.property(fc.array(fc.oneof(value, fc.integer()), { minLength: 1, maxLength: 30 }), (values) => {
      const squares: ExactSum = [];
      for (const each of values) addProduct(squares, each, each);
      const wide = values.map(BigInt);
      const total = wide.reduce((sum, each) => sum + each, 0n);
      const spread = BigInt(values.length) * wide.reduce((sum, each) => sum + each * each, 0n) - total * total;
      assert.equal(deviationOf(values.length, exact(values), squares), Math.sqrt(Number(spread)) / values.length);
    }),
  );
});

test('integers beyond 2^53 keep their digits', () => {
  const wide = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
  fc.assert(
    fc.property(fc.array(wide, { maxLength: 20 }), (values) => {
      const sum: ExactSum = [];
      for (const value of values) addNumber(sum, value);
      assert.equal(
        wideSum(sum),
        values.reduce((a, b) => a + b, 0n),
      );
    }),
  );
});

test('different values are counted exactly up to the limit, whatever their order, and estimated beyond', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(60), { maxLength: 200 }), (values) => {
      const [forth, back]: [number[], number[]] = [[], []];
      for (const value of values) addHash(forth, distinctHash(`${value}`), 20);
      for (const value of values.toReversed()) addHash(back, distinctHash(`${value}`), 20);
      assert.deepEqual(forth, back);
      const different = new Set(values).size;
      if (different <= 20) assert.equal(distinctCount(forth, 20), different);
      else assert.ok(distinctCount(forth, 20) > 10, `${different} are told as ${distinctCount(forth, 20)}`);
    }),
  );
  const sketch: number[] = [];
  for (let i = 0; i < 50_000; i++) addHash(sketch, distinctHash(`user-${i}`), 1024);
  const told = distinctCount(sketch, 1024);
  assert.ok(Math.abs(told / 50_000 - 1) < 0.16, `50,000 are told as ${told}: five standard errors are allowed`);
});
