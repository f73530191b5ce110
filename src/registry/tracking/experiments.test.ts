import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { RegistryUnderTest } from '../../testing/registry.ts';

let registry: RegistryUnderTest;
before(async () => {
  registry = await RegistryUnderTest.open();
});
after(() => registry.close());

const refused = (path: string, values: Record<string, unknown>, code: string, method = 'POST') =>
  registry.refused(method, path, values, code);

test('experiment 0 is there', async () => {
  const { experiment } = await registry.ok('GET', 'experiments/get', { experiment_id: '0' });
  assert.deepEqual(
    [experiment.experiment_id, experiment.name, experiment.artifact_location, experiment.lifecycle_stage],
    ['0', 'Default', 'mlflow-artifacts:/0', 'active'],
  );
});

test('an experiment is created, found by id and name, renamed, deleted and restored', async () => {
  const tags = [{ key: 'team', value: 'a' }];
  const { experiment_id } = await registry.ok('POST', 'experiments/create', { name: 'first', tags });
  const byName = await registry.ok('GET', 'experiments/get-by-name', { experiment_name: 'first' });
  assert.equal(byName.experiment.artifact_location, `mlflow-artifacts:/${experiment_id}`);
  assert.deepEqual(byName.experiment.tags, tags);
  assert.equal('tags' in (await registry.ok('GET', 'experiments/get', { experiment_id: '0' })).experiment, false);
  assert.match(await refused('experiments/create', { name: 'first' }, 'RESOURCE_ALREADY_EXISTS'), /already exists/);
  await registry.ok('POST', 'experiments/update', { experiment_id, new_name: 'second' });
  await refused('experiments/get-by-name', { experiment_name: 'first' }, 'RESOURCE_DOES_NOT_EXIST', 'GET');
  await refused('experiments/update', { experiment_id, new_name: 'Default' }, 'RESOURCE_ALREADY_EXISTS');
  await registry.ok('POST', 'experiments/delete', { experiment_id });
  await refused('experiments/delete', { experiment_id }, 'RESOURCE_DOES_NOT_EXIST');
  await refused('experiments/update', { experiment_id, new_name: 'third' }, 'INVALID_STATE');
  assert.match(await refused('experiments/create', { name: 'second' }, 'RESOURCE_ALREADY_EXISTS'), /deleted state/);
  const deleted = await registry.ok('GET', 'experiments/get-by-name', { experiment_name: 'second' });
  assert.equal(deleted.experiment.lifecycle_stage, 'deleted');
  await registry.ok('POST', 'experiments/restore', { experiment_id });
  await refused('experiments/restore', { experiment_id }, 'RESOURCE_DOES_NOT_EXIST');
});

test('tags are set, overwritten and deleted', async () => {
  const { experiment_id } = await registry.ok('POST', 'experiments/create', { name: 'tagged' });
  const set = (value: string) =>
    registry.ok('POST', 'experiments/set-experiment-tag', { experiment_id, key: 'k', value });
  await set('one');
  await set('two');
  const { experiment } = await registry.ok('GET', 'experiments/get', { experiment_id });
  assert.deepEqual(experiment.tags, [{ key: 'k', value: 'two' }]);
  await registry.ok('POST', 'experiments/delete-experiment-tag', { experiment_id, key: 'k' });
  await refused('experiments/delete-experiment-tag', { experiment_id, key: 'k' }, 'RESOURCE_DOES_NOT_EXIST');
  const long = { experiment_id, key: 'k', value: 'x'.repeat(20_001) };
  await refused('experiments/set-experiment-tag', long, 'INVALID_PARAMETER_VALUE');
});

