import assert from 'node:assert/strict';
import { test } from 'node:test';
import { featureSet } from '../../testing/features.ts';
import { viewOf } from '../documents/catalog.ts';
import { rowsOf } from '../ingest/rows.ts';
import { MemoryStore } from '../store/memory-store.ts';
import { getOnlineFeatures, readColumns } from './online-features.ts';

const set = featureSet();
const NOW = Date.now();
const iso = (ms: number) => new Date(ms).toISOString();

function push(store: MemoryStore, tenant: string, name: string, df: object): number {
  const view = viewOf(set, name);
  return store.write(tenant, view, rowsOf(view, readColumns(df, 'df'), 100, NOW));
}

interface Answer {
  metadata: { feature_names: string[]; feature_view_metadata?: object[] };
  results: { values: unknown[]; statuses: string[]; event_timestamps: string[] }[];
}

async function get(store: MemoryStore, body: object, tenant = 'default'): Promise<Answer> {
  return JSON.parse(await getOnlineFeatures(store, set, tenant, Buffer.from(JSON.stringify(body)), 100)) as Answer;
}

const FRAME = {
  driver_id: [1, 2],
  event_timestamp: [iso(NOW - 60_000), iso(NOW - 2 * 86_400_000)],
  conv_rate: [0.5, 0.25],
  trips: [null, '9007199254740993'],
  active: [true, false],
  home: ['Köln', 'x'],
};

test('values come with their status and event time, in the order of the request', async () => {
  const store = new MemoryStore(100);
  assert.equal(push(store, 'default', 'driver_stats', FRAME), 2);
  const answer = await get(store, {
    features: ['driver_stats:trips', 'driver_stats:conv_rate'],
    entities: { driver_id: [2, 1, 9, 1], unknown: [0, 0, 0, 0] },
  });
  assert.deepEqual(answer.metadata, { feature_names: ['driver_id', 'trips', 'conv_rate'] });
  const [ids, trips, rate] = answer.results;
  assert.deepEqual(ids, {
    values: [2, 1, 9, 1],
    statuses: ['PRESENT', 'PRESENT', 'PRESENT', 'PRESENT'],
    event_timestamps: new Array(4).fill('1970-01-01T00:00:00Z'),
  });
  assert.deepEqual(trips.statuses, ['OUTSIDE_MAX_AGE', 'NULL_VALUE', 'NOT_FOUND', 'NULL_VALUE']);
  assert.deepEqual(rate.values, [0.25, 0.5, null, 0.5]);
  assert.deepEqual(rate.statuses, ['OUTSIDE_MAX_AGE', 'PRESENT', 'NOT_FOUND', 'PRESENT']);
  assert.equal(new Date(rate.event_timestamps[1]).getTime(), NOW - 60_000);
  assert.equal(rate.event_timestamps[2], '1970-01-01T00:00:00Z');
});

test('services, full names and versions', async () => {
  const store = new MemoryStore(100);
  push(store, 'default', 'embeddings', { driver_id: [1], event_timestamp: [NOW], vector: [[1, 2]] });
  const answer = await get(store, {
    feature_service: 'ranking',
    full_feature_names: true,
    include_feature_view_version_metadata: true,
    entities: { driver_id: [1] },
  });
  assert.deepEqual(answer.metadata.feature_names, [
    'driver_id',
    'driver_stats__trips',
    'driver_stats__conv_rate',
    'embeddings__vector',
  ]);
  assert.deepEqual(answer.metadata.feature_view_metadata, [{ name: 'driver_stats' }, { name: 'embeddings' }]);
  assert.deepEqual(answer.results[3].values, [[1, 2]]);
});

test('digits of long integers survive the way in and out', async () => {
  const store = new MemoryStore(100);
  push(store, 'default', 'driver_stats', FRAME);
  const body = Buffer.from('{"features": ["driver_stats:trips"], "entities": {"driver_id": [2]}}');
  assert.match(await getOnlineFeatures(store, set, 'default', body, 9), /"values":\[9007199254740993\]/);
});

