import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { startAdminServer } from '../../admin/server.ts';
import type { HttpServer } from '../../server/http/socket.ts';
import { signRunToken, verifyRunToken } from '../../shared/run-token.ts';
import { fakeAdmin } from '../../testing/admin-services.ts';
import { RegistryUnderTest } from '../../testing/registry.ts';
import { scriptJob, trainingUnderTest } from '../../testing/training.ts';
import type { Training } from '../../training/training.ts';
import type { RegistryError } from '../errors.ts';
import { RegistryFront } from '../front.ts';
import { tokenScope } from './scope.ts';

const TOKEN = 'correct-horse-battery-staple';

describe("a job's token", { timeout: 600_000 }, () => {
  let registry: RegistryUnderTest;
  let training: Training;
  let admin: HttpServer;
  let url: string;
  let job: { id: string; runId: string; experimentId: string };
  let token: string;

  const call = async (method: string, path: string, body?: object, given = token): Promise<[number, string]> => {
    const answer = await fetch(`${url}${path.startsWith('/') ? path : `/api/2.0/mlflow/${path}`}`, {
      method,
      headers: { authorization: `Bearer ${given}` },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    return [answer.status, await answer.text()];
  };
  const may = async (method: string, path: string, body?: object): Promise<string> => {
    const [status, text] = await call(method, path, body);
    assert.equal(status, 200, `${method} ${path} ${text}`);
    return text;
  };
  const mayNot = async (method: string, path: string, body?: object): Promise<void> => {
    const [status, text] = await call(method, path, body);
    assert.equal(status, 403, `${method} ${path} ${text}`);
    assert.match(text, /may not make this call/);
  };

  before(async () => {
    registry = await RegistryUnderTest.open();
    const { services } = fakeAdmin({ server: { adminPort: 0, adminToken: TOKEN } });
    const front = new RegistryFront(
      async () => registry.registry,
      () => {},
    );
    admin = await startAdminServer({ ...services, registry: front }, services.config().server);
    url = `http://127.0.0.1:${admin.port}`;
    ({ training } = await trainingUnderTest(registry, { process: { minFreeBytes: 0 } }));
    const { id } = await training.jobs.submit(scriptJob('sleep 300'), { actor: 'ada', reason: '' });
    for (;;) {
      const view = await training.jobs.get(id);
      assert.ok(view !== undefined);
      job = { id, runId: view.runId, experimentId: view.experimentId };
      if (view.status === 'running') break;
      await sleep(20);
    }
    token = signRunToken(TOKEN, {
      jobId: job.id,
      runId: job.runId,
      experimentId: job.experimentId,
      expiresAt: Date.now() + 60_000,
    });
  });
  after(async () => {
    await admin.close(0);
    await training.close();
    await registry.close();
  });

  test('reads everything', async () => {
    await may('GET', `runs/get?run_id=${job.runId}`);
    await may('POST', 'runs/search', { experiment_ids: ['0'] });
    await may('GET', 'experiments/get-by-name?experiment_name=Default');
    await may('GET', 'registered-models/search');
  });

  test('writes its run, child runs, their artifacts, models and versions', async () => {
    const { runId, experimentId } = job;
    await may('POST', 'runs/log-batch', { run_id: runId, metrics: [{ key: 'a', value: 1, timestamp: 1 }] });
    await may('POST', 'runs/update', { run_id: runId, status: 'FINISHED' });
    const tags = [{ key: 'mlflow.parentRunId', value: runId }];
    const child = JSON.parse(await may('POST', 'runs/create', { experiment_id: experimentId, tags })).run.info.run_id;
    await may('POST', 'runs/log-metric', { run_id: child, key: 'a', value: 1, timestamp: 1 });
    const files = '/api/2.0/mlflow-artifacts/artifacts';
    await may('PUT', `${files}/${experimentId}/${runId}/artifacts/a.txt`, {});
    await may('PUT', `${files}/${experimentId}/${runId}/artifacts/.checkpoint/1-00000000/state`, {});
    const digest = createHash('sha256').update('{}').digest('hex');
    assert.equal(await may('GET', `/api/v1/registry/blobs/sha256:${digest}`), '{}');
    const model = JSON.parse(
      await may('POST', 'logged-models', { experiment_id: experimentId, name: 'm', source_run_id: runId }),
    ).model.info.model_id;
    await may('PUT', `${files}/${experimentId}/models/${model}/artifacts/m.txt`, {});
    await may('PATCH', `logged-models/${model}`, { model_id: model, status: 'LOGGED_MODEL_READY' });
    await may('POST', 'registered-models/create', { name: 'made-by-job' });
    const version = (source: string, more: object = {}): Promise<string> =>
      may('POST', 'model-versions/create', { name: 'made-by-job', source, ...more });
    await version(`models:/${model}`, { run_id: runId });
    await version(`models:/${model}`, { model_id: model });
    await version(`runs:/${runId}/a.txt`);
    await version(`mlflow-artifacts:/${experimentId}/${runId}/artifacts/a.txt`);
  });

  test('writes runs below its children too, and none below those of others', async () => {
    const nested = (parent: string, more: object[] = []) => ({
      experiment_id: job.experimentId,
      tags: [{ key: 'mlflow.parentRunId', value: parent }, ...more],
    });
    const below = async (parent: string): Promise<string> =>
      JSON.parse(await may('POST', 'runs/create', nested(parent))).run.info.run_id;
    let run = job.runId;
    for (let depth = 1; depth <= 8; depth++) {
      run = await below(run);
      await may('POST', 'runs/log-metric', { run_id: run, key: 'a', value: 1, timestamp: 1 });
    }
    const files = '/api/2.0/mlflow-artifacts/artifacts';
    await may('PUT', `${files}/${job.experimentId}/${run}/artifacts/a.txt`, {});
    await mayNot('POST', 'runs/create', nested(run));

    const other = (await registry.ok('POST', 'runs/create', { experiment_id: '0' })).run.info.run_id;
    const child = (await registry.ok('POST', 'runs/create', nested(other))).run.info.run_id;
    const two = [nested(other), nested(child), nested(job.runId, [{ key: 'mlflow.parentRunId', value: other }])];
    for (const body of two) await mayNot('POST', 'runs/create', body);
    const grandchild = (await registry.ok('POST', 'runs/create', nested(child))).run.info.run_id;
    await mayNot('POST', 'runs/log-metric', { run_id: grandchild, key: 'a', value: 1, timestamp: 1 });
    // Two runs that are each other's parent end the climb too.
    const tag = { run_id: other, key: 'mlflow.parentRunId', value: child };
    await registry.ok('POST', 'runs/set-tag', tag);
    await mayNot('POST', 'runs/log-metric', { run_id: other, key: 'a', value: 1, timestamp: 1 });
  });

  test('writes nothing else', async () => {
    const other = (await registry.ok('POST', 'runs/create', { experiment_id: '0' })).run.info.run_id;
    const files = '/api/2.0/mlflow-artifacts/artifacts';
    await mayNot('POST', 'runs/log-metric', { run_id: other, key: 'a', value: 1, timestamp: 1 });
    await mayNot('POST', 'runs/create', { experiment_id: job.experimentId });
    await mayNot('POST', 'runs/create', {
      experiment_id: '0',
      tags: [{ key: 'mlflow.parentRunId', value: job.runId }],
    });
    await mayNot('POST', 'runs/delete', { run_id: job.runId });
    await mayNot('PUT', `${files}/0/${other}/artifacts/a.txt`, {});
    await mayNot('PUT', `${files}/anywhere.txt`, {});
    for (const source of [`runs:/${other}/a`, `mlflow-artifacts:/0/${other}/artifacts/a`, 'models:/made-by-job/1'])
      await mayNot('POST', 'model-versions/create', { name: 'made-by-job', source, run_id: job.runId });
    await mayNot('POST', 'model-versions/create', {
      name: 'made-by-job',
      source: `runs:/${job.runId}/a`,
      run_id: other,
    });
    await mayNot('DELETE', `${files}/${job.experimentId}/${job.runId}/artifacts/a.txt`);
    await mayNot('POST', 'registered-models/alias', { name: 'made-by-job', alias: 'champion', version: '1' });
    await mayNot('PUT', '/api/v1/registry/models/made-by-job/aliases/champion', { version: '1', reason: '' });
    await mayNot('POST', 'experiments/create', { name: 'new' });
    await mayNot('POST', '/api/v1/registry/gc', {});
    // The rest of the admin port knows it not at all.
    assert.equal((await call('GET', '/api/v1/models'))[0], 401);
    assert.equal((await call('GET', '/api/v1/jobs'))[0], 401);
  });

  test('changes nothing of others by any call of the registry', async () => {
    const { routes } = registry.registry.rest;
    const strange = 'f'.repeat(32);
    const values = {
      ...{
        run_id: strange,
        model_id: `m-${strange}`,
        source_run_id: strange,
        experiment_id: job.experimentId,
        tags: [],
      },
      ...{ path: `0/${strange}/artifacts/a`, source: `runs:/${strange}/a`, name: 'm', version: '1' },
    };
    // What only asks though it is a POST, models to make versions of, and a call that always says there is no such thing.
    const allowed = [
      ...['mlflowSearchRuns', 'mlflowSearchExperiments', 'mlflowSearchLoggedModels', 'mlflowGetLatestVersions'],
      ...['mlflowCreateRegisteredModel', 'createMultipartUpload'],
    ];
    const check = tokenScope(registry.registry.database);
    const claims = { jobId: job.id, runId: job.runId, experimentId: job.experimentId, expiresAt: Date.now() + 60_000 };
    const open: string[] = [];
    for (const route of routes) {
      if (route.method === 'GET') continue;
      await check(claims, route, values).then(
        () => open.push(route.operationId),
        (error: RegistryError) => assert.equal(error.registryCode, 'PERMISSION_DENIED', route.operationId),
      );
      if (!('stream' in route) || allowed.includes(route.operationId)) continue;
      await mayNot(route.method, route.path.replace('{path*}', values.path).replaceAll(/\{\w+\}/g, '1'), {});
    }
    assert.deepEqual(open.sort(), allowed.sort());
  });

  test('is none when forged, over, or when the job is', async () => {
    const claims = { jobId: job.id, runId: job.runId, experimentId: job.experimentId, expiresAt: Date.now() + 60_000 };
    assert.deepEqual(verifyRunToken(TOKEN, signRunToken(TOKEN, claims), Date.now()), claims);
    const path = `runs/get?run_id=${job.runId}`;
    for (const given of [
      signRunToken('another-secret-of-another', claims),
      signRunToken(TOKEN, { ...claims, expiresAt: Date.now() - 1 }),
      token.replace(
        job.runId,
        job.runId.replace(/^./, (c) => (c === '0' ? '1' : '0')),
      ),
      token.slice(0, -1),
    ])
      assert.equal((await call('GET', path, undefined, given))[0], 401);
    await training.jobs.cancel(job.id, { actor: 'ada', reason: '' });
    await training.jobs.ended(job.id);
    assert.equal((await call('GET', path))[0], 403);
  });
});
