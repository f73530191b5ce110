import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { z } from 'zod';
import { RegistryUnderTest } from '../../testing/registry.ts';
import type { JsonRoute, RestRoute } from './route.ts';

/** Letters and digits without a pattern: PostgreSQL compresses what an index takes, so a repeated letter is never too long. */
function incompressible(length: number): string {
  let text = '';
  for (let i = 0; text.length < length; i++)
    text += createHash('sha512').update(String(i)).digest('base64').replace(/\W/g, '');
  return text.slice(0, length);
}

const ATTACKS = [
  '../../../../etc/passwd',
  '..',
  '.',
  '/etc/passwd',
  '..\\..\\x',
  'C:\\x',
  'file:///etc/passwd',
  'mlflow-artifacts:/../../etc',
  'a/../../../x',
  'a\u0000b',
  'a\r\nSet-Cookie: x',
  '__proto__',
  'constructor',
  "' OR 1=1 --",
  '$(touch x)',
  'x'.repeat(5000),
  incompressible(5000),
  '\u202e\ufeff',
  '-1',
  '1e400',
  '99999999999999999999',
];

// The data folder lies in one of our own, so that whatever leaves it is seen.
const outside = mkdtempSync(join(tmpdir(), 'outside-'));
const bait = join(outside, 'bait');
const agent = new http.Agent({ keepAlive: true, maxSockets: 8 });
let registry: RegistryUnderTest;
before(async () => {
  writeFileSync(bait, 'bait');
  registry = await RegistryUnderTest.open(undefined, join(outside, 'data'));
  await registry.ok('POST', 'registered-models/create', { name: 'here' });
  await registry.ok('POST', 'model-versions/create', { name: 'here', source: 'mlflow-artifacts:/0/here' });
});
after(async () => {
  agent.destroy();
  await registry.close();
  rmSync(outside, { recursive: true, force: true });
});

/** Everything below a folder but what the database keeps for itself. */
function tree(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((path) => !/registry\.db(-wal|-shm|-journal)?$/.test(path) && statSync(path).isFile())
    .sort();
}

/** The raw path, as `fetch` would not leave it. */
function send(method: string, path: string, body: string): Promise<{ status: number; body: string }> {
  const { hostname, port } = new URL(registry.url);
  return new Promise((resolve, reject) => {
    const headers = body === '' ? {} : { 'Content-Length': Buffer.byteLength(body) };
    const request = http.request({ hostname, port, method, path, headers, agent }, (response) => {
      let text = '';
      response.on('data', (chunk: Buffer) => {
        text += chunk.toString();
      });
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body: text }));
      response.on('error', reject);
    });
    request.on('error', reject);
    request.end(body);
  });
}

/** A request that would be fine but for one value, for each place where a text can be put. */
function* requests(route: RestRoute, attack: string): Iterable<{ path: string; body: string; what: string }> {
  const inPath = [...route.path.matchAll(/\{(\w+)\*?\}/g)].map(([, name]) => name);
  const good = (name: string): string => (name === 'name' ? 'here' : '1');
  const pathWith = (chosen: string | undefined): string =>
    route.path.replaceAll(/\{(\w+)\*?\}/g, (_, name: string) =>
      encodeURIComponent(name === chosen ? attack : good(name)),
    );
  const fields = 'request' in route ? textFields(route).filter((name) => !inPath.includes(name)) : [];
  const reads = route.method === 'GET' || route.method === 'DELETE';
  const values = (chosen: string | undefined): Record<string, unknown> =>
    Object.fromEntries(fields.map((name) => [name, name === chosen ? attack : good(name)]));
  for (const chosen of [...inPath, ...fields]) {
    const given = values(chosen);
    const query = reads && fields.length > 0 ? `?${new URLSearchParams(given as Record<string, string>)}` : '';
    const body = reads ? '' : JSON.stringify(given);
    yield { path: pathWith(chosen) + query, body, what: `${route.method} ${route.path} with ${chosen}` };
  }
}

function textFields({ request }: JsonRoute): string[] {
  const { properties = {} } = z.toJSONSchema(request, { io: 'input', unrepresentable: 'any' }) as {
    properties?: Record<string, { type?: string; enum?: string[]; anyOf?: { type?: string }[] }>;
  };
  return Object.entries(properties)
    .filter(([, schema]) => JSON.stringify(schema).includes('"type":"string"') && schema.enum === undefined)
    .map(([name]) => name);
}

