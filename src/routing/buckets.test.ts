import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { chiSquareTail } from '../experiments/statistics/gamma.ts';
import {
  assign,
  BUCKETS,
  bucketCounts,
  bucketOf,
  decodeBuckets,
  encodeBuckets,
  reassign,
  saltSeed,
} from './buckets.ts';
import { murmur3, murmur3Ascii } from './hash.ts';

const weights = (slots: number) =>
  fc
    .array(fc.integer({ min: 0, max: 1000 }), { minLength: slots, maxLength: slots })
    .filter((list) => list.some((weight) => weight > 0));

function count(buckets: Uint8Array, slots: number): number[] {
  const counts = new Array<number>(slots).fill(0);
  for (const slot of buckets) counts[slot]++;
  return counts;
}

test('MurmurHash3 of UTF-8 bytes, by its published vectors', () => {
  assert.equal(murmur3('', 0), 0);
  assert.equal(murmur3('', 1), 0x514e28b7);
  assert.equal(murmur3('test', 0), 0xba6bd213);
  assert.equal(murmur3('Hello, world!', 0x9747b28c), 0x24884cba);
  assert.equal(murmur3('The quick brown fox jumps over the lazy dog', 0x9747b28c), 0x2fa826cd);
  // ππππππππ in UTF-8 with seed 0x9747b28c
  assert.equal(murmur3('ππππππππ', 0x9747b28c), 0xd58063c1);
  assert.equal(murmur3('\ud800', 7), murmur3('\ufffd', 7));
});

/** The same, by the published algorithm's steps over bytes. */
function overBytes(bytes: Buffer, seed: number): number {
  const rotate = (x: number, by: number): number => (x << by) | (x >>> (32 - by));
  const scramble = (k: number): number => Math.imul(rotate(Math.imul(k, 0xcc9e2d51), 15), 0x1b873593);
  const whole = bytes.length - (bytes.length % 4);
  let h = seed;
  for (let i = 0; i < whole; i += 4) h = Math.imul(rotate(h ^ scramble(bytes.readInt32LE(i)), 13), 5) + 0xe6546b64;
  let tail = 0;
  for (let i = whole; i < bytes.length; i++) tail |= bytes[i] << (8 * (i - whole));
  h ^= scramble(tail) ^ bytes.length;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

test('MurmurHash3 is that of the bytes, wherever a text leaves ASCII', () => {
  const piece = fc.constantFrom('a', 'user', '-', '0123', 'é', '€', '😀', '\ud800', '\udc00');
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 12 }), fc.integer({ min: 0, max: 0xffffffff }), (pieces, seed) => {
      const text = pieces.join('');
      assert.equal(murmur3(text, seed), overBytes(Buffer.from(text), seed));
      const block = Buffer.from(`before${text}after`);
      const length = block.length - 11;
      const ascii = length === text.length;
      assert.equal(murmur3Ascii(block, 6, length, seed), ascii ? murmur3(text, seed) : -1);
    }),
  );
});

test('shares are exact to a bucket, and as few buckets move as the counts allow', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 8 }).chain((n) => fc.array(weights(n), { minLength: 2, maxLength: 6 })),
      (steps) => {
        let buckets = assign(steps[0]);
        for (const next of steps) {
          const moved = reassign(buckets, next);
          const before = count(buckets, next.length);
          const after = count(moved, next.length);
          assert.deepEqual(after, bucketCounts(next));
          const least = before.reduce((sum, n, slot) => sum + Math.max(0, n - after[slot]), 0);
          assert.equal(moved.filter((slot, bucket) => slot !== buckets[bucket]).length, least);
          assert.deepEqual(decodeBuckets(encodeBuckets(moved), next.length), moved);
          buckets = moved;
        }
      },
    ),
  );
  assert.deepEqual(bucketCounts([29, 71]), [2900, 7100]);
  assert.throws(() => bucketCounts([0, 0]), /do not add up/);
});

test("a canary's steps forth and back return everyone", () => {
  const steps = [0, 1, 5, 25, 40].map((w) => [100 - 2 * w, w, w]);
  const forth: Uint8Array[] = [];
  let buckets = assign(steps[0]);
  for (const step of steps) {
    buckets = reassign(buckets, step);
    forth.push(buckets);
  }
  for (let i = steps.length - 1; i >= 0; i--) {
    buckets = reassign(buckets, steps[i]);
    assert.deepEqual(buckets, forth[i]);
  }
});

test('units spread evenly, and independently under another salt', () => {
  const slots = 20;
  const joint = new Float64Array(slots * slots);
  const total = 40_000;
  const [a, b] = [saltSeed('ranker-q1'), saltSeed('ranker-q2')];
  for (let i = 0; i < total; i++) {
    const unit = `user-${i}`;
    const one = Math.floor((bucketOf(murmur3(unit, a)) * slots) / BUCKETS);
    const two = Math.floor((bucketOf(murmur3(unit, b)) * slots) / BUCKETS);
    joint[one * slots + two]++;
  }
  const expected = total / joint.length;
  const chiSquare = joint.reduce((sum, n) => sum + (n - expected) ** 2 / expected, 0);
  // Fixed units: the same figure every time.
  assert.ok(chiSquareTail(chiSquare, joint.length - 1) > 0.001, `${chiSquare}`);
});

test('broken encodings are refused', () => {
  for (const runs of [[], [[0, 9999]], [[0, 10_001]], [[3, 10_000]], [[0, -1]], [[0.5, 10_000]], [[0]]]) {
    assert.equal(decodeBuckets(runs, 3), undefined, JSON.stringify(runs));
  }
});