test('the newest event time wins, whatever comes last; of two the same the later one', () => {
  const store = new MemoryStore(100);
  const row = (time: number, trips: number) =>
    push(store, 'default', 'city_stats', { driver_id: [1], city: ['k'], event_timestamp: [time], trips: [trips] });
  assert.equal(row(NOW - 5, 5), 1);
  assert.equal(row(NOW - 9, 9), 0);
  assert.equal(row(NOW - 5, 6), 1);
  const read = store.read('default', [{ view: viewOf(set, 'city_stats'), fields: [0], keys: ['["1","k"]'] }]);
  assert.deepEqual(read, [[{ time: NOW - 5, values: [6] }]]);
});

test('tenants do not see one another, except in shared views', async () => {
  const store = new MemoryStore(100);
  push(store, 'a', 'driver_stats', FRAME);
  push(store, 'a', 'city_stats', { driver_id: [1], city: ['k'], event_timestamp: [NOW], trips: [3] });
  const statuses = async (tenant: string) => {
    const features = ['driver_stats:home', 'city_stats:trips'];
    const { results } = await get(store, { features, entities: { driver_id: [1], city: ['k'] } }, tenant);
    return results.slice(2).map((result) => result.statuses[0]);
  };
  assert.deepEqual(await statuses('a'), ['PRESENT', 'PRESENT']);
  assert.deepEqual(await statuses('b'), ['NOT_FOUND', 'PRESENT']);
});

test('memory is bounded: the least recently used entity goes', () => {
  const store = new MemoryStore(2);
  const view = viewOf(set, 'embeddings');
  const row = (key: string) => ({ key, time: NOW, values: [[1, 2]] });
  store.write('t', view, [row('1'), row('2')]);
  store.read('t', [{ view, fields: [0], keys: ['1'] }]);
  store.write('t', view, [row('3')]);
  const [found] = store.read('t', [{ view, fields: [0], keys: ['1', '2', '3'] }]) as unknown[][];
  assert.deepEqual(
    found.map((each) => each !== undefined),
    [true, false, true],
  );
});

test('bad requests are refused by name', async () => {
  const store = new MemoryStore(10);
  const refused = (body: unknown, message: RegExp) =>
    assert.rejects(async () => get(store, body as object), { name: 'SwitchyardError', message });
  const features = ['driver_stats:trips'];
  await refused([], /must be a JSON object/);
  await refused({ features }, /entities must be an object of lists/);
  await refused({ features, entities: {} }, /at least one join key/);
  await refused({ features, entities: { driver_id: 1 } }, /entities\.driver_id must be a list/);
  await refused({ features, entities: { driver_id: [1], city: [] } }, /city has 0 rows/);
  await refused({ features, entities: { city: ['k'] } }, /needs the join key driver_id/);
  await refused({ features, entities: { driver_id: ['x'] } }, /row 0: driver_id must be an integer/);
  await refused({ features, entities: { driver_id: new Array(101).fill(1) } }, /at most 100/);
  await refused({ features: 'x', entities: { driver_id: [1] } }, /features must be a list/);
  await refused({ feature_service: 'none', entities: { driver_id: [1] } }, /Feature service "none" does not exist/);
  assert.throws(() => push(store, 'd', 'driver_stats', { ...FRAME, trips: undefined }), /df\.trips must be a list/);
  assert.throws(() => push(store, 'd', 'driver_stats', { driver_id: [1] }), /needs the columns event_timestamp/);
  assert.throws(
    () => push(store, 'd', 'driver_stats', { ...FRAME, trips: [1, 'many'] }),
    /df, row 1: trips must be an integer of 64 bits, not "many"/,
  );
  const ahead = { ...FRAME, event_timestamp: [NOW, NOW + 2 * 86_400_000] };
  assert.throws(() => push(store, 'd', 'driver_stats', ahead), /more than a day ahead/);
});
