import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { type Kysely, sql } from 'kysely';
import { storageUnderTest } from '../../testing/artifact-storage.ts';
import { RegistryUnderTest } from '../../testing/registry.ts';

const HOUR = 3_600_000;
/** What names runs, and by which column. */
const HOLDERS = [
  ['jobs', 'run_id'],
  ['sweeps', 'run_id'],
  ['sweep_trials', 'run_id'],
  ['pipeline_runs', 'tracking_run'],
  ['pipeline_steps', 'tracking_run'],
  ['evaluations', 'tracking_run'],
  ['dataset_versions', 'run_id'],
] as const;
const OF_RUNS = [
  'params',
  'tags',
  'metrics',
  'latest_metrics',
  'metric_backlog',
  'run_datasets',
  'run_models',
] as const;
const OF_MODELS = ['logged_model_params', 'logged_model_tags', 'logged_model_metrics'] as const;
let served: RegistryUnderTest;
beforeEach(async () => {
  served = await RegistryUnderTest.open(undefined, undefined, await storageUnderTest());
});
afterEach(() => served.close());

const collect = (dryRun = false) =>
  served.registry.storage.collector.collect({ graceMs: HOUR, deletedMs: HOUR, dryRun });
const records = ({ runs, logged_models, experiments }: Awaited<ReturnType<typeof collect>>) => ({
  runs,
  logged_models,
  experiments,
});
const experiment = async (name: string): Promise<string> =>
  (await served.ok('POST', 'experiments/create', { name })).experiment_id;
const deleteRun = (run_id: string) => served.ok('POST', 'runs/delete', { run_id });

/** With a row in each table that has values of runs. */
async function newRun(experiment_id: string): Promise<string> {
  const run_id: string = (await served.ok('POST', 'runs/create', { experiment_id })).run.info.run_id;
  await served.ok('POST', 'runs/log-batch', {
    run_id,
    params: [{ key: 'lr', value: '0.1' }],
    metrics: [{ key: 'loss', value: 1, timestamp: 1, step: 0 }],
    tags: [{ key: 'team', value: 'red' }],
  });
  const dataset = { name: 'rows', digest: 'd1', source_type: 'local', source: '{}' };
  await served.ok('POST', 'runs/log-inputs', { run_id, datasets: [{ tags: [], dataset }] });
  // Whoever reads metrics finds them in their table.
  await served.ok('GET', 'runs/get', { run_id });
  return run_id;
}

/** That a run puts out, with values. */
async function newModel(experiment_id: string, source_run_id: string): Promise<string> {
  const { model } = await served.ok('POST', 'logged-models', {
    experiment_id,
    source_run_id,
    params: [{ key: 'depth', value: '3' }],
    tags: [{ key: 'team', value: 'red' }],
  });
  const { model_id } = model.info;
  await served.ok('POST', 'runs/outputs', { run_id: source_run_id, models: [{ model_id, step: 0 }] });
  await served.ok('POST', 'runs/log-metric', { run_id: source_run_id, model_id, key: 'auc', value: 1, timestamp: 1 });
  return model_id;
}

/** As if all that is deleted had been for two hours. */
async function age(): Promise<void> {
  await served.registry.database.write(async (db) => {
    for (const table of ['logged_models', 'experiments'] as const)
      await db
        .updateTable(table)
        .set(({ eb }) => ({ last_update_time: eb('last_update_time', '-', 2 * HOUR) }))
        .execute();
    await db
      .updateTable('runs')
      .set(({ eb }) => ({ deleted_time: eb('deleted_time', '-', 2 * HOUR) }))
      .execute();
  });
}

const rows = (...tables: string[]): Promise<number[]> =>
  served.registry.database.read((db) =>
    Promise.all(
      tables.map(async (table) => {
        const { rows } = await sql<{ n: number }>`SELECT count(*) AS n FROM ${sql.table(table)}`.execute(db);
        return Number(rows[0].n);
      }),
    ),
  );
const zeros = (tables: readonly string[]): number[] => tables.map(() => 0);

