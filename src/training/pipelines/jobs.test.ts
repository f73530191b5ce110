// biome-ignore-all lint/suspicious/noTemplateCurlyInString: expressions of documents
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { PipelinesUnderTest } from '../../testing/pipelines.ts';
import { RegistryClient } from '../../testing/registry-client.ts';
import { trainingUnderTest } from '../../testing/training.ts';
import type { Training } from '../training.ts';
import type { FullRunView } from './view.ts';

/** Pipelines whose steps are real processes: shell scripts, so that no environment is built. */
const MODEL = readFileSync(
  fileURLToPath(new URL('../../testing/fixtures/identity_fp32/1/model.onnx', import.meta.url)),
);

let training: Training;
const under = await PipelinesUnderTest.open([], undefined, async (registry) => {
  ({ training } = await trainingUnderTest(registry));
  return training.jobs;
});
after(async () => {
  await under.close(() => training.close());
});
const client = new RegistryClient(under.registry.url);

const DATA =
  'echo a,b,c,d,y > data.csv; for i in 1 2 3 4 5 6 7 8; do echo 0.7,0.1,0.1,0.1,w; echo 0.1,0.7,0.1,0.1,x; done >> data.csv';
/** What it trains is the same model; a comment makes the file another one. */
const TRAIN = `test -s inputs/train.csv && sleep \${PAUSE:-0} && base64 -d model.b64 > model.onnx && cp model.onnx with-label.onnx && echo accuracy=0.5`;
const shell = (script: string, files: Record<string, string> = {}, env = {}) => ({
  job: { command: ['sh', 'run.sh'], files: { 'run.sh': script, ...files }, env, graceSeconds: 1 },
});
const pipeline = (name: string, steps: object[]) => ({
  apiVersion: 'switchyard/v1',
  kind: 'Pipeline',
  metadata: { name },
  spec: { steps, parameters: { pause: '0', rule: 1 } },
});
const STEPS = [
  { name: 'data', run: { ...shell(DATA), outputs: { rows: 'data.csv' } } },
  { name: 'parts', split: { data: 'data', parts: { train: 0.5, test: 0.5 }, stratify: 'y' } },
  {
    name: 'train',
    train: {
      ...shell(TRAIN, { 'model.b64': MODEL.toString('base64') }, { PAUSE: '${parameters.pause}' }),
      inputs: { train: 'parts.train' },
      outputs: { model: 'model.onnx' },
    },
  },
  {
    name: 'judged',
    evaluate: {
      model: 'train',
      data: 'parts.test',
      label: 'y',
      task: 'classification',
      classes: ['w', 'x', 'y', 'z'],
      against: ['champion'],
    },
  },
  {
    name: 'gate',
    gate: {
      evaluation: 'judged',
      rules: [
        { metric: 'accuracy', op: '>=', value: '${parameters.rule}' },
        { metric: 'accuracy', vs: 'champion' },
      ],
    },
  },
  { name: 'register', register: { model: 'train', name: 'letters', evaluation: 'judged', gate: 'gate' } },
  { name: 'deploy', deploy: { version: 'register' } },
];
const WHOLE = pipeline('letters', STEPS);
const statusOf = (run: FullRunView, name: string) => run.steps.find((step) => step.name === name)?.status;
const aliases = async (): Promise<Record<string, string>> => {
  const { aliases } = await client.ok('GET', '/api/v1/registry/models/letters/aliases');
  return Object.fromEntries(aliases.map(({ alias, version }: { alias: string; version: string }) => [alias, version]));
};

test('from a command to a version that an alias names, with evidence and lineage', async () => {
  const run = await under.over((await under.run(WHOLE)).id);
  assert.equal(run.status, 'succeeded', JSON.stringify(run.steps, undefined, 1));
  assert.deepEqual(await aliases(), { challenger: '1', champion: '1' });
  const { evidence } = await client.ok('GET', '/api/v1/registry/models/letters/versions/1/evidence');
  assert.equal(evidence[0].outcome, 'pass');
  assert.match(evidence[0].detail.rules[1].reason, /no champion to compare with/);
  const lineage = await client.ok('GET', '/api/v1/registry/models/letters/versions/1/lineage');
  assert.equal(lineage.run.run_id, run.steps[2].run_id);
  assert.equal(lineage.run.datasets[0].name, 'letters/parts.train');
  const { versions } = await client.ok('GET', `/api/v1/registry/lineage?dataset=${lineage.run.datasets[0].digest}`);
  assert.deepEqual(
    versions.map(({ version }: { version: string }) => version),
    ['1'],
  );
  const [evaluation] = await under.pipelines.evaluations({ model: 'letters', version: '1', before: 1e9, limit: 5 });
  assert.equal(evaluation.result.metrics.accuracy, 1);
  const { run: tracked } = await client.ok('GET', `/api/2.0/mlflow/runs/get?run_id=${run.steps[2].run_id}`);
  assert.equal(tracked.data.tags.find(({ key }: { key: string }) => key === 'mlflow.parentRunId').value, run.run_id);

  const again = await under.over((await under.run(WHOLE)).id);
  assert.deepEqual(
    again.steps.map(({ status }) => status),
    ['skipped', 'skipped', 'skipped', 'succeeded', 'succeeded', 'succeeded', 'succeeded'],
  );
  assert.deepEqual(await aliases(), { challenger: '1', champion: '1' });
});

test('a gate that is not passed leaves the registry as it was', async () => {
  const run = await under.over((await under.run(WHOLE, { rule: 2 })).id);
  assert.equal(run.status, 'failed');
  assert.equal(statusOf(run, 'register'), 'waiting');
  assert.deepEqual(await aliases(), { challenger: '1', champion: '1' });
});

