import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { RegistryUnderTest } from '../../testing/registry.ts';
import { FeatureStore } from './store.ts';

const under = await RegistryUnderTest.open();
after(() => under.close());
let clock = 1000;
const store = new FeatureStore(under.registry.database, () => ++clock);

test('documents are put, replaced and removed', async () => {
  const body = (n: number) => JSON.stringify({ n });
  await store.putDocuments([
    { kind: 'FeatureView', name: 'b', body: body(1) },
    { kind: 'Entity', name: 'a', body: body(2) },
  ]);
  await store.putDocuments([
    { kind: 'FeatureView', name: 'b', body: body(3) },
    { kind: 'Entity', name: 'a', body: undefined },
  ]);
  assert.deepEqual(await store.documents(), [{ kind: 'FeatureView', name: 'b', body: body(3) }]);
});

test('how far a view is materialised is kept for each tenant', async () => {
  assert.equal(await store.materialized('v', 't'), undefined);
  await store.putMaterialized('v', 't', 1_800_000_000_000);
  await store.putMaterialized('v', 't', 1_800_000_000_001);
  await store.putMaterialized('v', 'u', 5);
  assert.deepEqual([await store.materialized('v', 't'), await store.materialized('v', 'u')], [1_800_000_000_001, 5]);
});

test('a transform gets the next version of its name, and the same state none', async () => {
  const row = (digest: string) => ({ name: 'prep', kind: 'columns', state: '[]', digest, actor: 'me' });
  const versions: number[] = [];
  for (const digest of ['a', 'a', 'b', 'a']) versions.push((await store.putTransform(row(digest))).version);
  assert.deepEqual(versions, [1, 1, 2, 3]);
  assert.deepEqual(
    (await store.transforms()).map(({ version, digest }) => [version, digest]),
    [
      [1, 'a'],
      [2, 'b'],
      [3, 'a'],
    ],
  );
});
