import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { RegistryUnderTest } from '../../testing/registry.ts';

let registry: RegistryUnderTest;
before(async () => {
  registry = await RegistryUnderTest.open();
});
after(() => registry.close());

const create = async (values: Record<string, unknown> = {}) =>
  (await registry.ok('POST', 'logged-models', { experiment_id: '0', ...values })).model;

test('a logged model lives from pending to ready to deleted', async () => {
  const params = [{ key: 'k', value: 'v' }];
  const model = await create({ name: 'first', model_type: 'agent', params, tags: [{ key: 't', value: '1' }] });
  const { model_id } = model.info;
  assert.match(model_id, /^m-[0-9a-f]{32}$/);
  assert.equal(model.info.artifact_uri, `mlflow-artifacts:/0/models/${model_id}/artifacts`);
  assert.equal(model.info.status, 'LOGGED_MODEL_PENDING');
  assert.deepEqual(model.data.params, params);
  const ready = await registry.ok('PATCH', `logged-models/${model_id}`, { model_id, status: 'LOGGED_MODEL_READY' });
  assert.equal(ready.model.info.status, 'LOGGED_MODEL_READY');
  const tagged = await registry.ok('PATCH', `logged-models/${model_id}/tags`, { tags: [{ key: 't', value: '2' }] });
  assert.deepEqual(tagged.model.info.tags, [{ key: 't', value: '2' }]);
  await registry.ok('DELETE', `logged-models/${model_id}/tags/t`);
  await registry.refused('DELETE', `logged-models/${model_id}/tags/t`, {}, 'RESOURCE_DOES_NOT_EXIST');
  await registry.ok('POST', `logged-models/${model_id}/params`, { params: [...params, { key: 'l', value: 'w' }] });
  const changed = { params: [{ key: 'l', value: 'x' }] };
  await registry.refused('POST', `logged-models/${model_id}/params`, changed, 'RESOURCE_ALREADY_EXISTS');
  assert.equal((await registry.ok('GET', `logged-models/${model_id}`)).model.data.params.length, 2);
  await registry.ok('DELETE', `logged-models/${model_id}`);
  await registry.refused('GET', `logged-models/${model_id}`, {}, 'RESOURCE_DOES_NOT_EXIST');
});

test('a list of versions that somebody set to something else is begun anew', async () => {
  const { model_id } = (await create({ name: 'noted' })).info;
  const key = 'mlflow.modelVersions';
  await registry.ok('POST', 'registered-models/create', { name: 'noted' });
  for (const [i, value] of ['x', '5', '{}'].entries()) {
    await registry.ok('PATCH', `logged-models/${model_id}/tags`, { tags: [{ key, value }] });
    await registry.ok('POST', 'model-versions/create', { name: 'noted', source: `models:/${model_id}` });
    const { model } = await registry.ok('GET', `logged-models/${model_id}`);
    assert.deepEqual(model.info.tags, [{ key, value: JSON.stringify([{ name: 'noted', version: i + 1 }]) }]);
  }
});

test('bad models are refused', async () => {
  for (const bad of [
    { name: 'a/b' },
    { name: 'a:b' },
    { name: 'x'.repeat(251) },
    { params: [{ key: 'a' }, { key: 'a' }] },
  ])
    await registry.refused('POST', 'logged-models', { experiment_id: '0', ...bad }, 'INVALID_PARAMETER_VALUE');
  await registry.refused('POST', 'logged-models', { experiment_id: '99' }, 'RESOURCE_DOES_NOT_EXIST');
  await registry.refused('POST', 'logged-models', { source_run_id: 'none' }, 'RESOURCE_DOES_NOT_EXIST');
  await registry.refused('PATCH', 'logged-models/m-1', { status: 'LOGGED_MODEL_READY' }, 'RESOURCE_DOES_NOT_EXIST');
  await registry.refused('PATCH', 'logged-models/m-1', { status: 'X' }, 'INVALID_PARAMETER_VALUE');
});