test('no value in any place of any call reaches a file, ends as a mistake of the server, or tells where files lie', async () => {
  const { routes } = registry.registry.rest;
  assert.ok(routes.length > 80);
  const before = tree(outside);
  const problems: string[] = [];
  let sent = 0;
  const strike = async (route: RestRoute, attack: string): Promise<void> => {
    for (const { path, body, what } of requests(route, attack)) {
      // Longer lines are for the HTTP parser to refuse.
      if (path.length > 8000) continue;
      const answer = await send(route.method, path, body);
      sent++;
      const found = `${what} = ${attack.slice(0, 100)}: ${answer.status} ${answer.body.slice(0, 300)}`;
      if (answer.status >= 500 && answer.status !== 501) problems.push(found);
      if (answer.body.includes(outside)) problems.push(`it tells where files lie: ${found}`);
      if (answer.body.includes('root:x:')) problems.push(`it read a file: ${found}`);
    }
  };
  for (const route of routes) await Promise.all(ATTACKS.map((attack) => strike(route, attack)));
  assert.deepEqual(problems, []);
  assert.ok(sent > 2000, `${sent}`);
  // Artifacts that were stored under odd but harmless names are blobs of the store.
  const strangers = tree(outside).filter(
    (path) =>
      !before.includes(path) &&
      !/\/registry\/(blobs\/sha256\/[0-9a-f]{2}\/[0-9a-f]{64}|staging\/[0-9a-f-]{36})$/.test(path),
  );
  assert.deepEqual(strangers, []);
  assert.deepEqual(registry.errors, []);
  assert.equal((await send('GET', '/api/2.0/mlflow/experiments/get?experiment_id=0', '')).status, 200);
});

test('long lists are refused by name, or answered: none is too deep or too wide for the database', async () => {
  const many = <T>(count: number, make: (i: number) => T): T[] => Array.from({ length: count }, (_, i) => make(i));
  const kinds = ['metrics', 'params', 'tags'];
  const ids = { experiment_ids: ['0'] };
  const runOrders = (count: number) => many(count, (i) => `${kinds[i % 3]}.k${i} DESC`);
  const modelOrders = (count: number) => many(count, (i) => ({ field_name: `metrics.k${i}` }));
  const datasets = (count: number) =>
    many(count, (i) => ({ dataset_name: `d${i}`, dataset_digest: i % 2 ? `${i}` : '' }));
  const filter = (entity: string, count: number) =>
    many(count, (i) => `${entity}.k${i} = ${entity === 'metrics' ? '1' : "'x'"}`).join(' AND ');
  const refused: [string, object, RegExp][] = [
    ['runs/search', { ...ids, order_by: runOrders(200) }, /order_by has 200 .* at most 20/],
    ['runs/search', { ...ids, order_by: runOrders(20_000) }, /order_by has 20000/],
    ['logged-models/search', { ...ids, order_by: modelOrders(200) }, /order_by has 200/],
    ['logged-models/search', { ...ids, datasets: datasets(20_000) }, /datasets has 20000 .* at most 100/],
    ['experiments/search', { max_results: 5, order_by: many(200, () => 'name') }, /order_by has 200/],
  ];
  for (const [path, body, reason] of refused)
    assert.match(
      await registry.refused('POST', path, body as Record<string, unknown>, 'INVALID_PARAMETER_VALUE'),
      reason,
    );
  const allowed: [string, object][] = [
    ['runs/search', { ...ids, order_by: runOrders(20) }],
    ['runs/search', { ...ids, order_by: runOrders(20), filter: filter('metrics', 20) }],
    ['runs/search', { ...ids, filter: filter('params', 100) }],
    ['runs/search', { experiment_ids: many(5000, String) }],
    [
      'logged-models/search',
      { ...ids, order_by: modelOrders(20), datasets: datasets(100), filter: filter('metrics', 100) },
    ],
    ['logged-models/search', { experiment_ids: many(20_000, String) }],
  ];
  for (const [path, body] of allowed) await registry.ok('POST', path, body as Record<string, unknown>);
  const models = many(10_000, (i) => ({ name: i === 7777 ? 'many' : `m${i}`, alias: 'champion', served: `s${i}` }));
  await registry.ok('POST', 'registered-models/create', { name: 'many' });
  await registry.ok('POST', 'model-versions/create', { name: 'many', source: 'mlflow-artifacts:/0/many' });
  await registry.ok('POST', 'registered-models/alias', { name: 'many', alias: 'champion', version: '1' });
  const watched = await registry.ok('POST', '/api/v1/registry/serving/watch', { models });
  assert.deepEqual(
    watched.deployments.map(({ served }: { served: string }) => served),
    ['s7777'],
  );
  const started_at = 1;
  const state = { version: '1', digest: '', state: 'READY', problem: '' };
  await registry.ok('PUT', '/api/v1/registry/gateways/many', {
    started_at,
    models: models.map((model) => ({ ...model, ...state })),
  });
  assert.deepEqual(registry.errors, []);
});