test('a server that is started again finds the job that runs', async () => {
  const begun = await under.run(WHOLE, { pause: '2' });
  let job: string | null = null;
  while (job === null) {
    await sleep(20);
    job = (await under.pipelines.getRun(begun.id)).steps[2].job_id;
  }
  await under.restart();
  const run = await under.over(begun.id);
  assert.equal(run.status, 'succeeded');
  assert.equal(run.steps[2].job_id, job);
  const { jobs } = await training.jobs.list({ parent: { kind: 'pipeline', id: begun.id } });
  assert.deepEqual(
    jobs.map(({ id }) => id),
    [job],
  );
});

test('cancelling a run ends its job; resuming gets another one', async () => {
  const begun = await under.run(WHOLE, { pause: '30' });
  let job: string | null = null;
  while (job === null) {
    await sleep(20);
    job = (await under.pipelines.getRun(begun.id)).steps[2].job_id;
  }
  await under.pipelines.cancel(begun.id, { actor: 'tester', reason: '' });
  assert.equal((await under.over(begun.id)).status, 'cancelled');
  assert.equal((await training.jobs.ended(job)).status, 'cancelled');
});

test('a script that fails is told with its output, and a resumed run tries it anew', async () => {
  const failing = pipeline('failing', [{ name: 'bad', run: shell('echo cannot find the data >&2; exit 3') }]);
  const run = await under.over((await under.run(failing)).id);
  assert.equal(run.status, 'failed');
  assert.match(run.reason, /bad: job \w+ failed: exit code 3/);
  assert.match(run.reason, /cannot find the data/);
  const resumed = await under.over((await under.pipelines.resume(run.id)).id);
  assert.notEqual(resumed.steps[0].job_id, run.steps[0].job_id);
  const refused = await under.over(
    (await under.run(pipeline('refused', [{ name: 'bad', run: { job: { command: ['sh', '$(id)'] } } }]))).id,
  );
  assert.match(refused.reason, /holds "\$\("/);
});

test('production takes what pre-production has had, once a person approves', async () => {
  const environment = (name: string, spec: object) => ({
    kind: 'PipelineEnvironment' as const,
    name,
    body: { apiVersion: 'switchyard/v1', kind: 'PipelineEnvironment', metadata: { name }, spec },
  });
  const production = {
    aliases: { champion: 'prod', challenger: 'prod-next' },
    promotesFrom: 'development',
    approval: true,
  };
  await under.pipelines.change([environment('production', production)], false);
  const held = await under.over((await under.run(WHOLE, {}, 'production')).id);
  assert.equal(held.status, 'held');
  assert.match(held.reason, /production takes approved versions only, .*nobody has approved it/);
  const promote = () =>
    under.pipelines.promote({
      model: 'letters',
      from: 'development',
      to: 'production',
      actor: 'tester',
      reason: 'release',
    });
  await assert.rejects(promote(), /approve version 1 of letters first/);
  const approve = (version: string) =>
    client.ok('PUT', `/api/v1/registry/models/letters/versions/${version}/approval`, {
      state: 'Approved',
      reason: 'ok',
    });
  await approve('1');
  assert.equal((await under.over((await under.pipelines.resume(held.id)).id)).status, 'succeeded');
  assert.equal((await aliases()).prod, '1');

  // A version of its own, which nobody has tried in development.
  const steps = STEPS.map((step) =>
    step.register === undefined ? step : { ...step, register: { ...step.register, config: 'name: "letters"' } },
  );
  const other = await under.over((await under.run(pipeline('letters', steps), {}, 'production')).id);
  assert.match(other.reason, /nobody has approved it/);
  await approve('2');
  const refused = await under.over((await under.pipelines.resume(other.id)).id);
  assert.match(
    refused.reason,
    /takes versions that development has deployed, and version 2 of letters never was champion there/,
  );
  assert.equal((await under.over((await under.run(pipeline('letters', steps))).id)).status, 'succeeded');
  const { webhook } = await client.ok('POST', '/api/v1/registry/webhooks', {
    name: 'promotions',
    url: 'http://127.0.0.1:9/',
    events: [{ entity: 'PROMOTION', action: 'CREATED' }],
  });
  await promote();
  assert.equal((await aliases()).prod, '2');
  // In the write of the move: it is there when the move is.
  const told = await under.queuedFor(webhook.webhook_id);
  assert.deepEqual(
    told.map(({ previous }) => previous),
    ['1'],
  );
  const { evidence } = await client.ok('GET', '/api/v1/registry/models/letters/versions/2/evidence');
  assert.deepEqual([evidence[0].kind, evidence[0].actor, evidence[0].detail.alias], ['promotion', 'tester', 'prod']);
  const { moves } = await client.ok('GET', '/api/v1/registry/models/letters/aliases/prod/history');
  assert.equal(moves[0].reason, 'promoted from development to production: release');
});

test('a deploy step may try the version on a route instead of moving the alias', async () => {
  const route = {
    apiVersion: 'switchyard/v1',
    kind: 'Route',
    metadata: { name: 'letters' },
    spec: {
      variants: {
        stable: { model: 'letters', version: '${champion}' },
        next: { model: 'letters', version: '${version}' },
      },
      strategy: { weighted: { stable: 90, next: 10 } },
    },
  };
  const steps = [...STEPS.slice(0, 6), { name: 'deploy', deploy: { version: 'register', route } }];
  const run = await under.over((await under.run(pipeline('letters', steps))).id);
  assert.equal(run.status, 'succeeded', run.reason);
  const [applied] = under.routes as { spec: { variants: Record<string, { version: string }> } }[];
  assert.deepEqual(
    Object.values(applied.spec.variants).map((variant) => variant.version),
    ['2', '1'],
  );
});