/** A row of a table that has nothing in it besides these values. */
async function insertBlank(table: string, values: Record<string, unknown>): Promise<void> {
  await served.registry.database.write(async (db) => {
    const { columns } = (await db.introspection.getTables()).find(({ name }) => name === table)!;
    const blank = columns
      .filter(({ isNullable, isAutoIncrementing }) => !isNullable && !isAutoIncrementing)
      .map(({ name, dataType }) => [name, /text/i.test(dataType) ? '' : 0]);
    const plain = db as unknown as Kysely<Record<string, Record<string, unknown>>>;
    await plain
      .insertInto(table)
      .values({ ...Object.fromEntries(blank), ...values })
      .execute();
  });
}

test('a deleted experiment goes with all that was logged in it, and its name is free', async () => {
  const [gone, other] = [await experiment('gone'), await experiment('other')];
  await served.ok('POST', 'experiments/set-experiment-tag', { experiment_id: gone, key: 'team', value: 'red' });
  for (let i = 0; i < 3; i++) await newModel(gone, await newRun(gone));
  const deleted = await newRun(other);
  await newRun(other);
  await served.ok('POST', 'experiments/delete', { experiment_id: gone });
  await deleteRun(deleted);
  assert.deepEqual(records(await collect()), { runs: 0, logged_models: 0, experiments: 0 }, 'too young');
  await age();
  const all = { runs: 4, logged_models: 3, experiments: 1 };
  assert.deepEqual(records(await collect(true)), all);
  assert.deepEqual(await rows('runs', 'logged_models', 'experiments'), [5, 3, 3], 'a dry run removes nothing');
  assert.deepEqual(records(await collect()), all);
  assert.deepEqual(await rows('runs', 'params', 'latest_metrics', 'metrics', 'run_datasets'), [1, 1, 1, 1, 1]);
  assert.deepEqual(await rows(...OF_MODELS, 'run_models', 'experiment_tags', 'collected_runs'), [0, 0, 0, 0, 0, 0]);
  assert.deepEqual(await rows('experiments', 'datasets'), [2, 1]);
  await served.refused('POST', 'runs/restore', { run_id: deleted }, 'RESOURCE_DOES_NOT_EXIST');
  assert.notEqual(await experiment('gone'), gone);
  assert.deepEqual(records(await collect()), { runs: 0, logged_models: 0, experiments: 0 });
});

test('what something kept names stays, and can be restored whole', async () => {
  const id = await experiment('held');
  const runs = await Promise.all(HOLDERS.map(() => newRun(id)));
  for (const [i, [table, column]] of HOLDERS.entries()) await insertBlank(table, { [column]: runs[i] });
  const registered = await newRun(id);
  const ofModel = await newRun(id);
  const model = await newModel(id, ofModel);
  const ofKeptModel = await newRun(id);
  const keptModel = await newModel(id, ofKeptModel);
  await served.ok('POST', 'registered-models/create', { name: 'm' });
  for (const source of [`runs:/${registered}/model`, `models:/${model}`])
    await served.ok('POST', 'model-versions/create', { name: 'm', source });
  await served.ok('DELETE', `logged-models/${model}`);
  const loose = await newRun(id);
  for (const run of [...runs, registered, ofModel, ofKeptModel, loose]) await deleteRun(run);
  await age();
  assert.deepEqual(records(await collect(true)), { runs: 1, logged_models: 0, experiments: 0 });
  assert.deepEqual(records(await collect()), { runs: 1, logged_models: 0, experiments: 0 });
  for (const run_id of [...runs, registered, ofModel, ofKeptModel]) {
    await served.ok('POST', 'runs/restore', { run_id });
    const { run } = await served.ok('GET', 'runs/get', { run_id });
    assert.equal(run.data.params.length + run.data.metrics.length + run.inputs.dataset_inputs.length >= 3, true);
  }
  assert.equal((await served.ok('GET', `logged-models/${keptModel}`)).model.info.source_run_id, ofKeptModel);
  await served.ok('POST', 'experiments/delete', { experiment_id: id });
  await age();
  // The loose model goes with its run; the experiment stays for the runs that are held.
  assert.deepEqual(records(await collect()), { runs: 1, logged_models: 1, experiments: 0 });
  assert.deepEqual(await rows('runs', 'logged_models'), [HOLDERS.length + 2, 1]);
});

