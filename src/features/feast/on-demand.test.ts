import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DRIVER_DOCUMENTS, document, featureSet } from '../../testing/features.ts';
import { viewOf } from '../documents/catalog.ts';
import { rowsOf } from '../ingest/rows.ts';
import { OfflineLog } from '../offline/log.ts';
import { TrainingData } from '../offline/training-data.ts';
import { MemoryStore } from '../store/memory-store.ts';
import { hashOf } from '../transforms/apply.ts';
import { getOnlineFeatures, readColumns } from './online-features.ts';

const TRIP = document('OnDemandFeatureView', 'trip', {
  request: [
    { name: 'distance', type: 'float64' },
    { name: 'day', type: 'string' },
    { name: 'val_to_add', type: 'int64' },
  ],
  features: [
    { name: 'rate_plus_val', kind: 'sum', of: ['driver_stats:conv_rate', 'val_to_add'] },
    { name: 'per_trip', kind: 'ratio', of: ['distance', 'driver_stats:trips'] },
    { name: 'far', kind: 'bucketise', of: 'distance', boundaries: [5, 20] },
    { name: 'distance_scaled', kind: 'standard', of: 'distance', mean: 10, deviation: 4 },
    { name: 'weekend', kind: 'oneHot', of: 'day', values: ['sat', 'sun'] },
    { name: 'home_hash', kind: 'hash', of: 'driver_stats:home', buckets: 100 },
    { name: 'active', kind: 'identity', of: 'driver_stats:active', missing: -1 },
  ],
});
const SERVICE = document('FeatureService', 'trips', {
  features: [
    { view: 'driver_stats', features: ['conv_rate'] },
    { view: 'trip', features: ['far', 'rate_plus_val'] },
  ],
});
const DOCUMENTS = [...DRIVER_DOCUMENTS, TRIP, SERVICE];
const set = featureSet(DOCUMENTS);
const NOW = Date.now();
const iso = (ms: number) => new Date(ms).toISOString();

const TRIP_NAMES = [...(set.onDemand.get('trip')?.names ?? [])];

const FRAME = {
  driver_id: [1, 2, 3],
  event_timestamp: [iso(NOW - 60_000), iso(NOW - 2 * 86_400_000), iso(NOW)],
  conv_rate: [0.5, 0.25, null],
  trips: [4, 4, 0],
  active: [true, true, null],
  home: ['Köln', 'x', null],
};

interface Answer {
  metadata: { feature_names: string[] };
  results: { values: unknown[]; statuses: string[]; event_timestamps: string[] }[];
}

function filled(): MemoryStore {
  const store = new MemoryStore(100);
  const view = viewOf(set, 'driver_stats');
  store.write('default', view, rowsOf(view, readColumns(FRAME, 'df'), 100, NOW));
  return store;
}

async function get(body: object, store = filled()): Promise<Answer> {
  return JSON.parse(await getOnlineFeatures(store, set, 'default', Buffer.from(JSON.stringify(body)), 100)) as Answer;
}

const entities = {
  driver_id: [1, 2, 3, 9],
  distance: [2, 5, 30, null],
  day: ['sat', 'mon', 'sun', null],
  val_to_add: [1, 2, 3, 4],
};

test('what a request brings and what is stored are made into features by the built-in steps', async () => {
  const names = TRIP_NAMES;
  const answer = await get({ features: names.map((name) => `trip:${name}`), entities });
  assert.deepEqual(answer.metadata.feature_names, ['driver_id', ...names]);
  const values = Object.fromEntries(names.map((name, i) => [name, answer.results[i + 1].values]));
  // Of driver 2 everything is too old, of 3 it is null, and 9 has no row: as if it were missing, as in training.
  assert.deepEqual(values, {
    rate_plus_val: [1.5, null, null, null],
    per_trip: [0.5, null, null, null],
    far: [0, 1, 2, -1],
    distance_scaled: [-2, -1.25, 5, 0],
    weekend: [
      [1, 0],
      [0, 0],
      [0, 1],
      [0, 0],
    ],
    home_hash: [hashOf('Köln') % 100, -1, -1, -1],
    active: [1, -1, -1, -1],
  });
  assert.deepEqual(answer.results[1].statuses, ['PRESENT', 'NULL_VALUE', 'NULL_VALUE', 'NULL_VALUE']);
  assert.deepEqual(new Set(answer.results[1].event_timestamps), new Set(['1970-01-01T00:00:00Z']));
});

