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
const rows = (mean: number, count: number) => Array.from({ length: count }, () => [mean + random()]);
const version = { monitor: 'seasonal', version: '1', digest: '' };
const frozen: Reference = {
  ...version,
  frozenAt: 0,
  source: '',
  ...freeze(
    ['inputs.x'],
    [...rows(0, 1000), ...rows(3, 1000)].map((values) => ({ values, slices: [] })),
    false,
  ),
};

function window(season: string, mean: number, from: number): WindowSums {
  const counters = new Counters(frozen.columns, false);
  for (const values of rows(mean, 1000)) counters.add(values, []);
  return { ...version, from, to: from, firstId: '', lastId: '', season, slices: counters.take() };
}

test('a window is judged by its hour, once its hour is learnt', () => {
  // Nights lie around 0, days around 3: against all hours together neither would be as usual.
  let reference = frozen;
  for (let day = 0; day < 14; day++) {
    for (const [season, mean] of [
      ['3', 0],
      ['13', 3],
    ] as const) {
      const seen = window(season, mean, day * DAY);
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
  const state = (season: string, mean: number, known = reference) =>
    judgeWindow(spec, known, window(season, mean, 15 * DAY), 0).state;
  assert.equal(state('3', 0), 'ok');
  assert.equal(state('13', 3), 'ok');
  assert.equal(state('13', 0), 'drifted', 'a night at noon');
  assert.equal(state('3', 3), 'drifted', 'noon at night');
  assert.equal(state('', 0), 'drifted', 'against all hours together');
  assert.equal(state('7', 0), 'insufficient', 'an hour that was never seen');
});

test('without seasons nothing is learnt after the reference', () => {
  const plain = { reference: { ...spec.reference, seasonal: undefined } };
  assert.equal(isLearning(plain, frozen, 0), false);
});
