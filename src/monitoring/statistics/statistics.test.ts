import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { binCount, binName, binner, freezeBins, regularBins, type Value } from './bins.ts';
import { bandOf } from './chunks.ts';
import { jensenShannon, lInfinity, psi } from './distances.ts';
import { effectInterval, seededRandom } from './interval.ts';
import { KllSketch } from './kll.ts';
import { kolmogorovSmirnov, normedWasserstein, sampleOf, wasserstein, weightOf } from './samples.ts';
import { chiSquareTwoSample, kolmogorovTail, proportionTest } from './tests.ts';

function near(actual: number, expected: number, tolerance: number): void {
  assert.ok(Math.abs(actual - expected) <= tolerance, `${actual} is not ${expected} ± ${tolerance}`);
}

const counts = fc.array(fc.integer({ min: 0, max: 500 }), { minLength: 3, maxLength: 12 });

// The figures are SciPy's, evidently's and nannyml's: .ci/oracles/drift compares many more.
test('distances of counts', () => {
  const [p, q] = [
    [50, 30, 20],
    [20, 30, 50],
  ];
  near(psi(p, q), 0.5497744391244, 1e-9);
  near(jensenShannon(p, q), 0.3095409536771482, 1e-12);
  near(lInfinity(p, q), 0.3, 1e-12);
  assert.equal(psi(p, p), 0);
  near(psi([100, 0], [90, 10]), (0.1 - 1e-4) * Math.log(1000) + (0.9 - 1) * Math.log(0.9), 1e-9);
});

test('distances are never negative, 0 for equal shares, and do not depend on the order of bins', () => {
  fc.assert(
    fc.property(counts, fc.integer({ min: 1, max: 5 }), (given, times) => {
      if (given.every((count) => count === 0)) return;
      const scaled = given.map((count) => count * times);
      const turned = [...given].reverse();
      for (const distance of [psi, jensenShannon, lInfinity]) {
        near(distance(given, scaled), 0, 1e-7);
        near(distance(given, turned), distance(turned, given), 1e-9);
        assert.ok(distance(given, turned) >= 0, 'a distance is not negative');
      }
    }),
    { numRuns: 100 },
  );
});

test('tests of SciPy', () => {
  const { statistic, degrees, pValue } = chiSquareTwoSample([50, 30, 20], [20, 30, 50]);
  near(statistic, 25.7142857142857, 1e-9);
  assert.equal(degrees, 2);
  near(pValue, 2.607e-6, 1e-8);
  near(kolmogorovTail(1.36, 2, 2), 0.049485895, 1e-6);
  near(kolmogorovTail(0.5, 2, 2), 0.963945244, 1e-6);
  const { z, pValue: p } = proportionTest({ hits: 300, total: 1000 }, { hits: 350, total: 1000 });
  near(z, 2.38705, 1e-3);
  near(p, 0.017, 1e-3);
});

test('rare bins are taken together until each is expected five times', () => {
  const { degrees } = chiSquareTwoSample([500, 480, 1, 0, 2, 3], [490, 470, 2, 1, 0, 4], true);
  assert.equal(degrees, 2);
  assert.equal(chiSquareTwoSample([1000, 0], [999, 1], true).pValue, 1);
  assert.ok(chiSquareTwoSample([1000, 0], [0, 1000], true).pValue < 1e-100, 'a value that vanished is seen');
});

test('distances of samples', () => {
  const [a, b] = [sampleOf([1, 2, 3, 4]), sampleOf([2, 3, 4, 9, Number.NaN])];
  near(kolmogorovSmirnov(a, b), 0.25, 1e-12);
  near(wasserstein(a, b), 2, 1e-12);
  near(normedWasserstein(a, b), 2 / Math.sqrt(1.25), 1e-12);
});

test('a sketch keeps its weight, is small, and merges to what it would have been', () => {
  const random = seededRandom(5);
  const values = Array.from({ length: 20_000 }, () => random());
  const [whole, left, right] = [new KllSketch(), new KllSketch(200, 2), new KllSketch(200, 3)];
  values.forEach((value, i) => {
    whole.add(value);
    (i % 2 === 0 ? left : right).add(value);
  });
  left.merge(right.state());
  for (const sketch of [whole, left, KllSketch.from(left.state())]) {
    const sample = sketch.sample();
    assert.equal(weightOf(sample), values.length);
    assert.ok(sample.values.length < 900, `${sample.values.length} values are kept`);
    assert.ok(kolmogorovSmirnov(sample, sampleOf(values)) < 0.0265, 'ranks are known to within the bound');
  }
});

test('bins are deciles, a bin for each of few values, and have places for all that is strange', () => {
  const random = seededRandom(7);
  const deciles = freezeBins(Array.from({ length: 2000 }, () => random()));
  assert.equal(deciles.kind, 'numeric');
  assert.equal(binCount(deciles), 13);
  const bin = binner(deciles);
  assert.deepEqual([bin(-5), bin(5), bin(Number.NaN), bin(null)], [0, 11, 12, 12]);
  const few = freezeBins(['a', 'b', 'a', null, true]);
  assert.deepEqual(few, { kind: 'categories', categories: ['a', 'b', 'true'] });
  assert.deepEqual(['a', 'zzz', null].map(binner(few)), [0, 3, 4]);
  assert.equal(binName(few, 3), 'other');
});

test('a value that most rows have gets a bin of its own', () => {
  const random = seededRandom(8);
  const values = Array.from({ length: 2000 }, (_, i) => (i % 20 === 0 ? random() : 0));
  const bins = freezeBins(values);
  const bin = binner(bins);
  assert.notEqual(bin(0), bin(0.5), 'zeros and others are told apart');
});

test('every value has a bin, and each bin of the reference has enough of it', () => {
  const value: fc.Arbitrary<Value> = fc.oneof(
    fc.double(),
    fc.integer({ min: -3, max: 3 }),
    fc.string(),
    fc.boolean(),
    fc.constant(null),
  );
  fc.assert(
    fc.property(fc.array(value, { minLength: 1, maxLength: 200 }), fc.array(value), (reference, others) => {
      const bins = freezeBins(reference);
      const bin = binner(bins);
      const filled = new Array<number>(binCount(bins)).fill(0);
      for (const one of [...reference, ...others]) {
        const index = bin(one);
        assert.ok(Number.isInteger(index) && index >= 0 && index < binCount(bins), `${String(one)} has no bin`);
        assert.notEqual(binName(bins, index), undefined);
      }
      for (const one of reference) filled[bin(one)]++;
      const { from, to } = regularBins(bins);
      const present = reference.filter((one) => one !== null && !Number.isNaN(one)).length;
      for (const count of filled.slice(from, to))
        assert.ok(count >= Math.min(1, 0.01 * present), `a bin of the reference is empty: ${filled}`);
    }),
    { numRuns: 200 },
  );
});

test('bands and intervals', () => {
  const { low, high } = bandOf([0.9, 0.92, 0.88, 0.9], 3, [0, 1]);
  near(low, 0.9 - 3 * 0.0141421356, 1e-6);
  near(high, 0.9 + 3 * 0.0141421356, 1e-6);
  const [p, q] = [
    [500, 300, 200],
    [400, 300, 300],
  ];
  const { low: from, high: to } = effectInterval(psi, p, q, { root: true, chance: false });
  const value = psi(p, q);
  assert.ok(from < value && value < to, `${value} in [${from}, ${to}]`);
  assert.equal(effectInterval(psi, p, [510, 290, 200], { root: true, chance: true }).low, 0);
});
