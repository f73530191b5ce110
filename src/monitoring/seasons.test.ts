import assert from 'node:assert/strict';
import { test } from 'node:test';
import { seeded } from '../testing/seeded.ts';
import { Counters, freeze } from './counters.ts';
import { monitorSchema } from './document.ts';
import { isLearning, withSeason } from './seasons.ts';
import type { Reference, WindowSums } from './types.ts';
import { judgeWindow } from './verdict.ts';

const DAY = 24 * 3600 * 1000;
const { spec } = monitorSchema.parse({
  apiVersion: 'switchyard/v1',
  kind: 'Monitor',
  metadata: { name: 'seasonal' },
  spec: { model: 'm', reference: { records: 2000, seasonal: 'hourOfDay', learn: '14d' } },
});
const random = seeded(13);
/** Values of an hour between 0 and 1: most are small at night, and large by day. */
type Hour = 'night' | 'day';
const value = (hour: Hour): number => (hour === 'night' ? random() ** 2 : 1 - random() ** 2);
const rows = (hour: Hour, count: number) => Array.from({ length: count }, () => [value(hour)]);
const version = { monitor: 'seasonal', version: '1', digest: '' };
const frozen: Reference = {
  ...version,
  frozenAt: 0,
  source: '',
  ...freeze(
    ['inputs.x'],
    [...rows('night', 1000), ...rows('day', 1000)].map((values) => ({ values, slices: [] })),
    false,
  ),
};

function window(season: string, hour: Hour, from: number): WindowSums {
  const counters = new Counters(frozen.columns, false);
  for (const values of rows(hour, 1000)) counters.add(values, []);
  return { ...version, from, to: from, firstId: '', lastId: '', season, slices: counters.take() };
}

test('a window is judged by its hour, once its hour is learnt', () => {
  // Against all hours together neither would be as usual.
  let reference = frozen;
  for (let day = 0; day < 14; day++) {
    for (const [season, hour] of [
      ['3', 'night'],
      ['13', 'day'],
    ] as const) {
      const seen = window(season, hour, day * DAY);
      assert.equal(isLearning(spec, reference, seen.from), true, `day ${day}`);
      reference = withSeason(reference, seen);
    }
  }
  assert.equal(isLearning(spec, reference, 14 * DAY), false);
  assert.deepEqual(
    Object.entries(reference.seasons ?? {}).map(([season, sums]) => [season, sums.rows]),
    [
      ['3', 14_000],
      ['13', 14_000],
    ],
  );
  assert.equal(frozen.seasons, undefined, 'the reference that was is as it was');
  const state = (season: string, hour: Hour) => judgeWindow(spec, reference, window(season, hour, 15 * DAY), 0).state;
  assert.equal(state('3', 'night'), 'ok');
  assert.equal(state('13', 'day'), 'ok');
  assert.equal(state('13', 'night'), 'drifted', 'a night at noon');
  assert.equal(state('3', 'day'), 'drifted', 'noon at night');
  assert.equal(state('', 'night'), 'drifted', 'against all hours together');
  assert.equal(state('7', 'night'), 'insufficient', 'an hour that was never seen');
});

test('without seasons nothing is learnt after the reference', () => {
  const plain = { reference: { ...spec.reference, seasonal: undefined } };
  assert.equal(isLearning(plain, frozen, 0), false);
});
