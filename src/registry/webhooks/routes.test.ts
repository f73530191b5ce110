import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, test } from 'node:test';
import { MODEL_ID, ModelsUnderTest, OWN } from '../../testing/model-registry.ts';
import { RegistryUnderTest } from '../../testing/registry.ts';

const models = await ModelsUnderTest.open();
after(() => models.close());
const { registry, refused } = models;

const received: { request: IncomingMessage; body: string }[] = [];
let statuses: number[] = [];
const receiver = createServer((request, response) => {
  let body = '';
  request.on('data', (chunk: Buffer) => {
    body += chunk.toString();
  });
  request.on('end', () => {
    received.push({ request, body });
    response.writeHead(statuses.shift() ?? 200).end('thanks');
  });
});
before(() => new Promise<void>((resolve) => receiver.listen(0, '127.0.0.1', resolve)));
after(() => {
  receiver.closeAllConnections();
  receiver.close();
});
const url = (path: string): string => `http://127.0.0.1:${(receiver.address() as AddressInfo).port}${path}`;
const until = async (check: () => boolean | Promise<boolean>): Promise<void> => {
  for (let i = 0; i < 2400; i++) {
    if (await check()) return;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  assert.fail('not within a minute');
};
const events = [
  { entity: 'REGISTERED_MODEL', action: 'CREATED' },
  { entity: 'MODEL_VERSION_ALIAS', action: 'CREATED' },
];

test('a webhook gets what it asked for, signed as MLflow signs, and nothing else', async () => {
  const { webhook } = await registry.ok('POST', 'webhooks', {
    name: 'hook',
    url: url('/a'),
    events,
    secret: 'geheim',
  });
  assert.equal(webhook.status, 'ACTIVE');
  assert.equal(JSON.stringify(webhook).includes('geheim'), false);
  statuses = [503];
  await registry.ok('POST', 'registered-models/create', { name: 'hooked', tags: [{ key: 'k', value: 'v' }] });
  await registry.ok('POST', 'model-versions/create', { name: 'hooked', source: `models:/${MODEL_ID}` });
  await registry.ok('POST', 'registered-models/alias', { name: 'hooked', alias: 'champion', version: '1' });
  await until(() => received.length >= 3);
  const bodies = received.map(({ body }) => JSON.parse(body) as { entity: string; action: string; data: object });
  const created = bodies.filter(({ entity }) => entity === 'registered_model');
  assert.equal(created.length, 2, 'the refused delivery came again');
  assert.deepEqual(created[0].data, { name: 'hooked', tags: { k: 'v' }, description: null });
  const alias = bodies.find(({ entity }) => entity === 'model_version_alias');
  assert.deepEqual(alias?.data, { name: 'hooked', alias: 'champion', version: '1' });
  for (const { request, body } of received) {
    const id = request.headers['x-mlflow-delivery-id'];
    const signed = `${id}.${request.headers['x-mlflow-timestamp']}.${body}`;
    const mac = createHmac('sha256', 'geheim').update(signed).digest('base64');
    assert.equal(request.headers['x-mlflow-signature'], `v1,${mac}`);
  }
  const tries = received.filter(({ body }) => body.includes('registered_model'));
  assert.equal(tries[0].request.headers['x-mlflow-delivery-id'], tries[1].request.headers['x-mlflow-delivery-id']);
  const path = `${OWN}/webhooks/${webhook.webhook_id}/deliveries`;
  await until(async () => {
    const { deliveries } = await registry.ok('GET', path);
    return deliveries.length === 2 && deliveries.every((row: { state: string }) => row.state === 'delivered');
  });
  const before = received.length;
  await registry.ok('PATCH', `webhooks/${webhook.webhook_id}`, { status: 'DISABLED' });
  await registry.ok('POST', 'registered-models/create', { name: 'not hooked' });
  await registry.ok('DELETE', `webhooks/${webhook.webhook_id}`);
  await refused('GET', `webhooks/${webhook.webhook_id}`, {}, [404, 'RESOURCE_DOES_NOT_EXIST']);
  assert.equal(received.length, before);
});

test('a test call tells what came back', async () => {
  const { webhook } = await registry.ok('POST', 'webhooks', { name: 'try', url: url('/t'), events });
  const path = `webhooks/${webhook.webhook_id}/test`;
  assert.deepEqual((await registry.ok('POST', path)).result, {
    success: true,
    response_status: 200,
    response_body: 'thanks',
  });
  statuses = [404];
  const event = { entity: 'MODEL_VERSION_TAG', action: 'SET' };
  assert.equal((await registry.ok('POST', path, { event })).result.success, false);
  assert.equal(JSON.parse(received.at(-1)!.body).data.key, 'example_key');
  await registry.ok('DELETE', `webhooks/${webhook.webhook_id}`);
});

test('runs are told in the write that changes them', async () => {
  const wanted = ['run.created', 'run.updated', 'run.deleted'];
  const { webhook } = await registry.ok('POST', `${OWN}/webhooks`, {
    name: 'life',
    url: url('/life'),
    secret: 'geheim',
    events: wanted.map((name) => ({ entity: name.split('.')[0], action: name.split('.')[1] })),
  });
  const of = (): { entity: string; action: string; data: Record<string, unknown> }[] =>
    received.filter(({ request }) => request.url === '/life').map(({ body }) => JSON.parse(body));
  const { run } = await registry.ok('POST', 'runs/create', { experiment_id: '0', run_name: 'told', start_time: 5 });
  const { run_id } = run.info;
  await registry.ok('POST', 'runs/update', { run_id, status: 'FINISHED', end_time: 7 });
  await registry.ok('POST', 'runs/delete', { run_id });
  await until(() => of().length >= wanted.length);
  const bodies = new Map(of().map(({ entity, action, data }) => [`${entity}.${action}`, data]));
  assert.deepEqual([...bodies.keys()].sort(), wanted.toSorted());
  const common = { run_id, experiment_id: '0' };
  assert.deepEqual(bodies.get('run.created'), {
    ...common,
    run_name: 'told',
    user_id: '',
    start_time: 5,
    status: 'RUNNING',
  });
  assert.deepEqual(bodies.get('run.updated'), { ...common, run_name: 'told', status: 'FINISHED', end_time: 7 });
  assert.deepEqual(bodies.get('run.deleted'), { ...common, lifecycle_stage: 'deleted' });
  for (const { request, body } of received.filter((each) => each.request.url === '/life')) {
    const signed = `${request.headers['x-mlflow-delivery-id']}.${request.headers['x-mlflow-timestamp']}.${body}`;
    const mac = createHmac('sha256', 'geheim').update(signed).digest('base64');
    assert.equal(request.headers['x-mlflow-signature'], `v1,${mac}`);
  }
  await registry.ok('DELETE', `${OWN}/webhooks/${webhook.webhook_id}`);
});

test('versions, aliases that go, decisions and gateways are told, once each', async () => {
  const wanted = [
    'gateway.created',
    'gateway.updated',
    'model_version.created',
    'model_version_alias.deleted',
    'model_version_approval.set',
    'model_version_evidence.created',
  ];
  const { webhook } = await registry.ok('POST', `${OWN}/webhooks`, {
    name: 'decisions',
    url: url('/decisions'),
    events: wanted.map((name) => ({ entity: name.split('.')[0], action: name.split('.')[1] })),
  });
  const name = 'decided upon';
  const version = `${OWN}/models/${encodeURIComponent(name)}/versions/1`;
  await registry.ok('POST', 'registered-models/create', { name });
  await registry.ok('POST', 'model-versions/create', { name, source: `models:/${MODEL_ID}` });
  await registry.ok('POST', 'registered-models/alias', { name, alias: 'champion', version: '1' });
  await registry.ok('DELETE', 'registered-models/alias', { name, alias: 'champion' });
  await registry.ok('PUT', `${version}/approval`, { state: 'Approved', reason: 'fine' });
  await registry.ok('POST', `${version}/evidence`, { kind: 'gate', outcome: 'pass' });
  const models = [{ served: 's', name, alias: 'champion', version: '1', digest: '', state: 'READY', problem: '' }];
  const report = { host: 'h', program_version: '1', started_at: 1, models };
  for (let i = 0; i < 2; i++) await registry.ok('PUT', `${OWN}/gateways/told-gateway`, report);
  const of = () => received.filter(({ request }) => request.url === '/decisions').map(({ body }) => JSON.parse(body));
  const path = `${OWN}/webhooks/${webhook.webhook_id}/deliveries`;
  await until(async () => {
    const { deliveries } = await registry.ok('GET', path);
    return (
      deliveries.length >= wanted.length && deliveries.every((row: { state: string }) => row.state === 'delivered')
    );
  });
  const told = new Map(of().map(({ entity, action, data }) => [`${entity}.${action}`, data]));
  assert.deepEqual(
    of()
      .map(({ entity, action }) => `${entity}.${action}`)
      .sort(),
    wanted,
  );
  assert.deepEqual(told.get('gateway.created'), { gateway_id: 'told-gateway', host: 'h', program_version: '1' });
  assert.equal(told.get('gateway.updated').version, '1');
  assert.deepEqual(told.get('model_version_alias.deleted'), { name, alias: 'champion' });
  assert.equal(told.get('model_version.created').version, '1');
  assert.deepEqual(
    [told.get('model_version_approval.set').state, told.get('model_version_approval.set').reason],
    ['Approved', 'fine'],
  );
  assert.equal(told.get('model_version_evidence.created').outcome, 'pass');
  await registry.ok('DELETE', `${OWN}/webhooks/${webhook.webhook_id}`);
});

test('aliases that go with their version or model, or get another name with it, are told', async () => {
  const { webhook } = await registry.ok('POST', 'webhooks', {
    name: 'aliases',
    url: url('/aliases'),
    events: ['CREATED', 'DELETED'].map((action) => ({ entity: 'MODEL_VERSION_ALIAS', action })),
  });
  const alias = (name: string, name_of: string, version: string) =>
    registry.ok('POST', 'registered-models/alias', { name, alias: name_of, version });
  const name = 'left alone';
  await registry.ok('POST', 'registered-models/create', { name });
  for (let i = 0; i < 2; i++)
    await registry.ok('POST', 'model-versions/create', { name, source: `models:/${MODEL_ID}` });
  await alias(name, 'first', '1');
  await alias(name, 'second', '2');
  await registry.ok('DELETE', 'model-versions/delete', { name, version: '1' });
  await registry.ok('POST', 'registered-models/rename', { name, new_name: 'found again' });
  await registry.ok('DELETE', 'registered-models/delete', { name: 'found again' });
  const of = () => received.filter(({ request }) => request.url === '/aliases').map(({ body }) => JSON.parse(body));
  await until(() => of().length >= 6);
  assert.deepEqual(
    of()
      .map(({ action, data }) => `${action} ${data.name} ${data.alias} ${data.version ?? ''}`.trim())
      .sort(),
    [
      'created found again second 2',
      'created left alone first 1',
      'created left alone second 2',
      'deleted found again second',
      'deleted left alone first',
      'deleted left alone second',
    ],
  );
  await registry.ok('DELETE', `webhooks/${webhook.webhook_id}`);
});

test('tags of prompts are told as set and deleted, those of models are not', async () => {
  const { webhook } = await registry.ok('POST', 'webhooks', {
    name: 'prompt-tags',
    url: url('/prompt-tags'),
    events: ['SET', 'DELETED'].map((action) => ({ entity: 'PROMPT_TAG', action })),
  });
  const tags = [{ key: 'mlflow.prompt.is_prompt', value: 'true' }];
  await registry.ok('POST', 'registered-models/create', { name: 'greeting', tags });
  await registry.ok('POST', 'registered-models/create', { name: 'no prompt' });
  for (const name of ['no prompt', 'greeting']) {
    await registry.ok('POST', 'registered-models/set-tag', { name, key: 'language', value: 'en' });
    await registry.ok('DELETE', 'registered-models/delete-tag', { name, key: 'language' });
  }
  const of = () => received.filter(({ request }) => request.url === '/prompt-tags').map(({ body }) => JSON.parse(body));
  const path = `${OWN}/webhooks/${webhook.webhook_id}/deliveries`;
  const { deliveries } = await registry.ok('GET', path);
  assert.equal(deliveries.length, 2);
  await until(() => of().length >= 2);
  const told = of().sort((a, b) => b.action.localeCompare(a.action));
  assert.deepEqual(
    told.map(({ entity, action, data }) => ({ entity, action, data })),
    [
      { entity: 'prompt_tag', action: 'set', data: { name: 'greeting', key: 'language', value: 'en' } },
      { entity: 'prompt_tag', action: 'deleted', data: { name: 'greeting', key: 'language' } },
    ],
  );
  await registry.ok('DELETE', `${OWN}/webhooks/${webhook.webhook_id}`);
});

test("MLflow's clients see only webhooks and events that they know", async () => {
  const mixed = [...events, { entity: 'RUN', action: 'CREATED' }];
  const { webhook } = await registry.ok('POST', `${OWN}/webhooks`, {
    name: 'mixed',
    url: url('/m'),
    events: mixed,
  });
  const own = await registry.ok('POST', `${OWN}/webhooks`, { name: 'own', url: url('/o'), events: mixed.slice(2) });
  assert.equal(webhook.events.length, 3);
  const listed = await registry.ok('GET', 'webhooks');
  assert.deepEqual(
    listed.webhooks.map(({ name }: { name: string }) => name),
    ['mixed'],
  );
  assert.equal(listed.webhooks[0].events.length, 2);
  assert.equal((await registry.ok('GET', `${OWN}/webhooks`)).webhooks.length, 2);
  await refused('GET', `webhooks/${own.webhook.webhook_id}`, {}, [404, 'RESOURCE_DOES_NOT_EXIST']);
  await registry.ok('DELETE', `webhooks/${webhook.webhook_id}`);
  await registry.ok('DELETE', `${OWN}/webhooks/${own.webhook.webhook_id}`);
});

test('webhooks that could reach what they must not, or ask for nothing, are refused', async () => {
  const invalid = [400, 'INVALID_PARAMETER_VALUE'] as const;
  const good = { name: 'good', url: url('/g'), events };
  for (const bad of [
    { url: 'http://10.0.0.1/' },
    { url: 'http://[::1]/' },
    { url: 'file:///etc/passwd' },
    { url: 'http://user:pass@127.0.0.1/' },
    { url: 'nonsense' },
    { name: '-bad-' },
    { name: 'x'.repeat(64) },
    { events: [] },
    { events: [{ entity: 'MODEL_VERSION', action: 'EXPLODED' }] },
    { events: [{ entity: 'BUDGET_POLICY', action: 'EXCEEDED' }] },
    { events: ['model_version.created'] },
    { status: 'SLEEPY' },
  ])
    await refused('POST', 'webhooks', { ...good, ...bad }, invalid);
  await refused('PATCH', 'webhooks/none', { name: 'x' }, [404, 'RESOURCE_DOES_NOT_EXIST']);
  await refused('GET', 'webhooks', { page_token: '!' }, invalid);
});

test('a delivery that was not made before a stop is made after the start', async () => {
  const bodies: string[] = [];
  const receiver = createServer((request, response) => {
    request.on('data', (chunk: Buffer) => bodies.push(chunk.toString()));
    request.on('end', () => response.end());
  });
  await new Promise<void>((resolve) => receiver.listen(0, '127.0.0.1', resolve));
  const { port } = receiver.address() as AddressInfo;
  await new Promise((resolve) => receiver.close(resolve));

  const first = await RegistryUnderTest.open();
  const events = [{ entity: 'REGISTERED_MODEL', action: 'CREATED' }];
  await first.ok('POST', 'webhooks', { name: 'late', url: `http://127.0.0.1:${port}/`, events });
  await first.ok('POST', 'registered-models/create', { name: 'kept' });
  await first.close(true);

  await new Promise<void>((resolve) => receiver.listen(port, '127.0.0.1', resolve));
  const second = await RegistryUnderTest.open(first.database, first.dataDir);
  for (let i = 0; bodies.length === 0 && i < 2400; i++) await new Promise((resolve) => setTimeout(resolve, 25));
  assert.match(bodies.join(''), /"data":\{"name":"kept"/);
  receiver.closeAllConnections();
  await new Promise((resolve) => receiver.close(resolve));
  await second.close();
});
