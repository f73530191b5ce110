import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { rateDifference } from './bernoulli.ts';
import { prepareArm, quantileRatioSequence } from './compare-quantiles.ts';
import { rateDifferenceSequence } from './compare-rates.ts';
import {
  addHistogram,
  bucketOf,
  decodeHistogram,
  encodeHistogram,
  histogramQuantile,
  lowerBound,
  newHistogram,
  RATIO,
  record,
  total,
} from './latency-histogram.ts';

const P99 = { quantile: 0.99, tOpt: 5000 };

function exponential(count: number, scale: number): Float64Array {
  const histogram = newHistogram();
  for (let i = 0; i < count; i++) record(histogram, -scale * Math.log(1 - (i + 0.5) / count));
  return histogram;
}

test('joint sequences hold the observed difference and are narrower than two separate ones', () => {
  const counts = fc
    .integer({ min: 1, max: 5000 })
    .chain((trials) => fc.record({ trials: fc.constant(trials), successes: fc.integer({ min: 0, max: trials }) }));
  fc.assert(
    fc.property(counts, counts, (a, b) => {
      const { low, high } = rateDifferenceSequence(a, b, 0.05, 2000);
      const observed = b.successes / b.trials - a.successes / a.trials;
      assert.ok(low <= observed + 1e-9 && observed <= high + 1e-9, `${low} ${observed} ${high}`);
    }),
    { numRuns: 60 },
  );
  const a = { successes: 50, trials: 5000 };
  const b = { successes: 90, trials: 5000 };
  const joint = rateDifferenceSequence(a, b, 0.05, 5000);
  const separate = rateDifference(a, b, 0.05, 5000);
  assert.ok(joint.low > separate.low && joint.high < separate.high);
  assert.deepEqual(rateDifferenceSequence({ successes: 0, trials: 0 }, b, 0.05, 100), { low: -1, high: 1 });
});

test('the ratio of two p99 is bracketed, and an empty arm says nothing', () => {
  const slow = prepareArm(exponential(20_000, 12), P99);
  const base = prepareArm(exponential(20_000, 10), P99);
  const { low, high } = quantileRatioSequence(base, slow, 0.05, P99);
  assert.ok(low > 1 && low < 1.2 && high > 1.2 && high < 1.5, `${low} ${high}`);
  const same = quantileRatioSequence(base, base, 0.05, P99);
  assert.ok(same.low < 1 && same.high > 1);
  const nothing = quantileRatioSequence(base, prepareArm(newHistogram(), P99), 0.05, P99);
  assert.deepEqual(nothing, { low: 0, high: Number.POSITIVE_INFINITY });
});

test('histograms merge by addition, survive JSON, and keep quantiles to half a bucket', () => {
  const values = fc.array(fc.double({ min: 0.002, max: 1e6, noNaN: true }), { minLength: 1, maxLength: 300 });
  fc.assert(
    fc.property(values, values, (a, b) => {
      const [first, second] = [a, b].map((list) => {
        const histogram = newHistogram();
        for (const value of list) record(histogram, value);
        return histogram;
      });
      addHistogram(first, second);
      assert.equal(total(first), a.length + b.length);
      assert.deepEqual(decodeHistogram(JSON.parse(JSON.stringify(encodeHistogram(first)))), first);
      const sorted = [...a, ...b].sort((x, y) => x - y);
      const exact = sorted[Math.max(0, Math.ceil(0.9 * sorted.length) - 1)];
      const close = histogramQuantile(first, 0.9) / exact;
      assert.ok(close < RATIO && close > 1 / RATIO, `${close}`);
    }),
  );
  assert.ok(Number.isNaN(histogramQuantile(newHistogram(), 0.5)));
  for (const odd of [Number.NaN, -1, 0, Number.POSITIVE_INFINITY, 1e300]) {
    const histogram = newHistogram();
    record(histogram, odd);
    assert.equal(total(histogram), 1);
  }
  assert.ok(lowerBound(bucketOf(123.4)) <= 123.4 && lowerBound(bucketOf(123.4) + 1) > 123.4);
  assert.equal(
    total(
      decodeHistogram([
        [-1, 5],
        [1e9, 1],
        [3.5, 1],
      ]),
    ),
    0,
  );
});