test('a job, a sweep or a pipeline that ran in it holds an experiment, and the default one stays', async () => {
  const ids = ['0', ...(await Promise.all(['a', 'b', 'c', 'd'].map(experiment)))];
  for (const [i, table] of ['jobs', 'sweeps', 'pipeline_runs'].entries())
    await insertBlank(table, { experiment_id: ids[i + 1] });
  for (const experiment_id of ids) await served.ok('POST', 'experiments/delete', { experiment_id });
  await age();
  assert.equal((await collect(true)).experiments, 1);
  assert.equal((await collect()).experiments, 1);
  await served.ok('POST', 'experiments/restore', { experiment_id: '0' });
  await served.refused('POST', 'experiments/restore', { experiment_id: ids[4] }, 'RESOURCE_DOES_NOT_EXIST');
});

test('a deleted logged model goes from its run, and a run stays while a file of it does', async () => {
  const id = await experiment('files');
  const run = await newRun(id);
  const model = await newModel(id, run);
  const bare = await newRun(id);
  const url = `${served.url}/api/2.0/mlflow-artifacts/artifacts/${id}/${bare}/artifacts/model/x`;
  assert.equal((await fetch(url, { method: 'PUT', body: 'x' })).status, 200);
  await served.ok('POST', 'registered-models/create', { name: 'bare' });
  const source = `mlflow-artifacts:/${id}/${bare}/artifacts/model`;
  await served.ok('POST', 'model-versions/create', { name: 'bare', source });
  await served.ok('DELETE', `logged-models/${model}`);
  await deleteRun(bare);
  await age();
  assert.deepEqual(records(await collect(true)), { runs: 0, logged_models: 1, experiments: 0 });
  assert.deepEqual(records(await collect()), { runs: 0, logged_models: 1, experiments: 0 });
  assert.deepEqual(await rows('run_models', ...OF_MODELS), [0, 0, 0, 0]);
  await served.ok('DELETE', 'registered-models/delete', { name: 'bare' });
  const done = await collect();
  assert.deepEqual([done.artifacts, done.runs], [1, 1]);
});

test('a long history of metrics goes in parts, and a collection that was killed is gone on with', async () => {
  const id = await experiment('long');
  const run_id = await newRun(id);
  for (let from = 0; from < 11_000; from += 1000) {
    const metrics = Array.from({ length: 1000 }, (_, i) => ({ key: 'loss', value: i, timestamp: 5, step: from + i }));
    await served.ok('POST', 'runs/log-batch', { run_id, metrics });
  }
  await served.ok('GET', 'runs/get', { run_id });
  assert.deepEqual(await rows('metrics'), [11_001]);
  await deleteRun(run_id);
  await age();
  assert.equal((await collect()).runs, 1);
  assert.deepEqual(await rows(...OF_RUNS, 'collected_runs'), zeros([...OF_RUNS, 'collected_runs']));
  // As a process leaves it that died between the run and its metrics.
  await insertBlank('metrics', { run_key: 99, key: 'loss' });
  await insertBlank('collected_runs', { run_key: 99 });
  await collect();
  assert.deepEqual(await rows('metrics', 'collected_runs'), [0, 0]);
});

test('over the admin port deleted runs can be restored for the days that are set, unless a grace time is given', async () => {
  const run_id = await newRun(await experiment('kept'));
  await deleteRun(run_id);
  await age();
  assert.equal((await served.ok('POST', '/api/v1/registry/gc', {})).runs, 0);
  assert.equal((await served.ok('POST', '/api/v1/registry/gc', { grace_seconds: 3600, dry_run: true })).runs, 1);
  assert.equal((await served.ok('POST', '/api/v1/registry/gc', { grace_seconds: 3600 })).runs, 1);
});
