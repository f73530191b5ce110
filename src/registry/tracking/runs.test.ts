import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { RegistryUnderTest } from '../../testing/registry.ts';

let registry: RegistryUnderTest;
before(async () => {
  registry = await RegistryUnderTest.open();
});
after(() => registry.close());

const create = async (values: Record<string, unknown> = {}): Promise<string> =>
  (await registry.ok('POST', 'runs/create', { experiment_id: '0', start_time: 1, ...values })).run.info.run_id;
const get = async (run_id: string) => (await registry.ok('GET', 'runs/get', { run_id })).run;
const dictionary = (list: { key: string; value: unknown }[]) =>
  Object.fromEntries(list.map(({ key, value }) => [key, value]));

test('a run is created with its names, place and tags', async () => {
  const tags = [{ key: 'mlflow.user', value: 'ada' }];
  const { run } = await registry.ok('POST', 'runs/create', {
    experiment_id: '0',
    user_id: 'ada',
    start_time: 17,
    run_name: 'one',
    tags,
  });
  const { info } = run;
  assert.match(info.run_id, /^[0-9a-f]{32}$/);
  assert.deepEqual(info, {
    run_uuid: info.run_id,
    run_id: info.run_id,
    run_name: 'one',
    experiment_id: '0',
    user_id: 'ada',
    status: 'RUNNING',
    start_time: 17,
    artifact_uri: `mlflow-artifacts:/0/${info.run_id}/artifacts`,
    lifecycle_stage: 'active',
  });
  assert.deepEqual(dictionary(run.data.tags), { 'mlflow.user': 'ada', 'mlflow.runName': 'one' });
  const read = await get(info.run_id);
  assert.deepEqual(read.info, info);
  assert.deepEqual(dictionary(read.data.tags), dictionary(run.data.tags));
  assert.deepEqual(Object.keys(read), ['info', 'data']);
  await registry.ok('GET', 'runs/get', { run_uuid: info.run_id });
});

test('a run without a name gets one; two names must agree', async () => {
  const { info } = await get(await create());
  assert.match(info.run_name, /^[a-z]+-[a-z]+-\d+$/);
  const tags = [{ key: 'mlflow.runName', value: 'tagged' }];
  assert.equal((await get(await create({ tags }))).info.run_name, 'tagged');
  await registry.refused('POST', 'runs/create', { run_name: 'other', tags }, 'INVALID_PARAMETER_VALUE');
});

test('runs need an active experiment and a known id', async () => {
  await registry.refused('POST', 'runs/create', { experiment_id: '77' }, 'RESOURCE_DOES_NOT_EXIST');
  const { experiment_id } = await registry.ok('POST', 'experiments/create', { name: 'gone' });
  const run_id = await create({ experiment_id });
  await registry.ok('POST', 'experiments/delete', { experiment_id });
  await registry.refused('POST', 'runs/create', { experiment_id }, 'INVALID_PARAMETER_VALUE');
  await registry.refused(
    'POST',
    'runs/log-metric',
    { run_id, key: 'k', value: 1, timestamp: 1 },
    'INVALID_PARAMETER_VALUE',
  );
  await registry.ok('POST', 'experiments/restore', { experiment_id });
  assert.equal((await get(run_id)).info.lifecycle_stage, 'active');
  await registry.refused('GET', 'runs/get', { run_id: '0'.repeat(32) }, 'RESOURCE_DOES_NOT_EXIST');
  await registry.refused('GET', 'runs/get', { run_id: '../../etc' }, 'INVALID_PARAMETER_VALUE');
  await registry.refused('GET', 'runs/get', {}, 'INVALID_PARAMETER_VALUE');
});

test('status, end and name change; deleted runs take no writes until restored', async () => {
  const run_id = await create();
  const { run_info } = await registry.ok('POST', 'runs/update', {
    run_id,
    status: 'FINISHED',
    end_time: '99',
    run_name: 'new',
  });
  assert.deepEqual([run_info.status, run_info.end_time, run_info.run_name], ['FINISHED', 99, 'new']);
  assert.equal(dictionary((await get(run_id)).data.tags)['mlflow.runName'], 'new');
  await registry.ok('POST', 'runs/set-tag', { run_id, key: 'mlflow.runName', value: 'newer' });
  assert.equal((await get(run_id)).info.run_name, 'newer');
  await registry.refused('POST', 'runs/update', { run_id, status: 'NOPE' }, 'INVALID_PARAMETER_VALUE');
  await registry.ok('POST', 'runs/delete', { run_id });
  assert.equal((await get(run_id)).info.lifecycle_stage, 'deleted');
  assert.match(
    await registry.refused('POST', 'runs/set-tag', { run_id, key: 'a', value: 'b' }, 'INVALID_PARAMETER_VALUE'),
    /'active' state/,
  );
  await registry.ok('POST', 'runs/restore', { run_id });
  await registry.ok('POST', 'runs/set-tag', { run_id, key: 'a', value: 'b' });
});

