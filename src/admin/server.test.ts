import assert from 'node:assert/strict';
import http from 'node:http';
import { after, test } from 'node:test';
import { ConfigError } from '../config/load.ts';
import type { HttpServer } from '../server/http/socket.ts';
import { SwitchyardError } from '../shared/errors.ts';
import { type FakeAdmin, fakeAdmin } from '../testing/admin-services.ts';
import { ADMIN_ROUTES } from './routes.ts';
import { startAdminServer } from './server.ts';

const TOKEN = 'correct-horse-battery-staple';
const servers: HttpServer[] = [];
after(() => Promise.all(servers.map((server) => server.close(0))));

interface Running extends FakeAdmin {
  port: number;
}

async function start(server: Record<string, unknown> = {}): Promise<Running> {
  const admin = fakeAdmin({ server: { adminPort: 0, ...server } });
  const running = await startAdminServer(admin.services, admin.services.config().server);
  servers.push(running);
  return { ...admin, port: running.port };
}

interface Answer {
  status: number;
  headers: http.IncomingHttpHeaders;
  text: string;
  json: Record<string, unknown>;
}

function ask(
  port: number,
  method: string,
  path: string,
  headers: Record<string, string> = {},
  body: string | Buffer = '',
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const length = body === '' ? {} : { 'content-length': String(Buffer.byteLength(body)) };
    const request = http.request(
      { port, host: '127.0.0.1', method, path, headers: { ...length, ...headers } },
      (res) => {
        const chunks: Buffer[] = [];
        res.on('data', (chunk: Buffer) => chunks.push(chunk));
        res.on('end', () => {
          const text = Buffer.concat(chunks).toString();
          const isJson = res.headers['content-type'] === 'application/json' && text !== '';
          resolve({ status: res.statusCode ?? 0, headers: res.headers, text, json: isJson ? JSON.parse(text) : {} });
        });
      },
    );
    request.on('error', reject);
    request.end(body);
  });
}

const ROUTE = { apiVersion: 'switchyard/v1', kind: 'Route', metadata: { name: 'digits' }, spec: {} };
/** By operationId, where an empty object is refused. */
const BODIES: Record<string, string> = {
  applyRoutes: JSON.stringify({ documents: [ROUTE] }),
  putRoute: JSON.stringify(ROUTE),
  startLogReplay: JSON.stringify({ sink: 'files' }),
  applyFeatures: JSON.stringify({ documents: [{ kind: 'Entity', metadata: { name: 'digits' } }] }),
  applyPipelines: JSON.stringify({ documents: [{ kind: 'Pipeline', metadata: { name: 'digits' } }] }),
  applyMonitors: JSON.stringify({ documents: [{ kind: 'Monitor', metadata: { name: 'digits' } }] }),
  promoteBetweenEnvironments: JSON.stringify({ model: 'digits', from: 'a', to: 'b' }),
  runPipeline: JSON.stringify({ pipeline: 'digits' }),
};
const bearer = { authorization: `Bearer ${TOKEN}` };
const open = await start();
const closed = await start({ adminToken: TOKEN });

