import assert from 'node:assert/strict';
import { test } from 'node:test';
import { featureSet } from '../../testing/features.ts';
import { viewOf } from '../documents/catalog.ts';
import { rowOfObject, rowsOf } from './rows.ts';

const NOW = Date.UTC(2026, 10, 30);
const view = viewOf(featureSet(), 'driver_stats');
const row = {
  driver_id: 1,
  event_timestamp: new Date(NOW - 60_000).toISOString(),
  conv_rate: 0.5,
  trips: null,
  active: true,
  home: 'Köln',
};
const more = { region: 'west', nested: { conv_rate: 9 }, _ingested_at: 'now' };

test('what a row has beside the view’s columns is left out, of messages and lines as of pushed columns', () => {
  const plain = rowOfObject(view, row, NOW);
  assert.deepEqual(rowOfObject(view, { ...row, ...more }, NOW), plain);
  const columns = new Map(Object.entries({ ...row, ...more }).map(([name, value]) => [name, [value]]));
  assert.deepEqual(rowsOf(view, columns, 1, NOW), [plain]);
});

test('a feature by another name is one that is missing', () => {
  const { conv_rate, ...others } = row;
  assert.throws(
    () => rowOfObject(view, { ...others, convRate: conv_rate }, NOW),
    /needs conv_rate too, if only as null/,
  );
});
