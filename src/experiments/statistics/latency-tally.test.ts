import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { addEncoded, decodeHistogram, encodeHistogram, newHistogram, record } from './latency-histogram.ts';
import { LatencyTally } from './latency-tally.ts';

const latency = fc.oneof(fc.double({ min: 0, max: 100, noNaN: true }), fc.constantFrom(5, 5.05, 5.1, 0, 1e9, NaN));

test('a tally encodes what a histogram does, for few latencies and for many', () => {
  fc.assert(
    fc.property(fc.array(latency, { maxLength: 600 }), (latencies) => {
      const histogram = newHistogram();
      const tally = new LatencyTally();
      for (const each of latencies) {
        record(histogram, each);
        tally.record(each);
      }
      assert.deepEqual(tally.encode(), encodeHistogram(histogram));
    }),
  );
});

test('encoded counts add up in place, and broken runs are left out', () => {
  fc.assert(
    fc.property(fc.array(latency), fc.array(latency), (a, b) => {
      const [one, other, all] = [newHistogram(), newHistogram(), newHistogram()];
      for (const each of a) record(one, each);
      for (const each of b) record(other, each);
      for (const each of [...a, ...b]) record(all, each);
      addEncoded(one, encodeHistogram(other));
      assert.deepEqual(one, all);
    }),
  );
  assert.deepEqual(
    decodeHistogram([[-1, 3], [0.5, 1], [1e6, 1], [], [newHistogram().length - 1, 1, 1]]),
    newHistogram(),
  );
});
