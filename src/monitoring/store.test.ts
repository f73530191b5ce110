import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { RegistryUnderTest } from '../testing/registry.ts';
import { alarmOf, freshState, type MonitorState } from './state.ts';
import { MonitorStore } from './store.ts';
import type { Reference } from './types.ts';

let registry: RegistryUnderTest;
let store: MonitorStore;
before(async () => {
  registry = await RegistryUnderTest.open();
  store = new MonitorStore(registry.registry.commits);
});
after(() => registry.close());

test('documents, references and states are what was written last', async () => {
  await store.putDocuments(
    [
      { name: 'm', body: '{"a":1}' },
      { name: 'n', body: '{}' },
    ],
    1,
  );
  await store.putDocuments(
    [
      { name: 'm', body: '{"a":2}' },
      { name: 'n', body: undefined },
    ],
    2,
  );
  assert.deepEqual(await store.documents(), [{ name: 'm', body: '{"a":2}' }]);

  const reference: Reference = {
    monitor: 'm',
    version: '1',
    digest: 'd',
    frozenAt: 5,
    source: 's',
    columns: [],
    slices: {},
  };
  await store.putReference(reference);
  await store.putReference({ ...reference, seasons: { 3: { rows: 1, counts: [] } } });
  await store.putReference({ ...reference, version: '2', frozenAt: 9 });
  assert.deepEqual(
    (await store.references('m')).map(({ version, seasons }) => [version, seasons?.['3']?.rows]),
    [
      ['1', 1],
      ['2', undefined],
    ],
  );
  await store.dropReferences('m');
  assert.deepEqual(await store.references('m'), []);

  assert.deepEqual(await store.state('nobody'), freshState());
  // Several at once: none is lost.
  await Promise.all(
    Array.from({ length: 10 }, (_, i) =>
      store.update('m', 1, (state) => ({
        ...state,
        generation: state.generation + 1,
        first: { ...state.first, [i]: [i] },
      })),
    ),
  );
  const state = await store.state('m');
  assert.equal(state.generation, 10);
  assert.equal(Object.keys(state.first).length, 10);
  assert.equal(alarmOf(state, 'drift/1').level, 'ok');
});

test('what webhooks hear of a state is queued in the write of the state, and with it or not at all', async () => {
  await registry.ok('POST', '/api/2.0/mlflow/webhooks', {
    name: 'alarms',
    url: 'http://127.0.0.1:9/alarms',
    events: [{ entity: 'DRIFT', action: 'SET' }],
  });
  const { database } = registry.registry;
  const queued = () =>
    database.read((db) =>
      db.selectFrom('webhook_deliveries').select(['event', 'body']).orderBy('delivery_key').execute(),
    );
  const happening = { entity: 'drift', action: 'set', data: { name: 'm', level: 'alert' } };
  const later = (state: MonitorState): MonitorState => ({ ...state, generation: state.generation + 1 });
  const { before, after } = await store.update('told', 1, later, () => [happening]);
  const [{ event, body }, ...others] = await queued();
  assert.deepEqual([event, JSON.parse(body).data, others], ['drift.set', happening.data, []]);
  const failing = store.update('told', 2, later, () => {
    throw new Error('the write fails');
  });
  await assert.rejects(failing, /the write fails/);
  assert.equal((await store.state('told')).generation, before.generation + 1);
  assert.equal(after.generation, before.generation + 1);
  assert.equal((await queued()).length, 1);
});