test('metrics keep their history and show their latest value by step', async () => {
  const run_id = await create();
  const metrics = [
    { key: 'loss', value: 3, timestamp: 5, step: 2 },
    { key: 'loss', value: 9, timestamp: 9, step: 1 },
    { key: 'loss', value: 3, timestamp: 5, step: 2 },
  ];
  await registry.ok('POST', 'runs/log-batch', { run_id, metrics });
  await registry.ok('POST', 'runs/log-batch', { run_id, metrics });
  const point = { key: 'loss', value: 3, timestamp: 5, step: 2 };
  assert.deepEqual((await get(run_id)).data.metrics, [point]);
  const { metrics: history } = await registry.ok('GET', 'metrics/get-history', { run_id, metric_key: 'loss' });
  assert.deepEqual(history, [point, { key: 'loss', value: 9, timestamp: 9, step: 1 }]);
  assert.deepEqual(await registry.ok('GET', 'metrics/get-history', { run_id, metric_key: 'none' }), {});
});

test('NaN is NaN and infinities are the largest numbers', async () => {
  const run_id = await create();
  const metrics = ['NaN', 'Infinity', '-Infinity', -0, 0.1 + 0.2, 5e-324].map((value, i) => ({
    key: `m${i}`,
    value: Object.is(value, -0) ? 0 : value,
    timestamp: '1',
  }));
  await registry.ok('POST', 'runs/log-batch', { run_id, metrics });
  const { metrics: shown } = (await get(run_id)).data;
  assert.deepEqual(dictionary(shown), {
    m0: 'NaN',
    m1: Number.MAX_VALUE,
    m2: -Number.MAX_VALUE,
    m3: 0,
    m4: 0.30000000000000004,
    m5: 5e-324,
  });
  const { metrics: history } = await registry.ok('GET', 'metrics/get-history', { run_id, metric_key: 'm4' });
  assert.equal(history[0].value, 0.30000000000000004);
});

test('histories are paged', async () => {
  const run_id = await create();
  const metrics = Array.from({ length: 25 }, (_, i) => ({
    key: 'k',
    value: i % 3,
    timestamp: Math.floor(i / 4),
    step: i % 2,
  }));
  await registry.ok('POST', 'runs/log-batch', { run_id, metrics });
  const all = (await registry.ok('GET', 'metrics/get-history', { run_id, metric_key: 'k' })).metrics;
  const paged: unknown[] = [];
  let page_token = '';
  do {
    const page = await registry.ok('GET', 'metrics/get-history', {
      run_id,
      metric_key: 'k',
      max_results: 4,
      page_token,
    });
    paged.push(...(page.metrics ?? []));
    page_token = page.next_page_token ?? '';
  } while (page_token !== '');
  assert.deepEqual(paged, all);
  for (const bad of [{ max_results: 0 }, { max_results: 25_001 }, { page_token: 'x' }])
    await registry.refused(
      'GET',
      'metrics/get-history',
      { run_id, metric_key: 'k', ...bad },
      'INVALID_PARAMETER_VALUE',
    );
});

test('a bulk history samples steps of several runs', async () => {
  const ids = [await create(), await create()];
  for (const run_id of ids) {
    const metrics = Array.from({ length: 100 }, (_, step) => ({ key: 'k', value: step, timestamp: step, step }));
    await registry.ok('POST', 'runs/log-batch', { run_id, metrics });
  }
  const { metrics } = await registry.ok('GET', 'metrics/get-history-bulk-interval', {
    run_ids: ids,
    metric_key: 'k',
    max_results: 5,
  });
  assert.deepEqual(
    metrics.map((point: { step: number; run_id: string }) => [ids.indexOf(point.run_id), point.step]),
    [0, 1].flatMap((run) => [0, 25, 50, 74, 99].map((step) => [run, step])),
  );
});

