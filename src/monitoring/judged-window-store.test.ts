import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { RegistryUnderTest } from '../testing/registry.ts';
import { JudgedWindowStore } from './judged-window-store.ts';

let registry: RegistryUnderTest;
let store: JudgedWindowStore;
before(async () => {
  registry = await RegistryUnderTest.open();
  store = new JudgedWindowStore(registry.registry.database, 150);
});
after(() => registry.close());

const window = (i: number) => ({
  monitor: 'm',
  version: i < 100 ? '1' : '2',
  kind: 'drift' as const,
  state: 'ok',
  reason: '',
  rows: 1000,
  from: 1_700_000_000_000 + i,
  to: 1_700_000_000_000 + i + 1,
  firstId: `a${i}`,
  lastId: `b${i}`,
  body: { i },
});

test('windows are kept newest first, found by time, and the oldest are forgotten', async () => {
  for (let i = 0; i < 300; i++) await store.add(window(i));
  const found = await store.list('m', Number.MAX_SAFE_INTEGER, 1000);
  assert.ok(found.length >= 150 && found.length < 250, `${found.length} are kept`);
  assert.deepEqual({ ...found[0], key: 0 }, { ...window(299), key: 0 });
  const [older] = await store.list('m', found[0].key, 1);
  assert.equal(older.firstId, 'a298');
  const between = await store.between('m', '2', window(250).from, window(252).from);
  assert.deepEqual(
    between.map(({ firstId }) => firstId),
    ['a249', 'a250', 'a251', 'a252'],
  );
  assert.deepEqual(await store.between('m', '1', window(250).from, window(252).from), []);
});

test('a window is known again by its requests, and found by its number', async () => {
  const own = { ...window(1), monitor: 'other' };
  const key = await store.add(own);
  assert.equal(await store.has('drift', own), true);
  assert.equal(await store.has('quality', own), false);
  assert.equal(await store.has('drift', { ...own, lastId: 'b2' }), false);
  assert.deepEqual(await store.byKey([key]), [{ ...own, key }]);
  assert.deepEqual(await store.byKey([]), []);
});