test('services and full names have them in order, and views are read no more than once', async () => {
  const answer = await get({ feature_service: 'trips', full_feature_names: true, entities });
  const expected = ['driver_id', 'driver_stats__conv_rate', 'trip__far', 'trip__rate_plus_val'];
  assert.deepEqual(answer.metadata.feature_names, expected);
  assert.deepEqual(answer.results[1].values, [0.5, 0.25, null, null]);
  assert.deepEqual(answer.results[1].statuses[1], 'OUTSIDE_MAX_AGE');
  assert.deepEqual(answer.results[3].values, [1.5, null, null, null]);
  // Of the request alone: no view is read, and no join key is needed.
  const alone = await get({ features: ['trip:far'], entities: { distance: [7] } });
  assert.deepEqual(alone.metadata.feature_names, ['far']);
  assert.deepEqual(alone.results[0].values, [1]);
});

test('training rows have the same values at their times', async () => {
  const log = new OfflineLog('/nowhere');
  const data = new TrainingData({
    set: () => set,
    log,
    baseDir: '/nowhere',
    maxRows: 100,
    clients: async () => undefined,
  });
  const view = viewOf(set, 'driver_stats');
  data.rows = async () => ({ rows: rowsOf(view, readColumns(FRAME, 'df'), 100, NOW), rejected: 0, problems: [] });
  const times = { ...entities, event_timestamp: new Array(4).fill(iso(NOW)) };
  const selection = TRIP_NAMES.map((name) => `trip:${name}`);
  const known = await data.known({ tenant: 'default', selection, entities: times });
  const answer = await get({ features: selection, entities });
  assert.deepEqual(
    known.columns.map(({ values }) => values),
    answer.results.slice(1).map(({ values }) => values),
  );
});

test('what is missing or unknown is refused by name', async () => {
  const refused = (body: object, message: RegExp) => assert.rejects(async () => get(body), { message });
  await refused(
    { features: ['trip:far', 'trip:rate_plus_val'], entities: { driver_id: [1] } },
    /on-demand feature view trip needs the request data distance, val_to_add, which is not given; it takes distance \(float64\), day \(string\), val_to_add \(int64\)$/,
  );
  await refused(
    { features: ['trip:rate_plus_val'], entities: { val_to_add: [1] } },
    /driver_stats needs the join key driver_id/,
  );
  await refused(
    { features: ['trip:far'], entities: { distance: ['much'] } },
    /entities, row 0: distance must be of type float64, not "much"/,
  );
  await refused({ features: ['trip:none'], entities }, /feature view trip has no feature "none"; it has rate_plus_val/);
  await refused(
    { features: ['my_python_view:x'], entities },
    /"my_python_view" does not exist; there are driver_stats, embeddings, city_stats, and computed on demand trip\. Python of Feast's on_demand_feature_view is not run here: declare an OnDemandFeatureView with built-in transforms/,
  );
  assert.throws(() => viewOf(set, 'trip'), /"trip" is computed on demand: it has no rows of its own/);
});

test('documents that do not fit are refused by place', () => {
  const wrong = (spec: object, message: RegExp, name = 'odd') =>
    assert.throws(() => featureSet([...DRIVER_DOCUMENTS, document('OnDemandFeatureView', name, spec)]), message);
  const feature = (more: object) => ({ features: [{ name: 'f', ...more }] });
  wrong(feature({ kind: 'hash', of: 'x', buckets: 5 }), /x is neither request data nor of the form \\"view:feature\\"/);
  wrong(
    feature({ kind: 'sum', of: ['driver_stats:trips', 'driver_stats:none'] }),
    /has no feature none; it has conv_rate/,
  );
  wrong(feature({ kind: 'identity', of: 'embeddings:vector' }), /is a vector, and steps take single values/);
  wrong(feature({ kind: 'python', of: 'x' }), /features/);
  wrong(
    feature({ kind: 'hash', of: 'driver_stats:trips', buckets: 5 }),
    /there is a FeatureView driver_stats, too/,
    'driver_stats',
  );
  wrong(
    { request: [{ name: 'f', type: 'int64' }], features: [{ name: 'f', kind: 'identity', of: 'f' }] },
    /f stands there twice/,
  );
});
