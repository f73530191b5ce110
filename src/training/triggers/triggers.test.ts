import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { startAdminServer } from '../../admin/server.ts';
import { fakeAdmin } from '../../testing/admin-services.ts';
import { PipelinesUnderTest } from '../../testing/pipelines.ts';

const SECRET = 'correct-horse';
process.env.SWITCHYARD_TEST_TRIGGER_SECRET = SECRET;

const under = await PipelinesUnderTest.open();
const { services } = fakeAdmin({ server: { adminPort: 0, adminToken: 'the-token-of-operators' } });
const admin = await startAdminServer({ ...services, pipelines: under.pipelines }, services.config().server);
/** What a webhook was told, as "entity.action status", and when that happened. Two deliveries may be on their way at once. */
const told: { what: string; at: string }[] = [];
const receiver = createServer((request, response) => {
  let body = '';
  request.on('data', (chunk: Buffer) => {
    body += chunk.toString();
  });
  request.on('end', () => {
    const { entity, action, timestamp, data } = JSON.parse(body) as Record<
      'entity' | 'action' | 'timestamp',
      string
    > & {
      data: { status?: string };
    };
    told.push({ what: `${entity}.${action} ${data.status ?? ''}`.trim(), at: timestamp });
    response.end();
  });
});
await new Promise<void>((resolve) => receiver.listen(0, '127.0.0.1', resolve));
after(async () => {
  await admin.close(0);
  receiver.closeAllConnections();
  receiver.close();
  await under.close();
});

writeFileSync(join(under.folder, 'data.csv'), 'a,label\n1,0\n2,1\n');
const document = (kind: 'Pipeline' | 'Trigger', name: string, spec: object) => ({
  kind,
  name,
  body: { apiVersion: 'switchyard/v1', kind, metadata: { name }, spec },
});
const trigger = (name: string, when: object) => document('Trigger', name, { pipeline: 'small', when, debounce: '0s' });

/** Waits for the run that a trigger has started, and for its end. */
async function started(name: string): Promise<{ status: string; cause: string; trigger: string | null }> {
  const triggers = await under.pipelines.triggers();
  for (;;) {
    const { last_run } = await triggers.get(name);
    if (last_run !== null) return under.over(last_run);
    await sleep(50);
  }
}

test('a webhook hears of a run that a schedule has started, of its steps and of its end', {
  timeout: 600_000,
}, async () => {
  const events = ['TRIGGER.FIRED', 'PIPELINE_RUN.CREATED', 'PIPELINE_RUN.UPDATED', 'PIPELINE_STEP.UPDATED'];
  await under.registry.ok('POST', '/api/v1/registry/webhooks', {
    name: 'pipelines',
    url: `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/hook`,
    events: events.map((event) => ({ entity: event.split('.')[0], action: event.split('.')[1] })),
  });
  const steps = [{ name: 'data', ingest: { source: 'data.csv' } }];
  await under.pipelines.change(
    [document('Pipeline', 'small', { steps }), trigger('clock', { schedule: { cron: '* * * * * *' } })],
    false,
  );
  const run = await started('clock');
  assert.deepEqual([run.status, run.trigger], ['succeeded', 'clock']);
  assert.match(run.cause, /^schedule \* \* \* \* \* \*, due 20/);
  await under.pipelines.change([{ kind: 'Trigger', name: 'clock', body: undefined }], false);
  const wanted = ['pipeline_run.created running', 'pipeline_step.updated succeeded', 'pipeline_run.updated succeeded'];
  const first = (one: string) => told.find(({ what }) => what === one)?.at;
  while (![...wanted, 'trigger.fired'].every(first)) await sleep(50);
  const times = wanted.map(first);
  assert.deepEqual(times, times.toSorted(), JSON.stringify(told));
});

test('a signed request to the admin port starts a run, and no other does', { timeout: 600_000 }, async () => {
  const secret = 'SWITCHYARD_TEST_TRIGGER_SECRET';
  await under.pipelines.change(
    [trigger('ci', { ci: { secret } }), trigger('revenue', { business: { op: '<', value: 10, webhook: { secret } } })],
    false,
  );
  const send = async (name: string, body: string, id: string, key = SECRET): Promise<number> => {
    const timestamp = Math.floor(Date.now() / 1000);
    const mac = createHmac('sha256', key).update(`${id}.${timestamp}.${body}`).digest('base64');
    const headers = {
      'X-Switchyard-Signature': `v1,${mac}`,
      'X-Switchyard-Delivery': id,
      'X-Switchyard-Timestamp': String(timestamp),
    };
    const url = `http://127.0.0.1:${admin.port}/api/v1/triggers/${name}/webhook`;
    return (await fetch(url, { method: 'POST', headers, body })).status;
  };
  assert.equal(await send('ci', '{}', 'a', 'wrong'), 403);
  assert.equal(await send('ci', '{"ref": "main"}', 'b'), 200);
  assert.equal(await send('ci', '{"ref": "main"}', 'b'), 409);
  assert.equal((await started('ci')).status, 'succeeded');
  assert.equal(await send('revenue', '{"value": 12}', 'c'), 200);
  const triggers = await under.pipelines.triggers();
  assert.deepEqual([(await triggers.get('revenue')).pending, (await triggers.get('revenue')).last_run], [null, null]);
  assert.equal(await send('revenue', '{"value": 8}', 'd'), 200);
  assert.match((await started('revenue')).cause, /the reported figure is 8, 12 before: < 10/);
});

test('a run that ends with a figure below its limit starts another pipeline', { timeout: 600_000 }, async () => {
  const { experiment_id } = await under.registry.ok('POST', 'experiments/create', { name: 'watched' });
  await under.pipelines.change(
    [trigger('worse', { performance: { experiment: 'watched', metric: 'accuracy', op: '<', value: 0.9 } })],
    false,
  );
  await under.pipelines.triggers();
  for (const value of [0.95, 0.8]) {
    const { run } = await under.registry.ok('POST', 'runs/create', { experiment_id });
    const { run_id } = run.info;
    await under.registry.ok('POST', 'runs/log-metric', { run_id, key: 'accuracy', value, timestamp: 1, step: 0 });
    await under.registry.ok('POST', 'runs/update', { run_id, status: 'FINISHED', end_time: 2 });
  }
  const run = await started('worse');
  assert.deepEqual(
    [run.status, /accuracy of run .* is 0\.8.*: < 0\.9/.test(run.cause)],
    ['succeeded', true],
    run.cause,
  );
});