test('params are for good; the same again is fine', async () => {
  const run_id = await create();
  const log = (params: { key: string; value: string }[]) => registry.call('POST', 'runs/log-batch', { run_id, params });
  assert.equal((await log([{ key: 'lr', value: '0.1' }])).status, 200);
  assert.equal(
    (
      await log([
        { key: 'lr', value: '0.1' },
        { key: 'b', value: '' },
      ])
    ).status,
    200,
  );
  const changed = await log([
    { key: 'c', value: '1' },
    { key: 'lr', value: '0.2' },
  ]);
  assert.equal(changed.status, 400);
  assert.match(changed.json.message, /Changing param values is not allowed/);
  assert.equal(
    (
      await log([
        { key: 'd', value: '1' },
        { key: 'd', value: '2' },
      ])
    ).status,
    400,
  );
  assert.deepEqual(dictionary((await get(run_id)).data.params), { lr: '0.1', b: '' });
  await registry.ok('POST', 'runs/log-parameter', { run_id, key: 'e', value: '"quoted" \u{1f600}\n' });
  assert.equal(dictionary((await get(run_id)).data.params).e, '"quoted" \u{1f600}\n');
});

test('tags are set, overwritten and deleted', async () => {
  const run_id = await create();
  await registry.ok('POST', 'runs/log-batch', {
    run_id,
    tags: [
      { key: 'a', value: '1' },
      { key: 'a', value: '2' },
    ],
  });
  assert.equal(dictionary((await get(run_id)).data.tags).a, '2');
  await registry.ok('POST', 'runs/delete-tag', { run_id, key: 'a' });
  await registry.refused('POST', 'runs/delete-tag', { run_id, key: 'a' }, 'RESOURCE_DOES_NOT_EXIST');
});

test('limits of batches, keys and values', async () => {
  const run_id = await create();
  const many = (count: number, value: unknown) =>
    Array.from({ length: count }, (_, i) => ({ key: `k${i}`, value, timestamp: 1 }));
  for (const batch of [
    { metrics: many(1001, 1) },
    { params: many(101, 'x') },
    { tags: many(101, 'x') },
    { metrics: many(950, 1), params: many(60, 'x') },
    { metrics: [{ key: '', value: 1, timestamp: 1 }] },
    { metrics: [{ key: 'a'.repeat(251), value: 1, timestamp: 1 }] },
    { metrics: [{ key: 'a', value: 1 }] },
    { metrics: [{ key: 'a', value: 'x', timestamp: 1 }] },
    { metrics: [{ key: 'a', value: 1, timestamp: 2 ** 60 }] },
    { metrics: [{ key: 'a', value: 1, timestamp: -1 }] },
    { params: [{ key: 'a', value: 'x'.repeat(6001) }] },
    { tags: [{ key: 'a', value: 'x'.repeat(8001) }] },
    ...['../x', '/x', 'a/../b', 'a//b', '.', '..', 'a\u0000b', 'a\nb', './x', 'a;b'].map((key) => ({
      tags: [{ key, value: 'x' }],
    })),
    { tags: [{ key: 'a', value: 'x'.repeat(1_000_000) }] },
    { metrics: {} },
  ])
    await registry.refused('POST', 'runs/log-batch', { run_id, ...batch }, 'INVALID_PARAMETER_VALUE');
  const { data } = await get(run_id);
  assert.deepEqual(Object.keys(data), ['tags']);
  await registry.ok('POST', 'runs/log-batch', { run_id, metrics: many(1000, 1) });
  assert.equal((await get(run_id)).data.metrics.length, 1000);
  await registry.ok('POST', 'runs/log-batch', { run_id, tags: [{ key: 'ключ/a b:c.d-e', value: 'x' }] });
});

test('the old model history is a tag', async () => {
  const run_id = await create();
  const model = { utc_time_created: 'x', artifact_path: 'model', run_id, flavors: {} };
  const log = (model_json: string) => registry.call('POST', 'runs/log-model', { run_id, model_json });
  assert.equal((await log(JSON.stringify(model))).status, 200);
  assert.equal((await log(JSON.stringify(model))).status, 200);
  assert.deepEqual(JSON.parse(dictionary((await get(run_id)).data.tags)['mlflow.log-model.history'] as string), [
    model,
    model,
  ]);
  for (const bad of ['{', '1', 'null', '{"flavors":{}}']) assert.equal((await log(bad)).status, 400, bad);
});

test('a model history that somebody set to something else is named, not run into', async () => {
  const run_id = await create();
  const model = { utc_time_created: 'x', artifact_path: 'x', run_id, flavors: {} };
  const key = 'mlflow.log-model.history';
  for (const value of ['x', '5', '{"a":1}', '']) {
    await registry.ok('POST', 'runs/set-tag', { run_id, key, value });
    const given = { run_id, model_json: JSON.stringify(model) };
    assert.match(await registry.refused('POST', 'runs/log-model', given, 'INVALID_PARAMETER_VALUE'), /no JSON list/);
  }
  await registry.ok('POST', 'runs/delete-tag', { run_id, key });
  await registry.ok('POST', 'runs/log-model', { run_id, model_json: JSON.stringify(model) });
});

