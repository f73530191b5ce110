import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, before, test } from 'node:test';
import { ADMIN_ROUTES } from '../../admin/routes.ts';
import { startAdminServer } from '../../admin/server.ts';
import { type Config, configSchema } from '../../config/schema.ts';
import type { HttpServer } from '../../server/http/socket.ts';
import { fakeAdmin } from '../../testing/admin-services.ts';
import { RegistryUnderTest } from '../../testing/registry.ts';
import { RegistryFront } from '../front.ts';
import { tokenScope } from './scope.ts';

const TOKEN = 'correct-horse-battery-staple';
const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

let registry: RegistryUnderTest;
let admin: HttpServer;
let config: Config;

/** As a reload does: the list is another one. */
const give = (tokens: object[]): void => {
  const server = { adminPort: 0, adminToken: TOKEN, gatewayTokens: tokens };
  config = configSchema.parse({ server });
};
const call = async (token: string, method: string, path: string, body?: object): Promise<[number, string]> => {
  const answer = await fetch(`http://127.0.0.1:${admin.port}${path}`, {
    method,
    headers: { authorization: `Bearer ${token}` },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return [answer.status, await answer.text()];
};
const watch = (token: string) => call(token, 'POST', '/api/v1/registry/serving/watch', {});
const report = (token: string, id: string) =>
  call(token, 'PUT', `/api/v1/registry/gateways/${id}`, { started_at: 1, models: [] });

before(async () => {
  registry = await RegistryUnderTest.open();
  give([
    { gatewayId: 'edge-1', sha256: sha256('token-of-one') },
    { gatewayId: 'pod-*', sha256: sha256('token-of-pods') },
    { gatewayId: 'mover', sha256: sha256('token-of-mover'), moveAliases: true },
    { gatewayId: '*', sha256: sha256('over'), expires: '2020-01-01T00:00:00Z' },
  ]);
  const fake = fakeAdmin();
  const front = new RegistryFront(
    async () => registry.registry,
    () => {},
  );
  const services = { ...fake.services, config: () => config, registry: front };
  admin = await startAdminServer(services, config.server);
});
after(async () => {
  await admin.close(0);
  await registry.close();
});

test('a gateway follows, fetches and reports with its token', async () => {
  await registry.ok('POST', 'registered-models/create', { name: 'm' });
  const path = '/api/2.0/mlflow-artifacts/artifacts/0/m/a.txt';
  assert.equal((await call(TOKEN, 'PUT', path, {}))[0], 200);
  await registry.ok('POST', 'model-versions/create', { name: 'm', source: 'mlflow-artifacts:/0/m' });
  assert.equal((await watch('token-of-one'))[0], 200);
  const [status, manifest] = await call('token-of-one', 'GET', '/api/v1/registry/models/m/versions/1/manifest');
  assert.equal(status, 200, manifest);
  const blob = await call('token-of-one', 'GET', `/api/v1/registry/blobs/sha256:${sha256('{}')}`);
  assert.deepEqual(blob, [200, '{}']);
  assert.deepEqual(await report('token-of-one', 'edge-1'), [200, '{}']);
});

test('it reports as the gateways that its token names, and as no other', async () => {
  for (const id of ['edge-2', 'edge-11', 'pod-1', 'Edge-1']) {
    const [status, text] = await report('token-of-one', id);
    assert.equal(status, 403, id);
    assert.match(text, /edge-1/, 'says which id is allowed');
  }
  assert.equal((await report('token-of-pods', 'pod-7f'))[0], 200);
  assert.equal((await report('token-of-pods', 'edge-1'))[0], 403);
  const body = { gateway_id: 'edge-2', started_at: 1, models: [] };
  assert.equal((await call('token-of-one', 'PUT', '/api/v1/registry/gateways/edge-1', body))[0], 200);
  const { gateways } = await registry.ok('GET', '/api/v1/registry/gateways');
  const ids = gateways.map(({ gateway_id }: { gateway_id: string }) => gateway_id);
  assert.deepEqual(ids, ['edge-1', 'pod-7f'], 'the path says whose report it is');
});

test('it reads what aliases point to, and moves one where its token says so, from the version it knows alone', async () => {
  const read = async (...models: string[]) =>
    (await call('token-of-one', 'POST', '/api/v1/registry/serving/aliases', { models }))[1];
  await registry.ok('POST', 'registered-models/create', { name: 'led' });
  for (let i = 0; i < 2; i++)
    await registry.ok('POST', 'model-versions/create', { name: 'led', source: 'mlflow-artifacts:/0/m' });
  assert.deepEqual(JSON.parse(await read('led', 'none')), { models: [] });
  assert.deepEqual(JSON.parse(await read()), { models: [] });
  await registry.ok('POST', 'registered-models/alias', { name: 'led', alias: 'champion', version: '1' });
  const path = '/api/v1/registry/models/led/aliases/champion';
  const wish = { version: '2', expected_version: '1', reason: 'rollout of route r' };
  const [status, text] = await call('token-of-one', 'PUT', path, wish);
  assert.equal(status, 403);
  assert.match(text, /edge-1.*moveAliases: true.*server.gatewayTokens/);
  for (const expected_version of [undefined, null])
    assert.equal((await call('token-of-mover', 'PUT', path, { ...wish, expected_version }))[0], 403);
  assert.equal((await call('token-of-mover', 'PUT', path, { ...wish, actor: 'gateway mover' }))[0], 200);
  assert.equal((await call('token-of-mover', 'PUT', path, { ...wish, version: '1' }))[0], 409);
  assert.deepEqual(JSON.parse(await read('led')), {
    models: [{ name: 'led', aliases: [{ alias: 'champion', version: '2' }] }],
  });
  const { moves } = await registry.ok('GET', `${path}/history`);
  assert.deepEqual([moves[0].actor, moves[0].reason], ['gateway mover', 'rollout of route r']);
  assert.equal((await call('token-of-mover', 'DELETE', path, { expected_version: '2' }))[0], 403);
});

test('it reaches nothing else of the admin port', async () => {
  const own = [
    'registryWatchServing',
    'registryReadAliases',
    'registryVersionManifest',
    'registryReadBlob',
    'registryReportGateway',
  ];
  const { routes } = registry.registry.rest;
  assert.equal(routes.filter(({ operationId }) => own.includes(operationId)).length, own.length);
  const check = tokenScope(registry.registry.database);
  const filled = (path: string): string => path.replace(/\{\w+\*?\}/g, '1');
  for (const route of routes) {
    if (own.includes(route.operationId)) continue;
    const refused = { code: 'permission_denied' };
    const mover = check({ gatewayId: '*', moveAliases: true }, route, { gateway_id: '1', expected_version: '1' });
    if (route.operationId === 'registryMoveAlias') await mover;
    else await assert.rejects(mover, refused, route.operationId);
    await assert.rejects(
      () => check({ gatewayId: '*', moveAliases: false }, route, { gateway_id: '1' }),
      refused,
      route.operationId,
    );
    const { method, path } = route;
    const [status, text] = await call('token-of-pods', method, filled(path), method === 'GET' ? undefined : {});
    // What a body must have is asked for first.
    assert.ok(status === 403 || status === 400, `${method} ${path}: ${status} ${text}`);
    if (status === 403) assert.match(text, /does not open this call|may not move aliases/, route.operationId);
  }
  for (const { method, path, role } of ADMIN_ROUTES) {
    if (role !== 'operator') continue;
    const [status] = await call('token-of-pods', method, filled(path), method === 'GET' ? undefined : {});
    assert.equal(status, 401, `${method} ${path}`);
  }
});

test('tokens are added and taken away while the server runs, and end by themselves', async () => {
  assert.equal((await watch('over'))[0], 401);
  assert.match((await watch('over'))[1], /expired/);
  assert.equal((await watch('next'))[0], 401);
  give([
    { gatewayId: 'edge-1', sha256: sha256('token-of-one') },
    { gatewayId: 'edge-1', sha256: sha256('next') },
  ]);
  assert.equal((await watch('next'))[0], 200);
  assert.equal((await watch('token-of-one'))[0], 200);
  give([{ gatewayId: 'edge-1', sha256: sha256('next') }]);
  assert.equal((await watch('token-of-one'))[0], 401);
  assert.equal((await watch('next'))[0], 200);
  assert.equal((await watch(sha256('next')))[0], 401, 'the digest is no token');
  assert.equal((await watch(TOKEN))[0], 200);
});

test('a token that would open nothing, or more than it says, is refused in the configuration', () => {
  const token = { gatewayId: 'edge-1', sha256: sha256('token-of-one') };
  const problems = (server: object): string[] =>
    configSchema.safeParse({ server }).error?.issues.map(({ path, message }) => `${path.join('.')}: ${message}`) ?? [];
  assert.match(String(problems({ gatewayTokens: [token] })), /server.gatewayTokens: .*set server.adminToken/);
  const of = (more: object) => problems({ adminToken: TOKEN, gatewayTokens: [token, { ...token, ...more }] });
  assert.match(String(of({})), /gatewayTokens.1.sha256: .*the same token/);
  assert.match(String(of({ sha256: sha256(TOKEN) })), /gatewayTokens.1.sha256: .*admin token/);
  assert.match(String(of({ sha256: sha256('b'), gatewayId: 'a*b' })), /gatewayId/);
  assert.match(String(of({ sha256: sha256('b'), expires: 'tomorrow' })), /expires/);
  assert.deepEqual(of({ sha256: sha256('b'), expires: '2030-01-01T00:00:00Z' }), []);
});
