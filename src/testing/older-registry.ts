import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Kysely, sql } from 'kysely';
import type { DatabaseKind } from '../registry/database/database.ts';
import { migrate } from '../registry/database/migrations.ts';
import type { RegistryUnderTest } from './registry.ts';

const RUN = 'a'.repeat(32);
const IMPORT = '3f2b8c1e-9d4a-4b6f-8a51-0123456789ab';
const AGES = { graceMs: 3_600_000, deletedMs: 3_600_000 };
const UNUSED_IMPORT = 'c0ffee00-1111-4222-8333-0123456789ab';
const AT = 1_700_000_000_000;

/** Of tables that number their rows by themselves, with the column. */
const NUMBERED = { experiments: 'experiment_id', runs: 'run_key', registered_models: 'model_key' };

/**
 * Makes an empty database and folder a registry as the program before routes and jobs left it: experiments, runs,
 * artifacts, models.
 */
export async function makeOlderRegistry(db: Kysely<never>, kind: DatabaseKind, dataDir: string): Promise<void> {
  const folder = join(dataDir, 'registry');
  await migrate(db, kind, '0004-version-files');
  const put = async (table: string, row: Record<string, unknown>): Promise<void> => {
    await (db as unknown as Kysely<Record<string, Record<string, unknown>>>).insertInto(table).values(row).execute();
  };
  await put('experiments', {
    experiment_id: 7,
    name: 'old',
    artifact_location: 'mlflow-artifacts:/7',
    lifecycle_stage: 'active',
    creation_time: AT,
    last_update_time: AT,
  });
  for (let i = 0; i < 50; i++) {
    const run_id = i === 0 ? RUN : i.toString(16).padStart(32, '0');
    const key = { run_key: i + 1, experiment_id: 7 };
    await put('runs', {
      ...key,
      run_id,
      run_name: `run ${i}`,
      user_id: 'ada',
      status: 'FINISHED',
      lifecycle_stage: 'active',
      start_time: AT + i,
      end_time: AT + i + 1,
      artifact_uri: `mlflow-artifacts:/7/${run_id}/artifacts`,
    });
    await put('params', { ...key, key: 'lr', value: `0.${i}`, json: `{"key":"lr","value":"0.${i}"}` });
    const metric = { run_key: i + 1, key: 'loss', value: i / 2, is_nan: 0, timestamp: AT, step: 3 };
    await put('metrics', metric);
    const json = JSON.stringify({ key: 'loss', value: i / 2, timestamp: AT, step: 3 });
    await put('latest_metrics', { ...metric, experiment_id: 7, json });
  }
  const bytes = Buffer.from('weights');
  const hex = createHash('sha256').update(bytes).digest('hex');
  const digest = `sha256:${hex}`;
  mkdirSync(join(folder, 'blobs', 'sha256', hex.slice(0, 2)), { recursive: true });
  writeFileSync(join(folder, 'blobs', 'sha256', hex.slice(0, 2), hex), bytes);
  await put('blobs', { digest, size: bytes.byteLength, claimed_time: AT });
  const file = { digest, size: bytes.byteLength, media_type: 'application/octet-stream' };
  const path = `7/${RUN}/artifacts/model/model.onnx`;
  await put('artifacts', { path, root_kind: 'run', root_id: RUN, ...file, created_time: AT });
  // What an import brought, with and without a version, and a path that only looks like one.
  for (const path of [
    `imports/${IMPORT}/artifacts/x`,
    `imports/${UNUSED_IMPORT}/artifacts/x`,
    'imports/mine/artifacts/x',
  ])
    await put('artifacts', { path, root_kind: 'other', root_id: '', ...file, created_time: AT });
  await put('registered_models', {
    model_key: 1,
    name: 'kept',
    description: 'from before',
    creation_time: AT,
    last_updated_time: AT,
    next_version: 3,
  });
  for (const version of [1, 2]) {
    await put('model_versions', {
      model_key: 1,
      version,
      creation_time: AT,
      last_updated_time: AT,
      description: '',
      user_id: 'ada',
      stage: 'None',
      source: `runs:/${RUN}/model`,
      storage_location: `mlflow-artifacts:/7/${RUN}/artifacts/model`,
      run_id: RUN,
      run_link: '',
      model_id: '',
      approval: version === 1 ? 'Approved' : '',
    });
    await put('model_version_files', { model_key: 1, version, path: 'model.onnx', ...file });
  }
  await put('registered_models', {
    model_key: 2,
    name: 'imported',
    description: '',
    creation_time: AT,
    last_updated_time: AT,
    next_version: 2,
  });
  await put('model_versions', {
    model_key: 2,
    version: 1,
    creation_time: AT,
    last_updated_time: AT,
    description: '',
    user_id: 'ada',
    stage: 'None',
    source: `mlflow-artifacts:/imports/${IMPORT}/artifacts`,
    storage_location: `mlflow-artifacts:/imports/${IMPORT}/artifacts`,
    run_id: '',
    run_link: '',
    model_id: '',
    approval: '',
  });
  await put('model_aliases', { model_key: 1, alias: 'champion', version: 1 });
  const move = { model_key: 1, name: 'kept', alias: 'champion', at: AT, actor: 'ada', reason: 'the first' };
  await put('alias_moves', { ...move, version: 1 });
  if (kind === 'sqlite') return;
  // As if the database had numbered these rows.
  for (const [table, column] of Object.entries(NUMBERED))
    await sql`SELECT setval(pg_get_serial_sequence(${table}, ${column}), (SELECT max(${sql.ref(column)}) FROM ${sql.table(table)}))`.execute(
      db,
    );
}