test('bad names and places are refused', async () => {
  for (const name of ['', '  ', 'x'.repeat(501)])
    await refused('experiments/create', { name }, 'INVALID_PARAMETER_VALUE');
  for (const artifact_location of [
    '/tmp/x',
    's3://b/../c',
    's3://b/%2e%2e/c',
    's3://b/c?x=1',
    's3://b#f',
    'x'.repeat(3000),
  ])
    await refused('experiments/create', { name: 'located', artifact_location }, 'INVALID_PARAMETER_VALUE');
  await registry.ok('POST', 'experiments/create', { name: 'located', artifact_location: 's3://bucket/prefix' });
  for (const experiment_id of ['nope', '-1', '99999', '1; drop table runs'])
    await refused('experiments/get', { experiment_id }, 'RESOURCE_DOES_NOT_EXIST', 'GET');
});

test('experiments are searched by name, tags and times, and paged', async () => {
  const ids: string[] = [];
  for (const [i, name] of ['alpha', 'Alphabet', 'beta'].entries()) {
    const tags = i === 1 ? [] : [{ key: 'team', value: `t${i}` }];
    ids.push((await registry.ok('POST', 'experiments/create', { name, tags })).experiment_id);
  }
  const search = async (values: Record<string, unknown>): Promise<number[]> => {
    const { experiments = [] } = await registry.ok('POST', 'experiments/search', { order_by: ['name'], ...values });
    return experiments
      .map(({ experiment_id }: { experiment_id: string }) => ids.indexOf(experiment_id))
      .filter((i: number) => i >= 0);
  };
  assert.deepEqual(await search({ filter: "name LIKE 'alpha%'" }), [0]);
  assert.deepEqual(await search({ filter: "name ILIKE 'alpha%'" }), [1, 0]);
  assert.deepEqual(await search({ filter: "tags.team = 't2'" }), [2]);
  assert.deepEqual(await search({ filter: "tag.team IS NULL AND name ILIKE 'a%'" }), [1]);
  assert.deepEqual(await search({ filter: `experiment_id IN ('${ids[0]}') AND creation_time > 1.5` }), [0]);
  await registry.ok('POST', 'experiments/delete', { experiment_id: ids[2] });
  assert.deepEqual(await search({ filter: 'tags.team IS NOT NULL' }), [0]);
  assert.deepEqual(await search({ view_type: 'DELETED_ONLY' }), [2]);
  assert.deepEqual(await search({ view_type: 3, order_by: ['name DESC'] }), [2, 0, 1]);
  const all = await registry.ok('POST', 'experiments/search', { max_results: 100 });
  const paged: unknown[] = [];
  let page_token = '';
  do {
    const page = await registry.ok('POST', 'experiments/search', { max_results: 2, page_token });
    paged.push(...page.experiments);
    page_token = page.next_page_token ?? '';
  } while (page_token !== '');
  assert.deepEqual(paged, all.experiments);
  assert.deepEqual(await registry.ok('POST', 'experiments/search', { filter: "name = 'nobody'" }), {});
  await search({ filter: `name LIKE '${'[*?'.repeat(3333)}'` });
  await refused('experiments/search', { filter: `name LIKE '${'['.repeat(10_001)}'` }, 'INVALID_PARAMETER_VALUE');
  for (const bad of [{ filter: 'metrics.a > 1' }, { order_by: ['tags.team'] }, { max_results: 0 }, { page_token: 'x' }])
    await refused('experiments/search', bad, 'INVALID_PARAMETER_VALUE');
});

test('as many experiments as may be asked for come at once', async () => {
  const many = 33_000;
  const { database } = registry.registry;
  await database.write(async (db) => {
    for (let i = 0; i < many; i += 1000) {
      const rows = Array.from({ length: 1000 }, (_, j) => ({
        name: `many ${i + j}`,
        artifact_location: 'mlflow-artifacts:/many',
        lifecycle_stage: 'active' as const,
        creation_time: 1,
        last_update_time: 1,
      }));
      await db.insertInto('experiments').values(rows).execute();
    }
  });
  const { experiments } = await registry.ok('POST', 'experiments/search', {
    max_results: 50_000,
    filter: "name LIKE 'many %'",
  });
  assert.equal(experiments.length, many);
});
