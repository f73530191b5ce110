// biome-ignore-all lint/suspicious/noTemplateCurlyInString: expressions of documents
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { PipelinesUnderTest } from '../../testing/pipelines.ts';
import { RegistryClient } from '../../testing/registry-client.ts';
import { seededRandom } from '../tables/random.ts';
import type { FullRunView } from './view.ts';

const MODEL = readFileSync(fileURLToPath(new URL('../../../config/models/digits/1/model.onnx', import.meta.url)));

const under = await PipelinesUnderTest.open();
after(() => under.close());
const client = new RegistryClient(under.registry.url);

/** Noise in the form of digits: what the model says of it does not matter here. */
function writeDigits(name: string, rows: number, seed = 1): void {
  const random = seededRandom(seed);
  const columns = Array.from({ length: 64 }, (_, i) => `p${i}`);
  const lines = Array.from({ length: rows }, () => {
    const pixels = columns.map(() => Math.floor(random() * 17));
    return [...pixels, Math.floor(random() * 10), random() < 0.5 ? 'north' : 'south'].join(',');
  });
  writeFileSync(join(under.folder, name), `${[...columns, 'label', 'region'].join(',')}\n${lines.join('\n')}\n`);
}

/** Nobody answers there. */
const GONE = 'http://127.0.0.1:9/';
const pipeline = (steps: object[], spec: object = {}) => ({
  apiVersion: 'switchyard/v1',
  kind: 'Pipeline',
  metadata: { name: 'digits' },
  spec: { steps, ...spec },
});
const STEPS = [
  { name: 'data', ingest: { source: 'digits.csv' } },
  { name: 'checked', validate: { data: 'data', schema: { columns: { label: { min: 0, max: 9 } }, extra: true } } },
  { name: 'parts', split: { data: 'checked', parts: { train: 0.5, test: 0.5 }, seed: '${parameters.seed}' } },
  {
    name: 'scaled',
    transform: { data: 'parts.train', also: { test: 'parts.test' }, operations: [{ oneHot: { columns: ['region'] } }] },
  },
  {
    name: 'judged',
    evaluate: {
      model: 'models:/digits/1',
      data: 'parts.test',
      label: 'label',
      task: 'classification',
      sliceOnly: ['region'],
      slices: [{ column: 'region' }],
      attribution: { method: 'shapley', rows: 2, samples: 2 },
    },
  },
  { name: 'gate', gate: { evaluation: 'judged', rules: [{ metric: 'accuracy', op: '>=', value: 0 }] } },
];
const WHOLE = pipeline(STEPS, { parameters: { seed: 1 } });
const statuses = (run: FullRunView) => Object.fromEntries(run.steps.map(({ name, status }) => [name, status]));

writeDigits('digits.csv', 120);
await client.register('digits', { 'model.onnx': MODEL });

