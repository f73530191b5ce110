import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { RegistryUnderTest } from '../../testing/registry.ts';
import type { Resolution } from './types.ts';

let registry: RegistryUnderTest;
before(async () => {
  registry = await RegistryUnderTest.open();
});
after(() => registry.close());

/** What is told after a change, and is not only found by the last look of a watch that is over. */
async function toldAfter(name: string, change: () => Promise<unknown>): Promise<Resolution> {
  const { serving } = registry.registry.models;
  const follow = { models: [{ name, alias: 'champion', served: 'here' }], everyAlias: '' };
  const over = AbortSignal.timeout(240_000);
  const { mark } = await serving.watch(follow, '', 0, over);
  const answer = serving.watch(follow, mark, 3_600_000, over);
  await change();
  const told = await answer;
  assert.equal(over.aborted, false, 'nothing was told for four minutes');
  return told;
}

async function model(name: string, put = true): Promise<void> {
  await registry.ok('POST', 'registered-models/create', { name });
  await registry.ok('POST', 'model-versions/create', { name, source: `mlflow-artifacts:/${name}` });
  if (put) await upload(name);
  await registry.ok('POST', 'registered-models/alias', { name, alias: 'champion', version: '1' });
}

async function upload(name: string): Promise<void> {
  const path = `/api/2.0/mlflow-artifacts/artifacts/${name}/file`;
  assert.equal((await fetch(registry.url + path, { method: 'PUT', body: 'bytes' })).status, 200);
}

test('a watch answers when the model gets another name, and when one gets the name that is followed', async () => {
  await model('old');
  const { deployments } = await toldAfter('old', () =>
    registry.ok('POST', 'registered-models/rename', { name: 'old', new_name: 'new' }),
  );
  assert.deepEqual(deployments, []);
  const again = await toldAfter('old', () =>
    registry.ok('POST', 'registered-models/rename', { name: 'new', new_name: 'old' }),
  );
  assert.equal(again.deployments[0]?.version, '1');
});

test('a watch answers when files that came after the alias are fixed, whoever has them fixed', async () => {
  const fixedBy: [string, (name: string) => Promise<unknown>][] = [
    ['alias', (name) => registry.ok('POST', 'registered-models/alias', { name, alias: 'champion', version: '1' })],
    ['download', (name) => registry.ok('GET', 'model-versions/get-download-uri', { name, version: '1' })],
    ['manifest', (name) => registry.ok('GET', `/api/v1/registry/models/${name}/versions/1/manifest`)],
    [
      'approval',
      (name) =>
        registry.ok('PUT', `/api/v1/registry/models/${name}/versions/1/approval`, { state: 'Approved', reason: 'x' }),
    ],
  ];
  for (const [by, fix] of fixedBy) {
    await model(by, false);
    await upload(by);
    const { deployments } = await toldAfter(by, () => fix(by));
    assert.match(deployments[0].digest, /^sha256:/, by);
  }
});
