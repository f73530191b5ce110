import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import http from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { RegistryFront } from '../registry/front.ts';
import { openRegistry } from '../registry/registry.ts';
import type { HttpServer } from '../server/http/socket.ts';
import { fakeAdmin } from '../testing/admin-services.ts';
import { registrySettings } from '../testing/registry.ts';
import { startAdminServer } from './server.ts';

const TOKEN = 'correct-horse-battery-staple';
const dataDir = mkdtempSync(join(tmpdir(), 'admin-registry-'));
const errors: unknown[] = [];
let server: HttpServer;
const registry = new RegistryFront(
  () => openRegistry(registrySettings(dataDir, 'sqlite'), { error: (fields) => void errors.push(fields) }),
  (error) => void errors.push(error),
);

before(async () => {
  const admin = fakeAdmin({ server: { adminPort: 0, adminToken: TOKEN } });
  server = await startAdminServer({ ...admin.services, registry }, admin.services.config().server);
});
after(async () => {
  await server.close(0);
  await registry.close();
  rmSync(dataDir, { recursive: true, force: true });
});

const url = (path: string): string => `http://127.0.0.1:${server.port}${path}`;
const DEFAULT = '/api/2.0/mlflow/experiments/get?experiment_id=0';
const basic = (user: string, password: string): string =>
  `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`;

test("the registry needs the admin token, as Bearer or as HTTP Basic's password, in MLflow's form", async () => {
  const ask = (authorization?: string) =>
    fetch(url(DEFAULT), authorization === undefined ? {} : { headers: { authorization } });
  assert.equal((await ask(`Bearer ${TOKEN}`)).status, 200);
  assert.equal((await ask(basic('ada', TOKEN))).status, 200);
  for (const wrong of [undefined, 'Bearer wrong', basic('ada', 'wrong'), basic(TOKEN, ''), 'Basic !!', 'Basic eA==']) {
    const answer = await ask(wrong);
    const body = (await answer.json()) as { error_code: string };
    assert.deepEqual([answer.status, body.error_code], [401, 'UNAUTHENTICATED'], wrong);
  }
  const elsewhere = await fetch(url(DEFAULT), {
    headers: { authorization: `Bearer ${TOKEN}`, origin: 'http://elsewhere.example' },
  });
  const { error_code } = (await elsewhere.json()) as { error_code: string };
  assert.deepEqual([elsewhere.status, error_code], [403, 'PERMISSION_DENIED']);
});

test('no call of the registry is answered without the token', async () => {
  const { rest } = await registry.get();
  assert.ok(rest.routes.length > 80, `${rest.routes.length} routes`);
  for (const { method, path } of rest.routes) {
    const target = url(path.replaceAll(/\{\w+\*?\}/g, '1'));
    for (const authorization of [undefined, 'Bearer wrong', `Bearer ${TOKEN}x`, basic('ada', 'wrong')]) {
      const body = method === 'GET' || method === 'DELETE' ? {} : { body: '{}' };
      const headers = authorization === undefined ? {} : { headers: { authorization } };
      const answer = await fetch(target, { method, ...body, ...headers });
      const text = await answer.text();
      assert.equal(answer.status, 401, `${method} ${path} with ${authorization}: ${text}`);
      assert.match(text, /UNAUTHENTICATED|unauthenticated/);
    }
  }
});

test('a refused request with a body leaves no connection that is out of step', async () => {
  const answer = await fetch(url('/api/2.0/mlflow/experiments/create'), {
    method: 'POST',
    body: 'x'.repeat(1_000_000),
  });
  assert.equal(answer.status, 401);
});

function send(headers: http.OutgoingHttpHeaders, path: string, body: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const request = http.request(url(path), { method: 'POST', headers }, (response) => {
      response.resume().on('end', () => resolve(response.statusCode ?? 0));
    });
    request.on('error', reject);
    request.end(body);
  });
}

test('chunked bodies are taken by the registry and by nothing else', async () => {
  const headers = { authorization: `Bearer ${TOKEN}`, 'transfer-encoding': 'chunked' };
  assert.equal(await send(headers, '/api/2.0/mlflow/experiments/create', '{"name":"chunked"}'), 200);
  assert.equal(await send(headers, '/api/v1/config/reload', '{}'), 411);
});

test('a length and chunks together are refused', async () => {
  const socket = connect(server.port, '127.0.0.1');
  socket.write(
    `POST /api/2.0/mlflow/experiments/create HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer ${TOKEN}\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
  );
  const [head] = await new Promise<string[]>((resolve) => {
    let text = '';
    socket.on('data', (chunk) => {
      text += chunk;
    });
    socket.on('close', () => resolve(text.split('\r\n')));
  });
  assert.match(head, / 400 /);
});

test('the description of the admin API has the routes of the registry', async () => {
  const answer = await fetch(url('/openapi.json'), { headers: { authorization: `Bearer ${TOKEN}` } });
  const { paths } = (await answer.json()) as { paths: Record<string, Record<string, { requestBody: unknown }>> };
  const open = await registry.get();
  for (const route of open.rest.routes)
    assert.ok(paths[route.path.replace('*}', '}')]?.[route.method.toLowerCase()], `${route.method} ${route.path}`);
  const create = paths['/api/2.0/mlflow/experiments/create'].post as {
    requestBody: { content: Record<string, { schema: { properties: object; required: string[] } }> };
  };
  const { schema } = create.requestBody.content['application/json'];
  assert.deepEqual(Object.keys(schema.properties), ['name', 'artifact_location', 'tags']);
  assert.deepEqual(schema.required, ['name']);
});

test('while the database cannot be opened, requests get 503 and the next ones try again', async () => {
  let tries = 0;
  const front = new RegistryFront(
    async () => {
      tries++;
      throw new Error('/secret/path');
    },
    () => {},
  );
  const admin = fakeAdmin({ server: { adminPort: 0 } });
  const alone = await startAdminServer({ ...admin.services, registry: front }, admin.services.config().server);
  for (let i = 0; i < 3; i++) {
    const answer = await fetch(`http://127.0.0.1:${alone.port}${DEFAULT}`);
    const text = await answer.text();
    assert.equal(answer.status, 503);
    assert.match(text, /TEMPORARILY_UNAVAILABLE/);
    assert.doesNotMatch(text, /secret/);
    assert.equal(answer.headers.get('retry-after'), '1');
  }
  assert.equal(tries, 1);
  await alone.close(0);
});
