import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ColumnProfiler } from '../../datasets/profile.ts';
import { seeded } from '../../testing/seeded.ts';
import { addLive, type LiveColumn, type LiveValue, liveSkew, mergeLive, newLiveColumn } from './sketch.ts';

function live(values: readonly LiveValue[]): LiveColumn {
  const column = newLiveColumn();
  for (const value of values) addLive(column, value);
  return column;
}

function profile(type: 'number' | 'string' | 'boolean', values: readonly (number | string | boolean)[]) {
  const profiler = new ColumnProfiler({ name: 'c', type });
  profiler.add(values);
  return profiler.result();
}

function normal(random: () => number): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

test('parts add up to what counting all at once gives, in any order', () => {
  const value = fc.oneof(fc.integer({ min: -5, max: 5 }), fc.double(), fc.constantFrom('', 'a', 'b', true, false));
  fc.assert(
    fc.property(fc.array(fc.array(value)), (parts) => {
      const whole = live(parts.flat());
      for (const order of [parts, parts.toReversed()]) {
        const sum = newLiveColumn();
        for (const part of order) mergeLive(sum, live(part));
        assert.deepEqual([sum.count, sum.missing], [whole.count, whole.missing]);
        assert.deepEqual(new Map([...sum.values].sort()), new Map([...whole.values].sort()));
      }
    }),
  );
});

test('memory is bounded, and nothing that was counted is lost', () => {
  const random = seeded(1);
  const column = newLiveColumn();
  for (let i = 0; i < 50_000; i++) addLive(column, normal(random) * 10 ** Math.floor(random() * 40 - 20));
  for (let i = 0; i < 5000; i++) addLive(column, `text ${i}`);
  const held = [...column.values.values(), ...column.bins.values(), column.rest].reduce((a, b) => a + b, 0);
  assert.equal(held, column.count);
  assert.ok(column.values.size <= 1000 && column.bins.size < 8000, `${column.values.size} and ${column.bins.size}`);
});

test('the same distribution is near, a shifted one is far, and outliers do not hide it', () => {
  const random = seeded(7);
  const draw = (shift: number, count = 20_000) => Array.from({ length: count }, () => 50 + shift + 10 * normal(random));
  const training = profile('number', draw(0));
  const near = liveSkew(training, live(draw(0).map(Math.fround)));
  assert.ok(near !== undefined && near.linf < 0.015 && near.js < 0.002, JSON.stringify(near));
  const far = liveSkew(training, live([...draw(10), 1e12]));
  assert.ok(far !== undefined && far.linf > 0.03 && far.js > 0.1, JSON.stringify(far));
  const outside = liveSkew(training, live(draw(500)));
  assert.deepEqual([outside?.linf, outside?.js], [1, 1]);
});

test('values at the edges of bins belong where training counted them, also as 32-bit floats', () => {
  const values = Array.from({ length: 3300 }, (_, i) => (i % 10) / 10);
  const skew = liveSkew(profile('number', values), live(values.map(Math.fround)));
  assert.ok(skew !== undefined && skew.linf < 1e-9, JSON.stringify(skew));
  const one = liveSkew(profile('number', [0.7, 0.7]), live([Math.fround(0.7)]));
  assert.deepEqual(one, { linf: 0, js: 0 });
});

test('texts and booleans are compared by share, new ones count against all others', () => {
  const training = profile('string', ['DE', 'DE', 'FR', 'IT']);
  assert.deepEqual(liveSkew(training, live(['DE', 'DE', 'FR', 'IT'])), { linf: 0, js: 0 });
  assert.equal(liveSkew(training, live(['DE', 'DE', 'XX', 'YY']))?.linf, 0.5);
  assert.equal(liveSkew(profile('boolean', [true, false]), live([true, true]))?.linf, 0.5);
  assert.equal(liveSkew(training, live([''])), undefined);
});