test('a pipeline runs, keeps what each step gave, and skips what is the same the next time', async () => {
  const first = await under.over((await under.run(WHOLE)).id);
  assert.equal(first.status, 'succeeded', JSON.stringify(first.steps, undefined, 1));
  const [, , parts, scaled, judged, gate] = first.steps;
  assert.deepEqual(
    Object.entries(parts.outputs).map(([name, { rows }]) => [name, rows]),
    [
      ['train', 60],
      ['test', 60],
    ],
  );
  assert.deepEqual(Object.keys(scaled.outputs), ['data', 'state', 'test']);
  assert.match(gate.reason, /accuracy is .*, must be >= 0/);
  const [evaluation] = await under.pipelines.evaluations({ model: 'digits', before: 1e9, limit: 10 });
  assert.equal(evaluation.id, judged.values.evaluation);
  assert.equal(evaluation.result.samples, 60);
  assert.equal(
    evaluation.result.confusion?.flat().reduce((a, b) => a + b, 0),
    60,
  );
  assert.deepEqual(
    evaluation.result.slices.map(({ name }) => name),
    ['region=north', 'region=south'],
  );
  assert.equal(evaluation.result.attribution?.features.length, 64);

  // Each step has a run of its own under the pipeline's, with what it gave.
  const { runs } = await client.ok('POST', '/api/2.0/mlflow/runs/search', {
    experiment_ids: [first.experiment_id],
    filter: `tags.\`mlflow.parentRunId\` = '${first.run_id}'`,
  });
  assert.equal(runs.length, 6);
  const { files } = await client.ok('GET', `/api/2.0/mlflow/artifacts/list?run_id=${parts.run_id}&path=train`);
  assert.equal(files[0].path, 'train/data.csv');

  const again = await under.over((await under.run(WHOLE)).id);
  const { gate: judgedAgain, ...others } = statuses(again);
  assert.equal(judgedAgain, 'succeeded');
  assert.deepEqual([...new Set(Object.values(others))], ['skipped']);
  assert.equal(again.steps[2].skipped_from, first.id);
  assert.deepEqual(again.steps[2].outputs, parts.outputs);

  const other = await under.over((await under.run(WHOLE, { seed: 2 })).id);
  assert.deepEqual(statuses(other), {
    data: 'skipped',
    checked: 'skipped',
    parts: 'succeeded',
    scaled: 'succeeded',
    judged: 'succeeded',
    gate: 'succeeded',
  });
});

test('a failed run tells what to do, and goes on where it failed', async () => {
  const steps = [STEPS[0], { name: 'more', ingest: { source: 'later.csv' } }];
  const failed = await under.over((await under.run(pipeline(steps))).id);
  assert.equal(failed.status, 'failed');
  assert.match(failed.reason, /^more: .*later\.csv: there is no such file; correct the source/);
  assert.match(failed.next_step ?? '', /pipelines resume/);
  writeFileSync(join(under.folder, 'later.csv'), 'a\n1\n');
  const resumed = await under.over((await under.pipelines.resume(failed.id)).id);
  assert.equal(resumed.status, 'succeeded');
  await assert.rejects(under.pipelines.resume(failed.id), /has succeeded; only failed, held and cancelled runs/);
});

test('data that is not as it must be stops the run with its rows', async () => {
  const schema = { columns: { label: { max: 3 }, zip: {} }, extra: true };
  const run = await under.over(
    (await under.run(pipeline([STEPS[0], { name: 'bad', validate: { data: 'data', schema } }]))).id,
  );
  assert.equal(run.status, 'failed');
  assert.match(
    run.reason,
    /bad: the data is not as it must be: label, row \d+: \d is above 3 \(\d+ values\); zip: the column is missing/,
  );
});

test('data is held against a schema that the registry keeps, and its warnings fail nothing', async () => {
  const keep = (version: number, max: number) => {
    const rule = { min: 0, max };
    const fields = { label: rule, p0: { max: -1, severity: 'warning' } };
    const body = JSON.stringify({ fields, extra: 'allow' });
    const row = { name: 'digits', version, body, dataset: '', actor: 'tester', created_at: 0 };
    return under.registry.registry.database.write((db) => db.insertInto('data_schemas').values(row).execute());
  };
  const run = async (kept: string) =>
    under.over((await under.run(pipeline([STEPS[0], { name: 'held', validate: { data: 'data', kept } }]))).id);
  assert.match((await run('digits')).reason, /there is no kept schema "digits"/);
  await keep(1, 9);
  assert.equal((await run('digits')).status, 'succeeded');
  await keep(2, 3);
  assert.match((await run('digits')).reason, /held: the data is not as it must be: label: \d is above 3/);
  assert.equal((await run('digits/1')).status, 'succeeded');
});