/** What the older registry had is there in this one, and goes on. */
export async function checkUpgraded(registry: RegistryUnderTest): Promise<void> {
  const { runs } = await registry.ok('POST', 'runs/search', {
    experiment_ids: ['7'],
    filter: "metrics.loss < 2 AND params.lr != '0.1'",
    order_by: ['metrics.loss DESC'],
  });
  assert.deepEqual(
    runs.map(({ info }: { info: { run_name: string } }) => info.run_name),
    ['run 3', 'run 2', 'run 0'],
  );
  assert.deepEqual(runs[0].data.metrics[0], { key: 'loss', value: 1.5, timestamp: AT, step: 3 });
  await registry.ok('POST', 'runs/log-metric', { run_id: RUN, key: 'loss', value: 9, timestamp: AT + 1, step: 4 });
  const { metrics } = await registry.ok('GET', 'metrics/get-history', { run_id: RUN, metric_key: 'loss' });
  assert.equal(metrics.length, 2);
  const which = { name: 'kept', alias: 'champion' };
  assert.equal((await registry.ok('GET', 'registered-models/alias', which)).model_version.version, '1');
  const { digest } = await registry.ok('GET', '/api/v1/registry/models/kept/versions/1/manifest');
  const watched = await registry.ok('POST', '/api/v1/registry/serving/watch', { every_alias: 'champion' });
  assert.equal(watched.deployments[0].digest, digest);
  const path = `/api/2.0/mlflow-artifacts/artifacts/7/${RUN}/artifacts/model/model.onnx?verify=true`;
  assert.equal(await (await fetch(registry.url + path)).text(), 'weights');
  await registry.ok('POST', 'registered-models/alias', { ...which, version: '2' });
  const { moves } = await registry.ok('GET', '/api/v1/registry/models/kept/aliases/champion/history');
  assert.deepEqual(
    moves.map((row: { version: string; actor: string }) => [String(row.version), row.actor]),
    [
      ['2', 'tester'],
      ['1', 'ada'],
    ],
  );
  const source = `runs:/${RUN}/model`;
  const { model_version } = await registry.ok('POST', 'model-versions/create', { name: 'kept', source, run_id: RUN });
  assert.equal(model_version.version, '3');
  const { run } = await registry.ok('POST', 'runs/create', { experiment_id: '7', run_name: 'run 3' });
  const named = await registry.ok('POST', 'runs/search', { experiment_ids: ['7'], filter: "run_name = 'run 3'" });
  assert.deepEqual(
    named.runs.map(({ info }: { info: { run_id: string } }) => info.run_id),
    [run.info.run_id, '3'.padStart(32, '0')],
  );
  const { experiment_id } = await registry.ok('POST', 'experiments/create', { name: 'new' });
  assert.equal(experiment_id, '8');
  const { artifacts } = await registry.registry.storage.collector.collect({ ...AGES, dryRun: false });
  assert.equal(artifacts, 1);
  assert.deepEqual(await registry.registry.storage.artifacts.filesBelow(`imports/${UNUSED_IMPORT}`), []);
  assert.deepEqual(registry.errors, []);
}
