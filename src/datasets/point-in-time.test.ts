import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Batch, collect, type Schema, sourceOf } from './batch.ts';
import { entityKey, joinBatches, joinSorted, latestRows } from './point-in-time.ts';

interface Row {
  key: string;
  time: number;
  created: number;
}

const row = fc.record({
  key: fc.constantFrom('a', 'b', 'c'),
  time: fc.integer({ min: 0, max: 20 }),
  created: fc.integer({ min: 0, max: 3 }),
});
const ttl = fc.oneof(fc.integer({ min: 0, max: 10 }), fc.constant(Number.POSITIVE_INFINITY));

const timed = (rows: readonly Row[]) => ({ keys: rows.map((r) => r.key), times: rows.map((r) => r.time) });

/** Every pair is looked at. */
function bruteForce(labels: readonly Row[], features: readonly Row[], ttlMs: number, created: boolean): number[] {
  return labels.map((label) => {
    let best = -1;
    features.forEach((feature, i) => {
      if (feature.key !== label.key || feature.time > label.time || feature.time < label.time - ttlMs) return;
      const other = features[best];
      const later =
        best < 0 ||
        feature.time > other.time ||
        (feature.time === other.time && (!created || feature.created >= other.created));
      if (later) best = i;
    });
    return best;
  });
}

test('finds the rows that looking at every pair finds', () => {
  fc.assert(
    fc.property(fc.array(row), fc.array(row), ttl, fc.boolean(), (labels, features, ttlMs, created) => {
      const given = { ...timed(features), ...(created ? { created: features.map((r) => r.created) } : {}) };
      assert.deepEqual([...latestRows(timed(labels), given, ttlMs)], bruteForce(labels, features, ttlMs, created));
    }),
    { numRuns: 500 },
  );
});

const LABELS: Schema = {
  fields: [
    { name: 'user', type: 'string' },
    { name: 'at', type: 'timestamp' },
  ],
};
const FEATURES: Schema = { fields: [...LABELS.fields, { name: 'visits', type: 'integer' }] };

const batchOf = (rows: readonly Row[], values: boolean): Batch => ({
  rows: rows.length,
  columns: [rows.map((r) => r.key), rows.map((r) => r.time), ...(values ? [rows.map((_, i) => i)] : [])],
});

test('joins streams in order of time as it joins columns, however they are cut into batches', async () => {
  const columns = { entity: ['user'], time: 'at' };
  await fc.assert(
    fc.asyncProperty(fc.array(row), fc.array(row), ttl, fc.integer({ min: 1, max: 7 }), async (l, f, ttlMs, size) => {
      const labels = l.toSorted((a, b) => a.time - b.time);
      const features = f.toSorted((a, b) => a.time - b.time);
      const spec = { labels: columns, features: columns, ttlMs };
      const whole = joinBatches(
        { schema: LABELS, batch: batchOf(labels, false) },
        { schema: FEATURES, batch: batchOf(features, true) },
        spec,
      );
      const cut = (batch: Batch): Batch[] =>
        Array.from({ length: Math.ceil(batch.rows / size) }, (_, i) => ({
          rows: Math.min(size, batch.rows - i * size),
          columns: batch.columns.map((column) => column.slice(i * size, (i + 1) * size)),
        }));
      const stream = joinSorted(
        sourceOf(LABELS, ...cut(batchOf(labels, false))),
        sourceOf(FEATURES, ...cut(batchOf(features, true))),
        spec,
      );
      assert.deepEqual(stream.schema, whole.schema);
      assert.deepEqual(await collect(stream), { rows: whole.batch.rows, columns: whole.batch.columns });
    }),
    { numRuns: 200 },
  );
});

test('refuses streams out of order, times that are none, and columns that are on both sides', async () => {
  const columns = { entity: ['user'], time: 'at' };
  const spec = { labels: columns, features: columns, ttlMs: 10 };
  const late = [5, 3].map((time) => ({ key: 'a', time, created: 0 }));
  const stream = joinSorted(sourceOf(LABELS, batchOf(late, false)), sourceOf(FEATURES), spec);
  await assert.rejects(collect(stream), /a label row of the time 3 comes after one of 5/);
  assert.throws(
    () => latestRows({ keys: ['a'], times: [Number.NaN] }, { keys: [], times: [] }, 1),
    /label row 1: the event time is NaN/,
  );
  const both = { ...spec, columns: ['user'] };
  assert.throws(() => joinSorted(sourceOf(LABELS), sourceOf(FEATURES), both), /both have a column "user"/);
});

test('different entities have different keys', () => {
  const cell = fc.oneof(fc.string({ maxLength: 4 }), fc.integer({ min: 0, max: 20 }), fc.constant(null));
  fc.assert(
    fc.property(fc.tuple(cell, cell), fc.tuple(cell, cell), (a, b) => {
      assert.equal(entityKey(a) === entityKey(b), a[0] === b[0] && a[1] === b[1], `${entityKey(a)} ${entityKey(b)}`);
    }),
  );
});

test('takes a million labels and a million feature rows', () => {
  const rows = 1_000_000;
  const keys = Array.from({ length: rows }, (_, i) => `u${(i * 7919) % 50_021}`);
  const times = Float64Array.from({ length: rows }, (_, i) => (i * 104_729) % rows);
  const found = latestRows({ keys, times }, { keys, times }, Number.POSITIVE_INFINITY);
  // Each label's own row has its very time.
  for (let i = 0; i < rows; i += 9973) assert.equal(times[found[i]], times[i], `row ${i}`);
});
