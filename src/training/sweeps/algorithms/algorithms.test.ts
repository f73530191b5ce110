import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { gridPoint, gridSize } from './grid.ts';
import { bracketCount, chooseBracket, climb, rungStep } from './halving.ts';
import type { Trial } from './history.ts';
import { stopsByMedian } from './median-stop.ts';
import { densityOf, drawPoint, logDensity, logMassBetween } from './parzen.ts';
import { randomOf } from './random-source.ts';
import { anyPoint, type Dimension, type NumberDimension, type Params } from './space.ts';
import { suggestTpe } from './tpe.ts';

const X: NumberDimension = { kind: 'number', name: 'x', low: -2, high: 3, log: false, step: undefined };
const LR: NumberDimension = { kind: 'number', name: 'lr', low: 1e-5, high: 1, log: true, step: undefined };
const N: NumberDimension = { kind: 'number', name: 'n', low: 1, high: 9, log: false, step: 2 };
const UNITS: NumberDimension = { kind: 'number', name: 'units', low: 1, high: 512, log: true, step: 1 };
const KIND: Dimension = { kind: 'choice', name: 'kind', choices: ['a', 'b', 7] };
const SPACE: Dimension[] = [X, LR, N, UNITS, KIND];
const SETTINGS = { startupTrials: 10, candidates: 24, multivariate: true };

function allowed(point: Params): boolean {
  return SPACE.every((dimension) => {
    const value = point[dimension.name];
    if (dimension.kind === 'choice') return dimension.choices.includes(value);
    const { low, high, step } = dimension;
    if (typeof value !== 'number' || value < low || value > high) return false;
    return step === undefined || Number.isInteger((value - low) / step);
  });
}

function trial(number: number, params: Params, value: number, state: Trial['state'] = 'complete'): Trial {
  return { number, params, value, state, lastStep: 1 };
}

test('every point that is drawn or suggested is allowed, and the same seed and trial give the same one', () => {
  fc.assert(
    fc.property(fc.nat(), fc.integer({ min: 0, max: 40 }), fc.boolean(), (seed, count, multivariate) => {
      const history: Trial[] = [];
      for (let i = 0; i < count; i++) {
        const params = anyPoint(SPACE, randomOf(seed, i));
        assert.ok(allowed(params), JSON.stringify(params));
        history.push(trial(i, params, randomOf(seed, -i)(), i % 3 === 0 ? 'stopped' : 'complete'));
      }
      const settings = { ...SETTINGS, multivariate };
      const point = suggestTpe(SPACE, history, settings, randomOf(seed, count));
      assert.ok(allowed(point), JSON.stringify(point));
      assert.deepEqual(suggestTpe(SPACE, history, settings, randomOf(seed, count)), point);
    }),
    { numRuns: 12 },
  );
});

test('densities sum up to one', () => {
  const seen = [0.5, 2.9, -1.99, 0.51].map((x) => ({ x }));
  for (const points of [[], seen]) {
    const density = densityOf([X], points);
    const cells = 2_000;
    let sum = 0;
    for (let i = 0; i < cells; i++) sum += Math.exp(logDensity(density, { x: -2 + (5 * (i + 0.5)) / cells }));
    assert.ok(Math.abs((sum * 5) / cells - 1) < 1e-4, `x: ${sum}`);
  }
  const steps = densityOf([N], [{ n: 3 }, { n: 9 }]);
  const total = [1, 3, 5, 7, 9].reduce((sum, n) => sum + Math.exp(logDensity(steps, { n })), 0);
  assert.ok(Math.abs(total - 1) < 1e-9, `n: ${total}`);
  const units = densityOf([UNITS], [{ units: 64 }, { units: 2 }]);
  let all = 0;
  for (let i = 1; i <= 512; i++) all += Math.exp(logDensity(units, { units: i }));
  assert.ok(Math.abs(all - 1) < 1e-9, `units: ${all}`);
  const kinds = densityOf([KIND], [{ kind: 'b' }, { kind: 7 }]);
  const chances = ['a', 'b', 7].map((kind) => Math.exp(logDensity(kinds, { kind })));
  assert.ok(Math.abs(chances.reduce((a, b) => a + b) - 1) < 1e-12, `kinds: ${chances}`);
  assert.ok(chances[1] > chances[0], `kinds: ${chances}`);
});

test('what is drawn from a density has its shape', () => {
  const density = densityOf([X], [{ x: 1 }, { x: 1.1 }, { x: 0.9 }]);
  const random = randomOf(7, 0);
  const draws = Array.from({ length: 4_000 }, () => drawPoint(density, random).x as number);
  for (const [from, to] of [
    [-2, 0],
    [0.8, 1.2],
    [2, 3],
  ]) {
    let mass = 0;
    for (let i = 0; i < 100; i++) mass += Math.exp(logDensity(density, { x: from + ((to - from) * (i + 0.5)) / 100 }));
    const expected = (mass * (to - from)) / 100;
    const share = draws.filter((x) => x >= from && x < to).length / draws.length;
    assert.ok(Math.abs(share - expected) < 0.03, `${from} to ${to}: ${share}, expected ${expected}`);
  }
});

