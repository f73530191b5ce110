import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { RegistryUnderTest } from '../../testing/registry.ts';
import { scriptJob, trainingUnderTest } from '../../testing/training.ts';
import { marked } from '../runners/process/proc.ts';
import type { Training } from '../training.ts';
import type { Jobs, JobView } from './jobs.ts';
import { attemptName } from './record.ts';

const by = { actor: 'ada', reason: 'because' };

describe('jobs on this machine', { timeout: 600_000 }, () => {
  let registry: RegistryUnderTest;
  let training: Training;
  let jobs: Jobs;
  let errors: unknown[];
  const open = async (): Promise<void> => {
    const config = {
      secrets: { hf: { env: 'SWITCHYARD_TEST_SECRET' } },
      process: { minFreeBytes: 0, cpu: 8, gpus: 2, passEnvironment: ['SWITCHYARD_TEST_PASSED'] },
    };
    ({ training, errors } = await trainingUnderTest(registry, config));
    jobs = training.jobs;
  };
  before(async () => {
    process.env.SWITCHYARD_TEST_SECRET = 'hunter2-token';
    process.env.SWITCHYARD_TEST_PASSED = 'passed';
    registry = await RegistryUnderTest.open();
    await open();
  });
  after(async () => {
    await training.close();
    await registry.close();
  });

  const run = async (script: string, spec: Record<string, unknown> = {}): Promise<JobView> => {
    const { id } = await jobs.submit(scriptJob(script, spec), by);
    const job = await jobs.ended(id);
    for (let attempt = 1; attempt <= job.attempt; attempt++) assert.deepEqual(marked(attemptName(id, attempt)), []);
    return job;
  };
  const log = async (job: JobView, attempt?: number): Promise<string> =>
    (await jobs.logs(job.id, attempt, 0, 100_000)).bytes.toString();
  // biome-ignore lint/suspicious/noExplicitAny: MLflow's answer
  const runOf = async (job: JobView): Promise<any> => (await registry.ok('GET', 'runs/get', { run_id: job.runId })).run;
  const artifacts = async (job: JobView, path: string): Promise<string[]> => {
    const { files = [] } = await registry.ok('GET', 'artifacts/list', { run_id: job.runId, path });
    return files.map((file: { path: string }) => file.path);
  };
  const until = async (job: JobView, status: string): Promise<void> => {
    while ((await jobs.get(job.id))?.status !== status) await sleep(20);
  };

  test('from submission to success: run, params, metrics of plain output, progress, log, outputs', async () => {
    const seen: string[] = [];
    const events: string[] = [];
    const unsubscribe = jobs.subscribe((job) => seen.push(job.status));
    const hear = registry.registry.events.subscribe(({ type, data }) => events.push(`${type} ${data.status ?? ''}`));
    const script = [
      'echo "loss=0.5 step=1"',
      "echo \"{'loss': 0.25, 'epoch': 2.0}\"",
      'printf "progress=0.5\\n"',
      'mkdir -p out/deep && echo weights > out/deep/model.bin && ln -s /etc/passwd out/link && echo one > one.txt',
    ].join('\n');
    const spec = {
      params: { lr: 0.1 },
      tags: { team: 'vision' },
      experiment: 'Digits',
      outputs: [
        { name: 'model', path: 'out' },
        { name: 'single', path: 'one.txt' },
        { name: 'extra', path: 'nothing', optional: true },
      ],
    };
    const job = await run(script, spec);
    // Both are told of after what they tell is stored, which `ended` may have seen.
    while (!seen.includes('succeeded') || !events.includes('job.updated succeeded')) await sleep(10);
    unsubscribe();
    hear();
    assert.deepEqual([job.status, job.reason, job.exitCode, job.attempt], ['succeeded', '', 0, 1]);
    assert.deepEqual([job.metrics, job.progress], [{ loss: 0.25 }, 0.5]);
    assert.deepEqual([...new Set(seen)], ['queued', 'provisioning', 'starting', 'running', 'succeeded']);
    assert.ok(events.includes('job.created queued') && events.includes('job.updated succeeded'), events.join());
    const { info, data } = await runOf(job);
    assert.deepEqual([info.status, info.run_name, info.user_id], ['FINISHED', 'demo', 'ada']);
    assert.ok(info.end_time >= info.start_time);
    assert.deepEqual(data.params, [{ key: 'lr', value: '0.1' }]);
    assert.ok(
      data.tags.some(({ key, value }: { key: string; value: string }) => key === 'switchyard.job' && value === job.id),
    );
    const { metrics } = await registry.ok('GET', 'metrics/get-history', { run_id: job.runId, metric_key: 'loss' });
    assert.deepEqual(
      metrics.map(({ value, step }: { value: number; step: number }) => [value, step]),
      [
        [0.5, 1],
        [0.25, 2],
      ],
    );
    assert.deepEqual(await artifacts(job, 'model/deep'), ['model/deep/model.bin']);
    assert.deepEqual(await artifacts(job, 'model'), ['model/deep']);
    assert.deepEqual(await artifacts(job, 'single'), ['single/one.txt']);
    assert.deepEqual(await artifacts(job, 'logs'), ['logs/attempt-1.log']);
    assert.match(await log(job), /^loss=0\.5 step=1\n/);
    assert.match(job.logTail ?? '', /progress=0\.5/);
  });

  test('a clean environment: what was allowed, what was given, secrets unseen', async () => {
    const job = await run('env | sort', {
      env: { MINE: '1' },
      secretRefs: { TOKEN: 'hf' },
      resources: { gpu: 1, cpu: 2 },
    });
    const text = await log(job);
    const names = text.split('\n').map((line) => line.split('=')[0]);
    assert.ok(!text.includes('hunter2'));
    for (const line of [
      'TOKEN=***',
      'MINE=1',
      'SWITCHYARD_TEST_PASSED=passed',
      'CUDA_VISIBLE_DEVICES=0',
      'OMP_NUM_THREADS=2',
    ])
      assert.ok(text.split('\n').includes(line), `${line} in ${text}`);
    assert.ok(text.includes(`MLFLOW_RUN_ID=${job.runId}`) && text.includes(`MLFLOW_EXPERIMENT_ID=${job.experimentId}`));
    for (const name of ['USER', 'NODE_OPTIONS', 'SWITCHYARD_TEST_SECRET', 'MLFLOW_TRACKING_TOKEN'])
      assert.ok(!names.includes(name), name);
    const kept = await registry.registry.database.read((db) =>
      db.selectFrom('job_documents').select('document').execute(),
    );
    assert.ok(!JSON.stringify(kept).includes('hunter2'));
  });

  test('a checkpoint survives an attempt that could not be prepared', async () => {
    const { run: made } = await registry.ok('POST', 'runs/create', { experiment_id: '0' });
    const url = `${registry.url}/api/2.0/mlflow-artifacts/artifacts/0/${made.info.run_id}/artifacts/data`;
    await fetch(url, { method: 'PUT', body: 'data' });
    const go = join(registry.dataDir, 'go');
    const script = `
if [ -e ckpt/n ]; then echo "found $(cat ckpt/n)"; exit 0; fi
echo one > ckpt/n; echo written; while [ ! -e "$GO" ]; do sleep 0.05; done; exit 3`;
    const spec = {
      env: { GO: go },
      retry: { max: 1, backoffSeconds: 0 },
      checkpoint: { path: 'ckpt' },
      inputs: [{ name: 'data', source: `runs:/${made.info.run_id}/data` }],
    };
    const { id } = await jobs.submit(scriptJob(script, spec), by);
    while (!(await jobs.logs(id, undefined, 0, 1000)).bytes.includes('written')) await sleep(20);
    await fetch(url, { method: 'DELETE' });
    writeFileSync(go, '');
    const failed = await jobs.ended(id);
    assert.deepEqual([failed.status, failed.attempt], ['failed', 2], failed.reason);
    assert.match(failed.reason, /input "data"/);
    await fetch(url, { method: 'PUT', body: 'data' });
    await jobs.retry(id, by);
    const again = await jobs.ended(id);
    assert.deepEqual([again.status, again.attempt], ['succeeded', 3], again.reason);
    assert.equal(await log(again), 'found one\n');
  });

  test('a gate judges the version that the job registers: only what passes becomes challenger', async () => {
    await registry.ok('POST', 'registered-models/create', { name: "o'model" });
    const go = join(registry.dataDir, 'gate');
    /** The script prints its metric; what it registers by the client is registered here meanwhile. */
    const train = async (accuracy: number, more: object[] = [], register = true): Promise<JobView> => {
      rmSync(go, { force: true });
      const script = `echo "accuracy=${accuracy} step=1"; while [ ! -e "$GO" ]; do sleep 0.05; done`;
      const rules = [{ metric: 'accuracy', op: '>=', value: 0.5 }, ...more];
      const { id } = await jobs.submit(scriptJob(script, { env: { GO: go }, gate: { model: "o'model", rules } }), by);
      const view = (await jobs.get(id)) as JobView;
      await until(view, 'running');
      const source = `runs:/${view.runId}/model`;
      if (register) await registry.ok('POST', 'model-versions/create', { name: "o'model", source, run_id: view.runId });
      writeFileSync(go, '');
      return jobs.ended(id);
    };
    const alias = async (name: string): Promise<string | undefined> => {
      const { json } = await registry.call('GET', 'registered-models/alias', { name: "o'model", alias: name });
      return json.model_version?.version;
    };
    const first = await train(0.6);
    assert.deepEqual(
      [first.status, first.reason],
      ['succeeded', 'gate of version 1: pass: accuracy is 0.6, must be >= 0.5; it is challenger now'],
    );
    assert.equal(await alias('challenger'), '1');
    const low = await train(0.4);
    assert.deepEqual(
      [low.status, low.reason],
      ['succeeded', 'gate of version 2: fail: accuracy is 0.4, must be >= 0.5'],
    );
    await registry.ok('POST', 'registered-models/alias', { name: "o'model", alias: 'champion', version: '1' });
    const worse = await train(0.55, [{ metric: 'accuracy', vs: 'champion', maxRegression: 0.01 }]);
    assert.match(worse.reason, /version 3: fail: accuracy is 0\.55, 0\.6 of the champion \(version 1\)/);
    const unknown = await train(0.7, [{ metric: 'f1', op: '>', value: 0 }]);
    assert.match(unknown.reason, /version 4: hold: f1: the evaluation has no such metric; it has accuracy/);
    assert.equal(await alias('challenger'), '1');
    const better = await train(0.7, [{ metric: 'accuracy', vs: 'champion', minDelta: 0.05 }]);
    assert.match(better.reason, /it is challenger now/);
    assert.equal(await alias('challenger'), '5');
    assert.match((await train(0.7, [], false)).reason, /the run has registered no version of "o'model"/);
    const url = "/api/v1/registry/models/o'model/versions";
    const { evidence } = await registry.ok('GET', `${url}/2/evidence`, {});
    assert.deepEqual([evidence.length, evidence[0].outcome, evidence[0].detail.job], [1, 'fail', low.id]);
    assert.equal(evidence[0].detail.rules[0].value, 0.4);
    assert.throws(
      () => scriptJob('', { gate: { model: 'm', rules: [{ metric: 'a', op: '>', value: 1, slice: 'x' }] } }),
      /gate\.rules\.0\.slice: a job is judged by the metrics of its run/,
    );
    assert.deepEqual(errors, []);
  });

  test('one that fails is retried with its checkpoint, and its end says why and what next', async () => {
    const script = 'echo attempt $SWITCHYARD_ATTEMPT_NUMBER; cat ckpt/n 2>/dev/null; echo x >> ckpt/n; exit 3';
    const spec = { retry: { max: 1, backoffSeconds: 0.1 }, checkpoint: { path: 'ckpt' } };
    const job = await run(script, spec);
    assert.deepEqual([job.status, job.reason, job.exitCode, job.attempt], ['failed', 'exit code 3', 3, 2]);
    assert.match(job.nextStep ?? '', /read the end of the log/);
    assert.match(job.logTail ?? '', /attempt 2/);
    assert.equal(await log(job, 1), 'attempt 1\n');
    assert.equal(await log(job, 2), 'attempt 2\nx\n');
    assert.equal((await runOf(job)).info.status, 'FAILED');
    // Another round, in the same run.
    await jobs.retry(job.id, by);
    const again = await jobs.ended(job.id);
    assert.deepEqual([again.status, again.attempt, again.runId], ['failed', 4, job.runId]);
    assert.equal(await log(again, 4), 'attempt 4\nx\nx\nx\n');
    // And another job goes on from there.
    const next = await run('cat ckpt/n | wc -l', { checkpoint: { path: 'ckpt' }, resumeFrom: job.id });
    assert.equal((await log(next)).trim(), '4');
    const states = (await training.jobs.history(job.id)).map(({ status }) => status);
    assert.deepEqual(states.slice(0, 6), ['queued', 'provisioning', 'starting', 'running', 'retrying', 'provisioning']);
  });

  test('cancel: what runs, and what waits', async () => {
    const long = await jobs.submit(scriptJob('echo up; sleep 300'), by);
    await until(long, 'running');
    await jobs.cancel(long.id, { actor: 'bob', reason: 'too slow' });
    const end = await jobs.ended(long.id);
    assert.deepEqual([end.status, end.reason], ['cancelled', 'cancelled by bob: too slow']);
    assert.deepEqual(marked(attemptName(long.id, 1)), []);
    assert.equal((await runOf(end)).info.status, 'KILLED');
    assert.equal((await jobs.cancel(long.id, by)).status, 'cancelled');
  });

  test('one that hangs without a word, one that runs too long, one that never wrote its output', async () => {
    const hung = await run('echo begun; sleep 300', { heartbeatSeconds: 1 });
    assert.deepEqual([hung.status, hung.reason], ['failed', 'it hung: no output and no metric for 1 s']);
    const late = await run('while :; do echo .; sleep 0.1; done', { timeoutSeconds: 1, heartbeatSeconds: 5 });
    assert.deepEqual([late.status, late.reason], ['timedOut', 'it ran longer than 1 s']);
    const empty = await run('true', { outputs: [{ name: 'model', path: 'model.onnx' }] });
    assert.deepEqual([empty.status, empty.reason], ['failed', 'output "model": it has not written "model.onnx"']);
    const link = await run('ln -s /etc out', { outputs: [{ name: 'model', path: 'out/passwd' }] });
    assert.match(link.reason, /is a link or behind one/);
  });

  test('inputs come checked: an artifact, a file by its digest, and not one that differs', async () => {
    const bytes = 'some data';
    const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
    const source = await run('mkdir d; printf "some data" > d/a.txt; echo b > d/b.txt', {
      outputs: [{ name: 'd', path: 'd' }],
    });
    const inputs = [
      { name: 'folder', source: `runs:/${source.runId}/d` },
      { name: 'file', source: `runs:/${source.runId}/d/a.txt`, digest, path: 'given' },
      { name: 'blob', digest },
    ];
    const job = await run('cat "$SWITCHYARD_INPUT_FOLDER"/a.txt given/a.txt inputs/blob; ls inputs/folder', { inputs });
    assert.equal(await log(job), `${bytes.repeat(3)}a.txt\nb.txt\n`);
    const other = await run('true', {
      inputs: [{ ...inputs[1], digest: digest.replace(/.$/, (c) => (c === '0' ? '1' : '0')) }],
    });
    assert.match(other.reason, /input "file": runs:\/.* is sha256:.*, and sha256:.* was asked for/);
    const missing = await run('true', { inputs: [{ name: 'x', source: 'models:/nobody/1' }] });
    assert.equal(missing.status, 'failed');
    assert.match(missing.reason, /input "x": /);
  });

  test('one idempotency key makes one job, also at once', async () => {
    const document = scriptJob('true', { idempotencyKey: 'night/1' });
    const made = await Promise.all([1, 2, 3].map(() => jobs.submit(document, by)));
    assert.equal(new Set(made.map(({ id }) => id)).size, 1);
    await jobs.ended(made[0].id);
  });

  test('what the server cannot give is refused before it is kept', async () => {
    const refused = async (spec: Record<string, unknown>, message: RegExp): Promise<void> => {
      await assert.rejects(jobs.submit(scriptJob('true', spec), by), message);
    };
    await refused({ resources: { cpu: 64 } }, /spec\.resources\.cpu: 64 is more than the 8/);
    await refused({ resources: { gpu: 3 } }, /spec\.resources\.gpu/);
    await refused({ secretRefs: { A: 'nope' } }, /"nope" is not in training\.secrets; there are: hf/);
    await refused({ environment: { python: 'two' } }, /not in training\.pythons; there are: default/);
    await refused({ environment: { requirementsFile: 'r.txt' } }, /not among the job's files/);
    await refused({ sourceDir: '/etc' }, /does not lie in a folder of training\.sourceDirs/);
    await refused({ resumeFrom: 'abcdefgh1' }, /needs spec\.checkpoint/);
    await refused({ resumeFrom: 'abcdefgh1', checkpoint: { path: 'c' } }, /there is no job "abcdefgh1"/);
    await refused({ nodes: 2 }, /spec\.nodes: 2 is not allowed/);
    await refused({ runner: 'ray' }, /ray is not configured on this server; there are: process/);
  });

  test('a job waits for its resources, and small ones pass it meanwhile', async () => {
    const holder = await jobs.submit(scriptJob('echo up; sleep 300', { resources: { cpu: 6 } }), by);
    await until(holder, 'running');
    const large = await jobs.submit(scriptJob('true', { resources: { cpu: 4 } }), by);
    const small = await jobs.submit(scriptJob('true', { resources: { cpu: 1 } }), by);
    await jobs.ended(small.id);
    assert.equal((await jobs.get(large.id))?.status, 'queued');
    await jobs.cancel(holder.id, by);
    assert.equal((await jobs.ended(large.id)).status, 'succeeded');
  });

  test('a server that goes and comes again takes up what runs, reads on, and loses nothing', async () => {
    const job = await jobs.submit(scriptJob('for i in 1 2 3 4 5 6; do echo "loss=0.$i step=$i"; sleep 0.4; done'), by);
    await until(job, 'running');
    await training.close();
    await open();
    const end = await jobs.ended(job.id);
    assert.deepEqual([end.status, end.attempt, end.metrics.loss], ['succeeded', 1, 0.6]);
    const { metrics } = await registry.ok('GET', 'metrics/get-history', { run_id: job.runId, metric_key: 'loss' });
    assert.equal(metrics.length, 6);
  });

  test('metrics that the job reports by itself are its own', async () => {
    const call = `curl -s -X POST "$MLFLOW_TRACKING_URI/api/2.0/mlflow/runs/log-metric" -d "{\\"run_id\\":\\"$MLFLOW_RUN_ID\\",\\"key\\":\\"acc\\",\\"value\\":0.9,\\"timestamp\\":1,\\"step\\":3}"`;
    const job = await run(`${call}\necho "acc=0.1 other=2"`);
    assert.deepEqual(job.metrics, { acc: 0.9, other: 2 });
  });

  test('pages, newest first, by state and by name', async () => {
    const { jobs: first, nextPageToken } = await jobs.list({ maxResults: 2 });
    assert.equal(first.length, 2);
    const { jobs: second } = await jobs.list({ maxResults: 2, pageToken: nextPageToken });
    assert.ok(second[0].id < first[1].id);
    const failed = await jobs.list({ status: 'timedOut' });
    assert.ok(failed.jobs.length > 0 && failed.jobs.every(({ status }) => status === 'timedOut'));
    assert.deepEqual((await jobs.list({ name: 'nobody' })).jobs, []);
    await assert.rejects(jobs.list({ pageToken: 'x' }), /page_token/);
  });

  test('removing: not what runs; then files and rows are gone, and the run stays', async () => {
    const job = await jobs.submit(scriptJob('sleep 300'), by);
    await until(job, 'running');
    await assert.rejects(jobs.remove(job.id), /cancel it first/);
    await jobs.cancel(job.id, by);
    await jobs.ended(job.id);
    await jobs.remove(job.id);
    assert.equal(await jobs.get(job.id), undefined);
    assert.equal((await runOf(job)).info.status, 'KILLED');
    const folders = readdirSync(join(registry.dataDir, 'training-data', 'training', 'attempts'));
    assert.ok(!folders.some((name) => name.includes(job.id)));
    await assert.rejects(jobs.logs(job.id, undefined, 0, 10), /no such job/);
  });

  test('metrics for Prometheus, and no error in the log', () => {
    const text = training.metrics();
    assert.match(text, /switchyard_jobs_ended_total\{status="succeeded"\} \d+/);
    assert.match(text, /switchyard_job_queue_seconds_count \d+/);
    assert.deepEqual(errors, []);
  });
});
