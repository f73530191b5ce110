import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Change, coverageOf } from '../../testing/interval-coverage.ts';
import type { StatisticName } from '../document.ts';
import { jensenShannon, lInfinity, psi } from './distances.ts';
import { effectInterval, largestInterval, meanInterval, sampleInterval, shareInterval } from './interval.ts';
import { kolmogorovSmirnov, sampleOf, wasserstein } from './samples.ts';

/** Nominal 95 %; `npm run simulate:intervals` draws more, see docs/monitoring.md. Seeded: the figures never change. */
const BOUNDS = [0.9, 1] as const;
const TRIALS = 100;
const CASES: [StatisticName, Change][] = [
  ['psi', { shift: 0.4 }],
  ['jensenShannon', { shift: 0.4 }],
  ['lInfinity', { shift: 0.4 }],
  ['wasserstein', { shift: 0.4 }],
  ['ks', { shift: 0.4 }],
  ['psi', { from: [0.5, 0.3, 0.2], to: [0.4, 0.3, 0.3] }],
];

for (const [statistic, change] of CASES)
  test(`the interval of ${statistic} holds the truth as often as it says (${JSON.stringify(change)})`, () => {
    const { covered, trials } = coverageOf(statistic, change, 1000, TRIALS);
    const share = covered / trials;
    assert.ok(share >= BOUNDS[0] && share <= BOUNDS[1], `${covered} of ${trials}`);
  });

test('where nothing changed, intervals reach down to nothing', () => {
  for (const statistic of ['psi', 'jensenShannon', 'lInfinity', 'wasserstein', 'ks'] as const) {
    const { covered, trials } = coverageOf(statistic, { shift: 0 }, 1000, 20);
    assert.ok(covered / trials >= 0.9, `${statistic}: ${covered} of ${trials}`);
  }
});

test('intervals are seeded, never negative, and get narrower with rows, which cost nothing', () => {
  const counts = fc.array(fc.integer({ min: 0, max: 500 }), { minLength: 3, maxLength: 12 });
  const intervals = (p: number[], q: number[]) => [
    effectInterval(psi, p, q, { root: true, chance: false }, { draws: 50 }),
    effectInterval(jensenShannon, p, q, { root: false, chance: false }, { draws: 50 }),
    largestInterval(lInfinity, p, q, { draws: 50 }),
  ];
  fc.assert(
    fc.property(counts, fc.integer({ min: 1, max: 1e6 }), (given, times) => {
      if (given.every((count) => count === 0)) return;
      const scaled = given.map((count) => count * times);
      for (const { low, high } of intervals(scaled, [...given].reverse()))
        assert.ok(low >= 0 && low <= high && Number.isFinite(high), `${low} … ${high}`);
    }),
    { numRuns: 50 },
  );
  const [p, q] = [
    [500, 300, 200],
    [400, 300, 300],
  ];
  assert.deepEqual(intervals(p, q), intervals(p, q));
  const widths = (times: number): number[] => {
    const by = (list: number[]): number[] => list.map((count) => count * times);
    return intervals(by(p), by(q)).map(({ low, high }) => high - low);
  };
  const few = widths(1);
  for (const [i, width] of widths(100).entries()) assert.ok(width < few[i] / 5, `${width} of ${few[i]}`);
});

test('a sketch that is not sure of its ranks has a wider interval than the values themselves', () => {
  const [a, b] = [0, 0.3].map((shift) =>
    sampleOf(Array.from({ length: 2000 }, (_, i) => ((i * 7919) % 2000) / 500 + shift)),
  );
  for (const effect of [kolmogorovSmirnov, wasserstein]) {
    const width = (deviation: number): number => {
      const { low, high } = sampleInterval(effect, a, b, [deviation, deviation], 1, { draws: 100 });
      return high - low;
    };
    assert.ok(width(0.02) > width(0), `${width(0.02)} is not wider than ${width(0)}`);
  }
});

test('shares and means', () => {
  const { low, high } = shareInterval(0, 10);
  assert.ok(low === 0 && Math.abs(high - 0.27753) < 1e-5, `${low} … ${high}`);
  assert.deepEqual(meanInterval(2, 4, 9), { low: 2, high: 2 });
});