test('long texts without a pattern are kept and found, or refused: none is too long for an index', async () => {
  const name = incompressible(8000);
  const { run } = await registry.ok('POST', 'runs/create', { experiment_id: '0', run_name: name });
  assert.equal(run.info.run_name, name);
  const { run_id } = run.info;
  for (const given of [`${name.slice(1)}y`, `y${name.slice(1)}`]) {
    await registry.ok('POST', 'runs/update', { run_id, run_name: given });
    for (const filter of [`attributes.run_name = '${given}'`, `attributes.run_name IN ('${name}', '${given}')`]) {
      const { runs } = await registry.ok('POST', 'runs/search', { experiment_ids: ['0'], filter });
      assert.deepEqual(
        runs.map((found: { info: { run_id: string } }) => found.info.run_id),
        [run_id],
      );
    }
  }
  await registry.ok('POST', 'registered-models/create', { name: 'long' });
  const version = { name: 'long', source: 'mlflow-artifacts:/0/long' };
  for (const wrong of [{ run_id: name }, { model_id: name }, { source: `runs:/${run_id}/x`, model_id: name }])
    await registry.refused('POST', 'model-versions/create', { ...version, ...wrong }, 'INVALID_PARAMETER_VALUE');
  for (const [key, value] of [
    ['a tag', name],
    [incompressible(250), name],
  ])
    await registry.ok('POST', 'runs/set-tag', { run_id, key, value });
  assert.deepEqual(registry.errors, []);
});

test('JSON that nests deeply is refused in every place that takes JSON', async () => {
  const deep = `${'['.repeat(10_000)}${']'.repeat(10_000)}`;
  const detail = { kind: 'gate', outcome: 'pass' };
  const version = '/api/v1/registry/models/shallow/versions/1';
  await registry.ok('POST', 'registered-models/create', { name: 'shallow' });
  await registry.ok('POST', 'model-versions/create', { name: 'shallow', source: 'mlflow-artifacts:/0/here' });
  const { run } = await registry.ok('POST', 'runs/create', { experiment_id: '0' });
  const { run_id } = run.info;
  const model = { utc_time_created: 'x', artifact_path: 'x', run_id, flavors: {} };
  const refused: [string, string, string][] = [
    ['POST', '/api/2.0/mlflow/registered-models/create', `{"name":"deep","unknown":${deep}}`],
    ['POST', '/api/2.0/mlflow/registered-models/create', `{"name":${deep}}`],
    ['POST', '/api/2.0/mlflow/registered-models/create', `{"name":${'['.repeat(250_000)}`],
    ['POST', `${version}/evidence`, `${JSON.stringify(detail).slice(0, -1)},"detail":{"x":${deep}}}`],
    ['PUT', `${version}/requirements`, `{"requirements":{"runtime":${deep}}}`],
    ['PUT', `${version}/requirements`, `{"runtime":${deep}}`],
    [
      'POST',
      '/api/2.0/mlflow/runs/log-model',
      JSON.stringify({ run_id, model_json: `${JSON.stringify(model).slice(0, -1)},"x":${deep}}` }),
    ],
    [
      'POST',
      '/api/2.0/mlflow/model-versions/set-tag',
      JSON.stringify({ name: 'shallow', version: '1', key: 'switchyard.requirements', value: `{"runtime":${deep}}` }),
    ],
  ];
  for (const [method, path, body] of refused) {
    const answer = await send(method, path, body);
    assert.equal(answer.status, 400, `${method} ${path} ${body.slice(0, 100)}: ${answer.body.slice(0, 300)}`);
  }
  assert.deepEqual(registry.errors, []);
});