test('the mass far out on either side is neither zero nor lost', () => {
  const middle = logMassBetween(-1, 1);
  assert.ok(Math.abs(middle - Math.log(0.6826894921370859)) < 1e-12, String(middle));
  // ln of the survival function at 40, from tables of the normal distribution: -804.608442.
  const far = logMassBetween(40, 1000);
  assert.ok(Math.abs(far + 804.608442) < 1e-5, String(far));
  assert.equal(logMassBetween(40, 41), logMassBetween(-41, -40));
});

test('TPE finds the better half of a space, and comes close to the best point', () => {
  const history: Trial[] = [];
  for (let i = 0; i < 60; i++) {
    const params = suggestTpe([X, KIND], history, SETTINGS, randomOf(3, i));
    history.push(trial(i, params, ((params.x as number) - 1) ** 2 + (params.kind === 'b' ? 0 : 1)));
  }
  const good = history.slice(-40).filter(({ params }) => params.kind === 'b').length;
  assert.ok(good > 20, `${good} of the last 40 tried b, a third would be chance`);
  const best = Math.min(...history.map(({ value }) => value as number));
  assert.ok(best < 0.01, `best ${best}`);
});

test('a grid has each point once, the last parameter fastest, and then ends', () => {
  const space: Dimension[] = [KIND, { ...N, low: 0.1, high: 0.5, step: 0.2 }];
  assert.equal(gridSize(space), 9);
  assert.equal(gridSize(SPACE), undefined);
  const points = Array.from({ length: 9 }, (_, i) => gridPoint(space, i));
  assert.deepEqual(points.slice(0, 4), [
    { kind: 'a', n: 0.1 },
    { kind: 'a', n: 0.3 },
    { kind: 'a', n: 0.5 },
    { kind: 'b', n: 0.1 },
  ]);
  assert.equal(new Set(points.map((point) => JSON.stringify(point))).size, 9);
  assert.equal(gridPoint(space, 9), undefined);
});

test('a trial climbs while it is among the best of those that came before, and decisions are not made again', () => {
  const settings = { minSteps: 1, maxSteps: 27, reductionFactor: 3 };
  assert.deepEqual(
    [0, 1, 2].map((rung) => rungStep(settings, 0, rung)),
    [1, 3, 9],
  );
  assert.equal(rungStep(settings, 1, 0), 3);
  const report = (values: number[]) => values.map((value, i) => ({ step: i + 1, value }));
  // The first comer always goes on; a later one must be the best of three.
  assert.deepEqual(climb(report([5, 4, 3]), [], [], settings, 0), { rungs: [5, 3], stop: false });
  assert.deepEqual(climb(report([6]), [], [[5], [4]], settings, 0), { rungs: [6], stop: true });
  assert.deepEqual(climb(report([3]), [], [[5], [4]], settings, 0), { rungs: [3], stop: false });
  // It passed the first rung when there were others: now only the second counts.
  assert.deepEqual(climb(report([9, 8, 1]), [9], [[5, 2], [4]], settings, 0), { rungs: [9, 1], stop: false });
  assert.deepEqual(climb([{ step: 1, value: Number.NaN }], [], [], settings, 0), { rungs: [Number.NaN], stop: true });
  // The last rung lies before the end.
  assert.equal(climb([{ step: 27, value: 9 }], [9, 9, 9], [[1, 1, 1]], settings, 0).stop, false);
});

test('brackets: as many as there are rungs, and bold ones get more trials', () => {
  const settings = { minSteps: 1, maxSteps: 27, reductionFactor: 3 };
  assert.equal(bracketCount(settings), 4);
  const counts = [0, 0, 0, 0];
  for (let i = 0; i < 2000; i++) counts[chooseBracket(settings, randomOf(1, i))]++;
  // 27, 12, 6 and 4 of 49.
  for (const [i, share] of [27, 12, 6, 4].entries())
    assert.ok(Math.abs(counts[i] / 2000 - share / 49) < 0.04, `bracket ${i}: ${counts[i]}`);
});

test('the median rule stops what is worse than most were on average', () => {
  const settings = { minTrialsRequired: 3, startStep: 2 };
  const complete = [3, 2, 1].map((end) => [1, 2, 3].map((step) => ({ step, value: end + 3 - step })));
  // Averages up to step 2: 4.5, 3.5, 2.5.
  const at2 = (value: number) => [
    { step: 1, value: 9 },
    { step: 2, value },
  ];
  assert.equal(stopsByMedian(at2(3.6), complete, settings), true);
  assert.equal(stopsByMedian(at2(3.4), complete, settings), false);
  assert.equal(stopsByMedian(at2(9), complete.slice(0, 2), settings), false, 'too few complete');
  assert.equal(stopsByMedian([{ step: 1, value: 9 }], complete, settings), false, 'too early');
  assert.equal(stopsByMedian([], complete, settings), false);
});