test('datasets and models become inputs and outputs', async () => {
  const run_id = await create();
  const { model } = await registry.ok('POST', 'logged-models', { experiment_id: '0', name: 'in' });
  const { model_id } = model.info;
  const dataset = { name: 'd', digest: 'x1', source_type: 'local', source: '{}', schema: '{}' };
  const datasets = [{ tags: [{ key: 'mlflow.data.context', value: 'train' }], dataset }];
  await registry.ok('POST', 'runs/log-inputs', { run_id, datasets, models: [{ model_id }] });
  await registry.ok('POST', 'runs/log-inputs', { run_id, datasets });
  await registry.ok('POST', 'runs/outputs', { run_id, models: [{ model_id, step: 3 }] });
  const { inputs, outputs } = await get(run_id);
  assert.deepEqual(inputs, { dataset_inputs: datasets, model_inputs: [{ model_id }] });
  assert.deepEqual(outputs, { model_outputs: [{ model_id, step: 3 }] });
  const bad = (values: object) =>
    registry.refused('POST', 'runs/log-inputs', { run_id, ...values }, 'INVALID_PARAMETER_VALUE');
  await bad({ datasets: [{ dataset: { digest: 'x' } }] });
  await bad({ datasets: [{ dataset: { ...dataset, digest: 'x'.repeat(37) } }] });
  await registry.refused(
    'POST',
    'runs/outputs',
    { run_id, models: [{ model_id: 'm-none' }] },
    'RESOURCE_DOES_NOT_EXIST',
  );
});

test('many writers of one run get in each other`s way nowhere', async () => {
  const run_id = await create();
  const batch = (i: number) => {
    const metrics = Array.from({ length: 20 }, (_, k) => ({
      key: `k${(k + i) % 20}`,
      value: i,
      timestamp: 1,
      step: i,
    }));
    return registry.ok('POST', 'runs/log-batch', { run_id, metrics, tags: [{ key: `t${i % 5}`, value: String(i) }] });
  };
  await Promise.all(Array.from({ length: 40 }, (_, i) => batch(i)));
  const { metrics } = (await get(run_id)).data;
  assert.equal(metrics.length, 20);
  for (const metric of metrics) assert.equal(metric.value, 39);
  assert.deepEqual(registry.errors, []);
});

test('runs that are made at once are each as asked, and a bad one spoils none', async () => {
  const at = Date.now();
  const wanted = Array.from({ length: 12 }, (_, i) => ({
    experiment_id: i === 5 ? '77' : '0',
    start_time: at + i,
    run_name: `at once ${i}`,
    tags: [{ key: 'number', value: String(i) }],
  }));
  const answers = await Promise.all(wanted.map((values) => registry.call('POST', 'runs/create', values)));
  for (const [i, { status, json }] of answers.entries()) {
    assert.equal(status, i === 5 ? 404 : 200);
    if (i === 5) continue;
    const read = await get(json.run.info.run_id);
    assert.equal(read.info.run_name, `at once ${i}`);
    assert.equal(read.info.start_time, at + i);
    assert.deepEqual(dictionary(read.data.tags), { number: String(i), 'mlflow.runName': `at once ${i}` });
  }
});

test('batches that come at once are each whole or refused', async () => {
  const ids = await Promise.all(Array.from({ length: 4 }, () => create()));
  await registry.ok('POST', 'runs/log-parameter', { run_id: ids[2], key: 'p', value: 'first' });
  const batch = (run_id: string, value: number) => ({
    run_id,
    metrics: Array.from({ length: 6 }, (_, k) => ({ key: `m${k}`, value, timestamp: 1, step: value })),
    params: [{ key: 'p', value: run_id === ids[2] ? 'second' : 'first' }],
    tags: [{ key: 't', value: String(value) }],
  });
  // Of the third run every batch is refused; the last run is none.
  const asked = [...ids, ...ids, 'f'.repeat(32)].map((run_id, i) => batch(run_id, i));
  const answers = await Promise.all(asked.map((values) => registry.call('POST', 'runs/log-batch', values)));
  assert.deepEqual(
    answers.map(({ status }) => status),
    [200, 200, 400, 200, 200, 200, 400, 200, 404],
  );
  for (const [i, id] of ids.entries()) {
    const { data } = await get(id);
    assert.equal(dictionary(data.params).p, 'first');
    if (i === 2) assert.equal(data.metrics, undefined);
    else assert.deepEqual(new Set(Object.values(dictionary(data.metrics))), new Set([i + 4]));
  }
});
