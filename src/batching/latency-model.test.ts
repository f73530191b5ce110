import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { LatencyModel } from './latency-model.ts';

function learned(points: readonly (readonly [number, number])[], times = 200): LatencyModel {
  const model = new LatencyModel();
  for (let i = 0; i < times; i++) for (const [rows, ms] of points) model.observe(rows, ms);
  return model;
}

function near(actual: number, expected: number, tolerance = 0.02): void {
  assert.ok(Math.abs(actual - expected) <= tolerance * expected, `${actual}, expected about ${expected}`);
}

test('knows nothing before the first batch', () => {
  const model = new LatencyModel();
  assert.deepEqual([model.predict(8), model.expected(8), model.bestBatchSize(), model.observations], [0, 0, 0, 0]);
});

test('is linear between the sizes seen, in proportion above, and on either safe side below', () => {
  const model = learned([
    [4, 10],
    [8, 14],
  ]);
  near(model.predict(6), 12);
  near(model.predict(16), 28);
  near(model.predict(1), 10);
  near(model.expected(1), 2.5);
});

test('is an upper estimate: two deviations above the mean', () => {
  const model = new LatencyModel();
  for (let i = 0; i < 2000; i++) model.observe(1, i % 2 === 0 ? 8 : 12);
  near(model.expected(1), 10, 0.05);
  near(model.predict(1), 14, 0.06);
});

test('never falls with the batch size, whatever was seen', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.integer({ min: 1, max: 300 }), fc.double({ min: 0.01, max: 50, noNaN: true })), {
        minLength: 1,
        maxLength: 60,
      }),
      (samples) => {
        const model = new LatencyModel();
        for (const [rows, ms] of samples) model.observe(rows, ms);
        for (let rows = 2; rows <= 400; rows++) {
          assert.ok(model.predict(rows) >= model.predict(rows - 1) - 1e-9, `predict(${rows})`);
          assert.ok(model.expected(rows) >= model.expected(rows - 1) - 1e-9, `expected(${rows})`);
          assert.ok(model.predict(rows) >= model.expected(rows) - 1e-9);
        }
      },
    ),
    { numRuns: 100 },
  );
});

test('one pause hardly moves it, a lasting change does', () => {
  const model = learned([[1, 1]]);
  model.observe(1, 1000);
  assert.ok(model.predict(1) < 2, `${model.predict(1)}`);
  for (let i = 0; i < 200; i++) model.observe(1, 20);
  near(model.expected(1), 20, 0.05);
});

test('a size not seen for long gives way to what is measured now', () => {
  const model = learned([
    [4, 400],
    [8, 500],
  ]);
  for (let i = 0; i < 100_000; i++) model.observe(8, 5);
  assert.ok(model.expected(8) < 25, `${model.expected(8)}`);
});

test('names the size with the most rows per millisecond', () => {
  const model = learned([
    [1, 1],
    [8, 2],
    [64, 30],
  ]);
  assert.equal(model.bestBatchSize(), 8);
});

test('ignores figures that cannot be', () => {
  const model = new LatencyModel();
  for (const [rows, ms] of [
    [0, 1],
    [-1, 1],
    [1, -1],
    [1, Number.NaN],
    [1, Infinity],
  ]) {
    model.observe(rows, ms);
  }
  assert.equal(model.observations, 0);
});