test('gates fail, and hold when nobody can tell', async () => {
  const gate = (rules: object[]) =>
    pipeline([...STEPS.slice(0, 5), { name: 'gate', gate: { evaluation: 'judged', rules } }], {
      parameters: { seed: 1 },
    });
  const events = [{ entity: 'GATE', action: 'DECIDED' }];
  const { webhook } = await client.ok('POST', '/api/v1/registry/webhooks', { name: 'gates', url: GONE, events });
  const failed = await under.over((await under.run(gate([{ metric: 'accuracy', op: '>', value: 1 }]))).id);
  assert.equal(failed.status, 'failed');
  assert.match(failed.reason, /the gate is not passed: accuracy is .*, must be > 1/);
  const held = await under.over(
    (await under.run(gate([{ metric: 'accuracy', op: '>', value: 0, minSamples: 1000 }]))).id,
  );
  assert.equal(held.status, 'held');
  assert.match(held.reason, /60 samples are too few, 1000 are needed/);
  // In the writes that ended the steps: they are there when the runs are over.
  const told = await under.queuedFor(webhook.webhook_id);
  assert.deepEqual(
    told.map((data) => `${data.pipeline_run} ${data.outcome}`).sort(),
    [`${failed.id} fail`, `${held.id} hold`].sort(),
  );
});

test('a model that does not fit is a clear failure', async () => {
  const wrong = { ...STEPS[4], evaluate: { ...STEPS[4].evaluate, features: ['p0', 'p1'] } };
  const run = await under.over(
    (await under.run(pipeline([...STEPS.slice(0, 3), wrong], { parameters: { seed: 1 } }))).id,
  );
  assert.match(run.reason, /input image of the model has the shape \[.*64\] and gets 2 columns/);
});

test('a server that is started again goes on with the same run', async () => {
  writeDigits('digits.csv', 400, 7);
  const begun = await under.run(WHOLE, { seed: 11 });
  await under.restart();
  const run = await under.over(begun.id);
  assert.equal(run.status, 'succeeded');
  assert.equal((await under.pipelines.runs({ before: 1e9, limit: 100 })).filter(({ id }) => id === begun.id).length, 1);
});

test('a cancelled run ends, and nothing of it goes on', async () => {
  writeDigits('digits.csv', 400, 8);
  const begun = await under.run(WHOLE, { seed: 12 });
  await under.pipelines.cancel(begun.id, { actor: 'tester', reason: 'not now' });
  const run = await under.over(begun.id);
  assert.equal(run.status, 'cancelled');
  assert.match(run.reason, /cancelled by tester: not now/);
  assert.ok(run.steps.every(({ status }) => status !== 'running'));
  const resumed = await under.over((await under.pipelines.resume(begun.id)).id);
  assert.equal(resumed.status, 'succeeded');
});

test('documents over the API are kept, and triggers start their runs once', async () => {
  mkdirSync(join(under.folder, 'incoming'), { recursive: true });
  const trigger = {
    apiVersion: 'switchyard/v1',
    kind: 'Trigger',
    metadata: { name: 'by-hand' },
    spec: { pipeline: 'small', when: { manual: {} }, dailyBudget: 1 },
  };
  const small = { ...pipeline([STEPS[0]]), metadata: { name: 'small' } };
  await under.pipelines.change(
    [
      { kind: 'Pipeline', name: 'small', body: small },
      { kind: 'Trigger', name: 'by-hand', body: trigger },
    ],
    false,
  );
  await assert.rejects(
    under.pipelines.change([{ kind: 'Pipeline', name: 'small', body: undefined }], false),
    /there is no pipeline "small"/,
  );
  await under.restart();
  const triggers = await under.pipelines.triggers();
  const fired = await triggers.fire('by-hand', { actor: 'tester', reason: 'try' });
  const run = await under.over(String(fired.last_run));
  assert.equal(run.status, 'succeeded');
  assert.equal(run.trigger, 'by-hand');
  assert.equal(run.cause, 'manual, by tester: try');
  await triggers.fire('by-hand', { actor: 'tester', reason: 'again' });
  const outcomes = (await triggers.firings('by-hand', 1e9, 10)).map(({ outcome, reason }) => `${outcome}: ${reason}`);
  assert.deepEqual(outcomes, [
    'refused: manual, by tester: again; the daily budget of 1 runs is spent',
    'fired: manual, by tester: try',
  ]);
});
