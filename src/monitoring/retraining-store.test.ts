import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { RegistryUnderTest } from '../testing/registry.ts';
import { RetrainingStore } from './retraining-store.ts';

let registry: RegistryUnderTest;
let store: RetrainingStore;
before(async () => {
  registry = await RegistryUnderTest.open();
  store = new RetrainingStore(registry.registry.database);
});
after(() => registry.close());

const row = {
  id: 'abc',
  monitor: 'm',
  model: 'm',
  fromVersion: '1',
  cause: 'drift',
  reason: 'r',
  changedAt: 1_700_000_000_000,
  status: 'running' as const,
  outcome: '',
  dataset: null,
  pipelineRun: 'abc',
  version: '',
  createdAt: 1_700_000_000_001,
  endedAt: null,
};

test('a retraining is begun once, and is what was written last', async () => {
  await store.add(row);
  await store.add({ ...row, reason: 'the same again' });
  await store.change('abc', { status: 'promoted', version: '2', endedAt: 7, outcome: 'o' });
  const [found, ...others] = await store.list('m', Number.MAX_SAFE_INTEGER, 10);
  assert.deepEqual(found, { ...row, key: found.key, status: 'promoted', version: '2', endedAt: 7, outcome: 'o' });
  assert.deepEqual(others, []);
  assert.equal(await store.get('none'), undefined);
});

test('the retrainings that brought a version are found from it, those since a time from their monitor', async () => {
  await store.add({ ...row, id: 'later', createdAt: row.createdAt + 10, version: '3' });
  const of = async (rows: Promise<{ id: string }[]>) => (await rows).map(({ id }) => id);
  assert.deepEqual(await of(store.bringing('m', '3', Number.MAX_SAFE_INTEGER, 10)), ['later']);
  assert.deepEqual(await of(store.bringing('m', '4', Number.MAX_SAFE_INTEGER, 10)), []);
  assert.deepEqual(await of(store.since('m', row.createdAt, 10)), ['abc', 'later']);
  assert.deepEqual(await of(store.since('m', row.createdAt + 1, 10)), ['later']);
});
