import assert from 'node:assert/strict';
import { test } from 'node:test';
import { document, featureSet } from '../../testing/features.ts';
import { framed } from '../../testing/schema-registry.ts';
import type { View } from '../documents/catalog.ts';
import { MemoryStore } from '../store/memory-store.ts';
import { tombstoneOf } from './tombstones.ts';

const features = [{ name: 'score', type: 'float64' }];
const set = featureSet([
  document('Entity', 'driver', { joinKey: 'driver_id', type: 'int64' }),
  document('Entity', 'city', { joinKey: 'city', type: 'string' }),
  document('FeatureView', 'drivers', { entities: ['driver'], features }),
  document('FeatureView', 'cities', { entities: ['city'], features }),
  document('FeatureView', 'both', { entities: ['driver', 'city'], features }),
]);
const view = (name: string) => set.views.get(name) as View;
const NOW = 1_000;
const noAvro = { avro: async () => assert.fail('it is not Avro') };
const keyOf = async (
  name: string,
  key: string | Buffer | null,
  clients: { avro(value: Buffer): Promise<unknown> } = noAvro,
) =>
  (await tombstoneOf(view(name), { key: key === null ? null : Buffer.from(key), timestamp: '500' }, clients, NOW)).key;

test('a key names its entity as text, as JSON and as Avro', async () => {
  for (const key of ['7', '{"driver_id": 7}', '[7]']) assert.equal(await keyOf('drivers', key), '7', key);
  assert.equal(await keyOf('drivers', '9007199254740993'), '9007199254740993');
  for (const key of ['Köln', '"Köln"', '{"city": "Köln", "other": 1}'])
    assert.equal(await keyOf('cities', key), 'Köln', key);
  assert.equal(await keyOf('cities', '0123'), '0123');
  assert.equal(await keyOf('cities', '123'), '123');
  assert.equal(await keyOf('both', '{"city": "A", "driver_id": 1}'), await keyOf('both', '[1, "A"]'));
  const avro = async () => ({ driver_id: 7n });
  assert.equal(await keyOf('drivers', framed(1, Buffer.of(14)), { avro }), '7');
});

test('a key that names no entity says why', async () => {
  const wrong = { code: 'invalid_argument' };
  await assert.rejects(keyOf('drivers', null), { ...wrong, message: /neither a value nor a key/ });
  for (const [name, key] of [
    ['drivers', 'x'],
    ['drivers', '{"id": 7}'],
    ['drivers', '1.5'],
    ['both', '7'],
    ['both', '[1]'],
    ['cities', 'null5'.repeat(200)],
  ] as const)
    await assert.rejects(keyOf(name, key), { ...wrong, message: /^the key: / }, key);
});

test('what is deleted stays deleted for older rows, and a newer one is there again', async () => {
  const store = new MemoryStore(10);
  const drivers = view('drivers');
  const row = (time: number, score: number) => ({ key: '7', time, values: [score] });
  const read = () => store.read('t', [{ view: drivers, fields: [0], keys: ['7'] }])[0][0]?.values[0];
  const gone = await tombstoneOf(drivers, { key: Buffer.from('7'), timestamp: '500' }, noAvro, NOW);
  assert.equal(store.write('t', drivers, [row(400, 1), gone]), 1);
  assert.equal(read(), undefined);
  assert.equal(store.write('t', drivers, [row(450, 2)]), 0);
  assert.equal(read(), undefined);
  assert.equal(store.write('t', drivers, [row(600, 3)]), 1);
  assert.equal(store.write('t', drivers, [gone]), 0, 'one that comes again is too old');
  assert.equal(read(), 3);
  const ahead = await tombstoneOf(drivers, { key: Buffer.from('7'), timestamp: '99999' }, noAvro, NOW);
  assert.equal(ahead.time, NOW, 'a clock that is ahead hides no later row');
});
