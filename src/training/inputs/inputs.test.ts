import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type Cell, type Schema, sourceOf } from '../../datasets/batch.ts';
import { type DataUnderTest, openData } from '../../testing/data-sources.ts';
import { PipelinesUnderTest } from '../../testing/pipelines.ts';
import { scriptJob, trainingUnderTest } from '../../testing/training.ts';
import type { Jobs, JobView } from '../jobs/jobs.ts';
import { parseJobs } from '../jobs/read.ts';
import type { Training } from '../training.ts';

const DOCS = fileURLToPath(new URL('../../../docs/training.md', import.meta.url));
const by = { actor: 'ada', reason: '' };
const SCHEMA: Schema = {
  fields: [
    { name: 'id', type: 'integer' },
    { name: 'amount', type: 'number' },
  ],
};

describe('what jobs read of datasets and feature views', { timeout: 600_000 }, () => {
  let under: PipelinesUnderTest;
  let training: Training;
  let jobs: Jobs;
  let services: DataUnderTest;

  before(async () => {
    under = await PipelinesUnderTest.open([], undefined, async (registry) => {
      services = await openData(registry);
      const { data } = services;
      ({ training } = await trainingUnderTest(registry, { process: { minFreeBytes: 0, cpu: 8 } }, { data }));
      jobs = training.jobs;
      return jobs;
    });
    await rows('payments', [1, 2], [10.5, 7]);
    await push([1, 2], ['2026-01-31T11:00:00Z', '2026-01-31T12:00:00Z'], [0.5, 0.25]);
    // One that is older than the view's day, and one that was not known then.
    await push([3, 1], ['2026-01-30T11:59:59Z', '2026-01-31T12:00:00.001Z'], [0.9, 0.8]);
  });
  after(async () => {
    await under.close(async () => {
      await training.close();
      await services.features.close();
    });
  });

  const rows = (name: string, ...columns: Cell[][]) =>
    services.datasets.create(
      { name, kind: 'tabular', origin: { kind: 'test' }, parents: [], runId: '', tags: {} },
      sourceOf(SCHEMA, { rows: columns[0].length, columns }),
      by,
    );
  const push = (ids: number[], times: string[], rates: number[]) =>
    services.features.push(
      'default',
      'driver_stats',
      {
        driver_id: ids,
        event_timestamp: times,
        conv_rate: rates,
        trips: ids.map((id) => id * 10),
        active: ids.map(() => true),
        home: ids.map(() => null),
      },
      'offline',
    );
  const log = async (job: JobView, attempt?: number): Promise<string> =>
    (await jobs.logs(job.id, attempt, 0, 100_000)).bytes.toString();
  const inputsOf = async (runId: string) => {
    const { run } = await under.registry.ok('GET', 'runs/get', { run_id: runId });
    const { dataset_inputs = [] } = run.inputs ?? {};
    const found = dataset_inputs as { dataset: Record<string, string>; tags: { key: string; value: string }[] }[];
    return found.sort((a, b) => (a.dataset.name < b.dataset.name ? -1 : 1));
  };
  const PAYMENTS = 'id,amount\n1,10.5\n2,7\n';
  const DRIVERS =
    'driver_id,event_timestamp,conv_rate,trips,active,home\n1,2026-01-31T11:00:00.000Z,0.5,10,true,\n2,2026-01-31T12:00:00.000Z,0.25,20,true,\n';

  test('the example of docs/training.md; the run tells what it read, and a retry reads the same', async () => {
    const [, example] = /<!-- tested in src\/training\/inputs -->\n```yaml\n([\s\S]*?)```/.exec(
      readFileSync(DOCS, 'utf8'),
    ) as RegExpExecArray;
    const [document] = parseJobs(example, 'docs/training.md');
    const { id } = await jobs.submit({ ...document, spec: { ...document.spec, retry: { max: 0 } } }, by);
    const job = await jobs.ended(id);
    assert.equal(job.status, 'succeeded', `${job.reason} ${job.logTail}`);
    assert.equal(await log(job), PAYMENTS + DRIVERS);

    // What comes later, and what comes late, is not for this job.
    await rows('payments', [3], [1]);
    await push([1], ['2026-01-31T11:30:00Z'], [0.1]);
    const read = await inputsOf(job.runId);
    assert.deepEqual(
      read.map(({ dataset, tags }) => [dataset.name, JSON.parse(dataset.profile), tags[0].value]),
      [
        ['driver_stats@2026-01-31T12:00:00.000Z', { num_rows: 2 }, 'training'],
        ['payments', { num_rows: 2 }, 'training'],
      ],
    );
    const { digest, mlflowDigest } = await services.datasets.get('payments', 1, by);
    assert.equal(read[1].dataset.digest, mlflowDigest);
    assert.deepEqual(JSON.parse(read[1].dataset.source), { dataset: 'payments', version: 1, digest });
    const lineage = (await services.datasets.lineage('payments', 1, by)) as { runs: { run_id: string }[] };
    assert.ok(
      lineage.runs.some(({ run_id }) => run_id === job.runId),
      'the dataset knows who read it',
    );
    const { files = [] } = await under.registry.ok('GET', 'artifacts/list', { run_id: job.runId, path: 'inputs/data' });
    assert.deepEqual(
      files.map((file: { path: string }) => file.path),
      ['inputs/data/data.csv'],
    );

    const kept = await under.registry.registry.database.read((db) =>
      db.selectFrom('job_documents').select('document').where('job_id', '=', id).executeTakeFirstOrThrow(),
    );
    const { inputs } = JSON.parse(kept.document).spec;
    assert.deepEqual(
      inputs.map(({ source, asOf }: { source?: string; asOf?: string }) => source ?? asOf),
      ['datasets:/payments@1', '2026-01-31T12:00:00.000Z'],
    );
    // Submitted again as it was kept, the same bytes are read: what is pinned stays.
    const again = await jobs.ended((await jobs.submit(JSON.parse(kept.document), by)).id);
    assert.equal(await log(again), PAYMENTS + DRIVERS);
  });

  test('an attempt after a failure reads what the first one read, though the version is gone', async () => {
    await rows('short', [1], [1]);
    const script = 'cksum inputs/data/data.parquet; exit 3';
    const inputs = [{ name: 'data', source: 'datasets:/short@latest' }];
    const { id } = await jobs.submit(scriptJob(script, { inputs }), by);
    await jobs.ended(id);
    await rows('short', [1, 2], [1, 2]);
    await services.datasets.remove('short', 1, by);
    await jobs.retry(id, by);
    const job = await jobs.ended(id);
    assert.equal(job.reason, 'exit code 3');
    assert.equal(await log(job, 2), await log(job, 1));
    assert.notEqual(await log(job, 1), '');
  });

  test('what is not there or makes no sense is refused when it is submitted, and named', async () => {
    const refused = async (input: object, message: RegExp): Promise<void> => {
      const document = () => scriptJob('true', { inputs: [{ name: 'data', ...input }] });
      await assert.rejects(async () => jobs.submit(document(), by), message);
      await assert.rejects(async () => jobs.validate(document(), 'ada'), message);
    };
    const { jobs: before } = await jobs.list({});
    await refused(
      { source: 'datasets:/nothing@1' },
      /spec\.inputs\.0\.source: there is no dataset "nothing".*list them/,
    );
    await refused({ source: 'datasets:/payments@99' }, /source: dataset payments has no version 99; its latest is \d/);
    for (const source of ['datasets:/payments', 'datasets:/payments@v1', 'datasets:/payments@0', 'datasets:/a/b/c'])
      await refused({ source }, /names no version of a dataset; give datasets:\/<name>@<version>, or .*@latest/);
    const view = { featureView: 'driver_stats' };
    await refused(view, /spec\.inputs\.0\.asOf: missing: as of when/);
    for (const asOf of ['yesterday', '2026-13-01', '2026-01-31T25:00:00Z', '31.01.2026', ''])
      await refused({ ...view, asOf }, /spec\.inputs\.0\.asOf: ".*" is no time; give ISO 8601 such as/);
    await refused({ ...view, asOf: 1 }, /spec\.inputs\.0\.asOf: .*a time as a text/);
    await refused({ ...view, asOf: '2999-01-01' }, /spec\.inputs\.0\.asOf: "2999-01-01" lies ahead/);
    await refused(
      { featureView: 'nobody', asOf: 'now' },
      /spec\.inputs\.0\.featureView: Feature view "nobody" does not exist; there are driver_stats/,
    );
    await refused({ ...view, asOf: 'now', source: 'runs:/a/b' }, /give source or featureView, not both/);
    await refused({ source: 'runs:/a/b', asOf: 'now' }, /asOf: goes with featureView/);
    await refused({ source: 'runs:/a/b', format: 'csv' }, /format: goes with a dataset or a feature view/);
    await refused({ source: 'datasets:/payments@1', format: 'xls' }, /spec\.inputs\.0\.format/);
    // Only making the file tells.
    const submit = (input: object) => jobs.submit(scriptJob('true', { inputs: [{ name: 'data', ...input }] }), by);
    await assert.rejects(
      submit({ ...view, asOf: '2025-01-01' }),
      /featureView: feature view driver_stats has no rows for training up to 2025-01-01T00:00:00\.000Z/,
    );
    await assert.rejects(
      submit({ source: 'datasets:/payments@1', digest: `sha256:${'0'.repeat(64)}` }),
      /payments@1 is sha256:\w+, and sha256:0+ was asked for/,
    );
    await services.datasets.share('payments', ['bob'], by);
    await assert.rejects(
      jobs.submit(scriptJob('true', { inputs: [{ name: 'data', source: 'datasets:/payments@1' }] }), {
        actor: 'eve',
        reason: '',
      }),
      /source: dataset payments is not shared with you/,
    );
    await services.datasets.share('payments', ['*'], by);
    assert.equal((await jobs.list({})).jobs.length, before.length);
  });

  test('steps of a pipeline read data too: the same in a resumed run, skipped only when it is the same', async () => {
    await rows('orders', [1], [1]);
    const step = (name: string, script: string, more: object) => ({
      name,
      run: { job: { command: ['sh', 'run.sh'], files: { 'run.sh': script } }, ...more },
    });
    const pipeline = (asOf: string) => ({
      apiVersion: 'switchyard/v1',
      kind: 'Pipeline',
      metadata: { name: 'reads' },
      spec: {
        steps: [
          step('count', `test -e ${join(under.folder, 'go')} && cat inputs/orders/data.csv inputs/drivers/data.csv`, {
            inputs: {
              orders: { source: 'datasets:/orders@latest', format: 'csv' },
              drivers: { featureView: 'driver_stats', asOf, format: 'csv' },
            },
          }),
        ],
      },
    });
    const document = pipeline('2026-01-31T11:00:00Z');
    const failed = await under.over((await under.run(document)).id);
    assert.equal(failed.status, 'failed');
    // Another version, and a row that comes late: neither is for this run.
    await rows('orders', [1, 2], [1, 2]);
    await push([7], ['2026-01-31T10:00:00Z'], [0.7]);
    writeFileSync(join(under.folder, 'go'), '');
    const resumed = await under.over((await under.pipelines.resume(failed.id)).id);
    assert.equal(resumed.status, 'succeeded', resumed.reason);
    const job = (await jobs.get(resumed.steps[0].job_id as string)) as JobView;
    assert.match(await log(job), /^id,amount\n1,1\ndriver_id,.*\n1,2026-01-31T11:00:00.000Z,0\.5,10,true,\n3,.*\n$/);
    assert.deepEqual(
      (await inputsOf(job.runId)).map(({ dataset }) => dataset.name),
      ['driver_stats@2026-01-31T11:00:00.000Z', 'orders'],
    );
    // Another run reads what there is by now; once more, and there is nothing to do.
    const second = await under.over((await under.run(document)).id);
    assert.equal(second.steps[0].status, 'succeeded', second.reason);
    const third = await under.over((await under.run(document)).id);
    assert.equal(third.steps[0].status, 'skipped', third.reason);
    const unknown = under.run({
      ...document,
      spec: { steps: [step('a', 'true', { inputs: { x: { source: 'datasets:/nothing@latest' } } })] },
    });
    await assert.rejects(unknown, /spec\.steps\.0\.run\.inputs\.x\.source: there is no dataset "nothing"/);
    const wrong = under.run({
      ...document,
      spec: { steps: [step('a', 'true', { inputs: { x: { featureView: 'driver_stats', asOf: 'soon' } } })] },
    });
    await assert.rejects(wrong, /inputs\.x\.asOf: "soon" is no time/);
  });

  test('trials of a sweep read the same', async () => {
    await rows('tries', [1], [1]);
    const { sweep_id: id } = await submitSweep();
    await rows('tries', [1, 2], [1, 2]);
    for (;;) {
      const sweep = await training.sweeps.get(id);
      if (sweep !== undefined && sweep.endedAt !== null) break;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    const found = await jobs.list({ parent: { kind: 'sweep', id } });
    assert.equal(found.jobs.length, 2);
    for (const job of found.jobs) assert.match(await log(job), /^id,amount\n1,1\n/);
  });

  const submitSweep = async () => {
    const sweep = await training.sweeps.submit(
      {
        apiVersion: 'switchyard/v1',
        kind: 'Sweep',
        metadata: { name: 'tries' },
        spec: {
          objective: { type: 'maximize', metric: 'x' },
          algorithm: { name: 'random', settings: { seed: 1 } },
          parameters: [{ name: 'lr', type: 'double', feasibleSpace: { min: 0, max: 1 } }],
          parallelTrialCount: 1,
          maxTrialCount: 2,
          trialTemplate: {
            command: ['sh', 'run.sh'],
            args: ['$' + '{params.lr}'],
            files: { 'run.sh': 'cat inputs/data/data.csv; echo "x=$1"' },
            inputs: [{ name: 'data', source: 'datasets:/tries@latest', format: 'csv' }],
          },
        },
      },
      by,
    );
    return { sweep_id: sweep.id };
  };
});