test('models are searched by metrics on datasets, params, tags and attributes, and paged', async () => {
  const { experiment_id } = await registry.ok('POST', 'experiments/create', { name: 'models' });
  const { run } = await registry.ok('POST', 'runs/create', { experiment_id });
  const { run_id } = run.info;
  const ids: string[] = [];
  for (let i = 0; i < 7; i++) {
    const model = await create({ experiment_id, name: `model-${i}`, params: [{ key: 'depth', value: String(i % 2) }] });
    const { model_id } = model.info;
    ids.push(model_id);
    const metric = (value: number, dataset_name: string) => ({
      ...{ key: 'acc', value, timestamp: i, step: 0, model_id, dataset_name, dataset_digest: 'x' },
      run_id,
    });
    if (i < 5)
      await registry.ok('POST', 'runs/log-batch', { run_id, metrics: [metric(i / 10, i < 3 ? 'train' : 'test')] });
  }
  const search = async (values: Record<string, unknown>): Promise<number[]> => {
    const { models = [] } = await registry.ok('POST', 'logged-models/search', {
      experiment_ids: [experiment_id],
      ...values,
    });
    return models.map((model: { info: { model_id: string } }) => ids.indexOf(model.info.model_id));
  };
  const byAcc = [{ field_name: 'metrics.acc', ascending: false }];
  assert.deepEqual(await search({ filter: 'metrics.acc >= 0.2', order_by: byAcc }), [4, 3, 2]);
  assert.deepEqual(
    await search({ filter: 'metrics.acc >= 0', datasets: [{ dataset_name: 'test' }], order_by: byAcc }),
    [4, 3],
  );
  assert.deepEqual((await search({ datasets: [{ dataset_name: 'train' }] })).sort(), [0, 1, 2]);
  const whole = (dataset_digest: string) => ({ datasets: [{ dataset_name: 'train', dataset_digest }] });
  assert.deepEqual((await search(whole('x'))).sort(), [0, 1, 2]);
  assert.deepEqual(await search(whole('y')), []);
  assert.deepEqual((await search({ filter: "params.depth = '1' AND name LIKE 'model-%'" })).sort(), [1, 3, 5]);
  assert.deepEqual(await search({ filter: "name = 'model-6' and status = 'PENDING'" }), [6]);
  assert.deepEqual(await search({ filter: "status IN ('READY')" }), []);
  assert.deepEqual(await search({ experiment_ids: [] }), []);
  const paged: number[] = [];
  let page_token = '';
  do {
    const page = await registry.ok('POST', 'logged-models/search', {
      ...{ experiment_ids: [experiment_id], max_results: 2, order_by: byAcc, page_token },
    });
    for (const { info } of page.models) paged.push(ids.indexOf(info.model_id));
    page_token = page.next_page_token ?? '';
  } while (page_token !== '');
  const none = { experiment_ids: ['0'], filter: "name = 'nobody'" };
  assert.deepEqual(await registry.ok('POST', 'logged-models/search', none), {});
  assert.deepEqual(paged.slice(0, 5), [4, 3, 2, 1, 0]);
  assert.deepEqual(paged.slice(5).sort(), [5, 6]);
  for (const bad of [
    { filter: 'x' },
    { order_by: [{ field_name: 'params.depth' }] },
    { max_results: 0 },
    { page_token: 'x' },
  ])
    await registry.refused(
      'POST',
      'logged-models/search',
      { experiment_ids: [experiment_id], ...bad },
      'INVALID_PARAMETER_VALUE',
    );
  const [first] = (
    await registry.ok('POST', 'logged-models/search', { experiment_ids: [experiment_id], filter: 'metrics.acc = 0' })
  ).models;
  assert.deepEqual(first.data.metrics, [
    {
      key: 'acc',
      value: 0,
      timestamp: 0,
      step: 0,
      dataset_name: 'train',
      dataset_digest: 'x',
      model_id: ids[0],
      run_id,
    },
  ]);
});

test('a metric that names an unknown model is refused as a whole', async () => {
  const { run } = await registry.ok('POST', 'runs/create', {});
  const { run_id } = run.info;
  const metric = { run_id, key: 'acc', value: 1, timestamp: 1, model_id: 'm-none' };
  await registry.refused('POST', 'runs/log-metric', metric, 'RESOURCE_DOES_NOT_EXIST');
  assert.equal((await registry.ok('GET', 'runs/get', { run_id })).run.data.metrics, undefined);
});