for (const route of ADMIN_ROUTES) {
  const path = route.path.replace(/\{(name|route)\}/, 'digits');
  const body = route.bodyRequired === true ? (BODIES[route.operationId] ?? '{}') : '';

  test(`${route.method} ${route.path} answers only those its role admits`, async () => {
    // Who signs is checked by the route itself.
    const isPublic = route.role !== 'operator';
    for (const [headers, admitted] of [
      [{}, isPublic],
      [bearer, true],
      [{ authorization: 'Bearer wrong-horse-battery-staple' }, isPublic],
      [{ authorization: `Basic ${TOKEN}` }, isPublic],
      [{ authorization: `Bearer ${TOKEN}x` }, isPublic],
    ] as const) {
      const answer = await ask(closed.port, route.method, path, headers, body);
      assert.equal(answer.status, admitted ? 200 : 401, JSON.stringify(headers));
      if (admitted) continue;
      assert.equal(answer.json.code, 'unauthenticated');
      assert.match(answer.headers['www-authenticate'] ?? '', /^Bearer/);
    }
    assert.equal((await ask(open.port, route.method, path, {}, body)).status, 200);
  });

  test(`${route.path} refuses verbs that are not in the table`, async () => {
    const known = ADMIN_ROUTES.filter((other) => other.path === route.path).map((other) => other.method as string);
    for (const method of ['GET', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS']) {
      if (known.includes(method)) continue;
      const answer = await ask(closed.port, method, path, bearer);
      assert.equal(answer.status, 405, method);
      assert.equal(answer.json.code, 'method_not_allowed');
      assert.deepEqual((answer.headers.allow ?? '').split(', ').sort(), known.toSorted());
      // Nothing about the table without the token.
      assert.equal((await ask(closed.port, method, path)).status, 401, method);
    }
  });

  test(`${route.method} ${route.path} refuses pages of other origins`, async () => {
    for (const server of [open, closed]) {
      const answer = await ask(server.port, route.method, path, { ...bearer, origin: 'http://evil.example' }, body);
      assert.equal(answer.status, 403);
      assert.equal(answer.json.code, 'permission_denied');
    }
    const own = await ask(open.port, route.method, path, { origin: `http://127.0.0.1:${open.port}` }, body);
    assert.equal(own.status, 200);
  });

  test(`${route.method} ${route.path} refuses unknown query parameters`, async () => {
    const answer = await ask(open.port, route.method, `${path}?nonsense=1`, {}, body);
    assert.equal(answer.status, 400);
    assert.match(String(answer.json.error), /nonsense/);
  });
}

test('unknown routes are 404 with the token and 401 without', async () => {
  for (const path of ['/', '/api/v1', '/api/v1/models/', '/api/v1/models/a/b/c', '/%ZZ', '/health', '//metrics']) {
    assert.equal((await ask(closed.port, 'GET', path)).status, 401, path);
    const answer = await ask(closed.port, 'GET', path, bearer);
    assert.equal(answer.status, 404, path);
    assert.equal(answer.json.code, 'not_found');
  }
});

test('a name that was pointed at loopback is refused', async () => {
  const answer = await ask(open.port, 'GET', '/api/v1/models', { host: 'rebound.example:8080' });
  assert.equal(answer.status, 403);
  const origin = { host: 'rebound.example:8080', origin: 'http://rebound.example:8080' };
  assert.equal((await ask(open.port, 'POST', '/api/v1/models/digits/unload', origin)).status, 403);
  assert.deepEqual(
    open.calls.filter((call) => call.method === 'unloadModel' && call.args[0] !== 'digits'),
    [],
  );
  for (const host of ['localhost:1', '[::1]:1', '127.0.0.1'])
    assert.equal((await ask(open.port, 'GET', '/api/v1/models', { host })).status, 200, host);
});

test('null origins are refused', async () => {
  assert.equal((await ask(open.port, 'GET', '/metrics', { origin: 'null' })).status, 403);
});

test('binding beyond loopback needs a token of some length', async () => {
  const services = fakeAdmin().services;
  for (const adminHost of ['0.0.0.0', '::', '10.0.0.1', 'admin.example']) {
    const server = { ...services.config().server, adminHost, adminPort: 0 };
    assert.throws(() => startAdminServer(services, server), ConfigError, adminHost);
  }
  const server = { ...services.config().server, adminPort: 0, adminToken: 'short' };
  assert.throws(() => startAdminServer(services, server), /at least 16/);
});

test('ready follows the fleet, live does not', async () => {
  open.state.ready = false;
  const answer = await ask(open.port, 'GET', '/health/ready');
  assert.equal(answer.status, 503);
  assert.equal(answer.json.code, 'unavailable');
  assert.equal((await ask(open.port, 'GET', '/health/live')).status, 200);
  open.state.ready = true;
  assert.equal((await ask(open.port, 'GET', '/health/ready')).status, 200);
});

test('HEAD is answered as GET without a body', async () => {
  const answer = await ask(open.port, 'HEAD', '/health/live');
  assert.equal(answer.status, 200);
  assert.equal(answer.text, '');
});

test('models are listed by page, name and state', async () => {
  const first = await ask(open.port, 'GET', '/api/v1/models?limit=1');
  assert.deepEqual(first.json.models, [
    { name: 'broken', versions: [{ version: '1', state: 'UNAVAILABLE', reason: 'no such file' }] },
  ]);
  const second = await ask(open.port, 'GET', `/api/v1/models?limit=1&page_token=${first.json.next_page_token}`);
  assert.deepEqual(
    (second.json.models as { name: string }[]).map((model) => model.name),
    ['digits'],
  );
  assert.equal('next_page_token' in second.json, false);
  const ready = await ask(open.port, 'GET', '/api/v1/models?state=READY&name=dig');
  assert.equal((ready.json.models as unknown[]).length, 1);
  assert.deepEqual((await ask(open.port, 'GET', '/api/v1/models?name=x')).json.models, []);
  for (const bad of ['limit=0', 'limit=1001', 'limit=x', 'page_token=***', 'state=ready'])
    assert.equal((await ask(open.port, 'GET', `/api/v1/models?${bad}`)).status, 400, bad);
});

test('one model shows its configuration and executors', async () => {
  const answer = await ask(open.port, 'GET', '/api/v1/models/digits');
  assert.deepEqual(answer.json.serving, [{ version: '1', executors: [0], config: { name: 'digits' } }]);
  assert.equal((await ask(open.port, 'GET', '/api/v1/models/none')).status, 404);
  assert.equal((await ask(open.port, 'GET', '/api/v1/models/none/statistics')).status, 404);
});

test('load hands configuration and files over as bytes', async () => {
  open.calls.length = 0;
  const parameters = {
    config: '{"backend":"onnxruntime"}',
    'file:1/model.onnx': Buffer.from([1, 2]).toString('base64'),
  };
  const answer = await ask(open.port, 'POST', '/api/v1/models/digits/load', {}, JSON.stringify({ parameters }));
  assert.equal(answer.status, 200);
  const [name, config, files] = open.calls[0].args as [string, string, Map<string, Uint8Array>];
  assert.deepEqual([open.calls[0].method, name, config], ['loadModel', 'digits', '{"backend":"onnxruntime"}']);
  assert.deepEqual(
    [...files].map(([path, bytes]) => [path, [...bytes]]),
    [['1/model.onnx', [1, 2]]],
  );
});

test('bodies that are no load request are refused and call nothing', async () => {
  open.calls.length = 0;
  const bad = [
    '[]',
    '1',
    '{',
    '{"parameter":{}}',
    '{"parameters":[]}',
    '{"parameters":{"config":{}}}',
    '{"parameters":{"file:1/m":"*"}}',
    '{"parameters":{"file:1/m":5}}',
    '{"parameters":{"other":1}}',
    '{"parameters":{"__proto__":{"config":"x"}}}',
    '{"__proto__":{"parameters":{}}}',
    '['.repeat(100_000),
    Buffer.from([0x22, 0xff, 0x22]),
  ];
  for (const body of bad) {
    const answer = await ask(open.port, 'POST', '/api/v1/models/digits/load', {}, body);
    assert.equal(answer.status, 400, String(body).slice(0, 60));
    assert.equal(answer.json.code, 'invalid_argument');
  }
  assert.deepEqual(open.calls, []);
  assert.equal(({} as Record<string, unknown>).parameters, undefined);
});

test('bodies over the cap and of unknown length are refused', async () => {
  const headers = { 'content-length': String(64 * 1024 * 1024 + 1) };
  const answer = await new Promise<number>((resolve, reject) => {
    const request = http.request(
      { port: open.port, host: '127.0.0.1', method: 'PUT', path: '/api/v1/log-settings', headers },
      (res) => {
        resolve(res.statusCode ?? 0);
        request.destroy();
      },
    );
    request.on('error', reject);
    request.flushHeaders();
  });
  assert.equal(answer, 413);
});

test('routes without a body refuse one', async () => {
  assert.equal((await ask(open.port, 'POST', '/api/v1/config/reload', {}, '{}')).status, 400);
  assert.equal((await ask(open.port, 'PUT', '/api/v1/log-settings')).status, 400);
});

test('errors of the control plane keep their code; unknown ones keep their details to the log', async () => {
  open.state.failure = new SwitchyardError('failed_precondition', 'start with mode "explicit"');
  const known = await ask(open.port, 'POST', '/api/v1/models/digits/load');
  assert.deepEqual([known.status, known.json.code], [400, 'failed_precondition']);
  open.state.failure = new Error('ENOENT: /secret/path');
  const unknown = await ask(open.port, 'POST', '/api/v1/models/digits/load');
  assert.deepEqual([unknown.status, unknown.json.code], [500, 'internal']);
  assert.equal(unknown.text.includes('/secret'), false);
  assert.equal(open.logged.length, 1);
  open.state.failure = undefined;
});

test('a bad reload answers 400 with every problem', async () => {
  const { status } = open.services.reloader;
  status.problems.push('switchyard.yaml:1:1: bad');
  const answer = await ask(open.port, 'POST', '/api/v1/config/reload');
  assert.equal(answer.status, 400);
  assert.deepEqual(answer.json.problems, ['switchyard.yaml:1:1: bad']);
  status.problems.length = 0;
});

test('usage sums requests, cost and memory', async () => {
  const { json } = await ask(open.port, 'GET', '/api/v1/usage');
  const [model] = json.models as Record<string, unknown>[];
  assert.deepEqual(
    [model.model, model.requests, model.failures, model.cpu_seconds, model.memory_bytes],
    ['digits', 4, 1, 0.5, 1000],
  );
  assert.deepEqual(
    (json.tenants as Record<string, unknown>[]).map((row) => [row.tenant, row.requests]),
    [['acme', 4]],
  );
});

test('threads show what is loaded where', async () => {
  const { json } = await ask(open.port, 'GET', '/api/v1/threads');
  assert.deepEqual(json.executors, [
    { name: 'executor-0', kind: 'compute', models: [{ model: 'digits', version: '1' }] },
  ]);
});

test('settings go to the control plane as they were sent', async () => {
  open.calls.length = 0;
  await ask(open.port, 'PUT', '/api/v1/trace-settings?model=digits', {}, '{"trace_rate":null}');
  await ask(open.port, 'GET', '/api/v1/log-settings');
  assert.deepEqual(open.calls, [
    { method: 'traceSettings', args: ['digits', { trace_rate: null }] },
    { method: 'logSettings', args: [undefined] },
  ]);
});

test("a job's output by ranges, and its events", async () => {
  const logs = await ask(open.port, 'GET', '/api/v1/jobs/job1/logs');
  assert.deepEqual([logs.status, logs.text], [200, 'loss=0.5\n']);
  const part = await ask(open.port, 'GET', '/api/v1/jobs/job1/logs', { range: 'bytes=5-7' });
  assert.deepEqual([part.status, part.text, part.headers['content-range']], [206, '0.5', 'bytes 5-7/*']);
  assert.equal((await ask(open.port, 'GET', '/api/v1/jobs/job1/logs', { range: 'bytes=99-' })).status, 416);
  assert.equal((await ask(open.port, 'GET', '/api/v1/jobs/job1/logs?offset=5')).text, '0.5\n');
  assert.equal((await ask(open.port, 'GET', '/api/v1/jobs/job1/logs?offset=x')).status, 400);
  const events = await ask(open.port, 'GET', '/api/v1/jobs/job1/events');
  assert.equal(events.headers['content-type'], 'text/event-stream; charset=utf-8');
  assert.match(
    events.text,
    /^event: job\ndata: \{"id":"job1".*\n\nid: 1:9\nevent: log\ndata: .*"text":"loss=0\.5\\n"\}\n\n$/,
  );
  const rest = await ask(open.port, 'GET', '/api/v1/jobs/job1/events', { 'last-event-id': '1:5' });
  assert.match(rest.text, /"text":"0\.5\\n"/);
  const none = await ask(open.port, 'GET', '/api/v1/jobs/job1/events?logs=false');
  assert.doesNotMatch(none.text, /event: log/);
});

test('jobs are listed by what the query says, and the query is checked', async () => {
  const { json } = await ask(open.port, 'GET', '/api/v1/jobs?status=failed&limit=1');
  assert.equal((json.jobs as unknown[]).length, 1);
  for (const query of ['status=done', 'limit=0', 'parent_kind=sweep', 'parent_kind=x&parent_id=1'])
    assert.equal((await ask(open.port, 'GET', `/api/v1/jobs?${query}`)).status, 400, query);
});
