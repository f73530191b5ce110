import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { RegistryUnderTest } from '../../testing/registry.ts';

let registry: RegistryUnderTest;
before(async () => {
  registry = await RegistryUnderTest.open();
});
after(() => registry.close());

test('unknown routes are 404 ENDPOINT_NOT_FOUND, wrong verbs 405', async () => {
  for (const path of ['nothing/here', 'experiments', 'experiments/get/x', 'experiments/%ff']) {
    const { status, json } = await registry.call('GET', path);
    assert.deepEqual([status, json.error_code], [404, 'ENDPOINT_NOT_FOUND'], path);
  }
  const { status, json, headers } = await registry.call('DELETE', 'experiments/get');
  assert.deepEqual([status, json.error_code, headers.get('allow')], [405, 'ENDPOINT_NOT_FOUND', 'GET']);
});

test('bodies that are no JSON object are 400', async () => {
  const url = `${registry.url}/api/2.0/mlflow/experiments/create`;
  const bad = ['{', '[]', '1', 'null', '"x"', '{"name":NaN}', '{"__proto__":{"name":"x"}}', '['.repeat(250_000)];
  for (const body of [...bad, Buffer.from([0x22, 0xff, 0x22]), '{"\\u005f_proto__":{"name":"x"}}']) {
    const response = await fetch(url, { method: 'POST', body });
    const json = (await response.json()) as { error_code: string };
    assert.deepEqual([response.status, json.error_code], [400, 'INVALID_PARAMETER_VALUE'], String(body).slice(0, 40));
  }
  assert.equal(({} as Record<string, unknown>).name, undefined);
});

test('missing and wrong parameters are named', async () => {
  const missing = await registry.call('POST', 'experiments/create');
  assert.match(missing.json.message, /Missing value for required parameter 'name'/);
  const wrong = await registry.call('POST', 'experiments/create', { name: 5 });
  assert.match(wrong.json.message, /Invalid value 5 for parameter 'name'/);
  const list = await registry.call('POST', 'experiments/create', { name: 'x', tags: [{ value: 'y' }] });
  assert.match(list.json.message, /'tags\.0\.key'/);
  const nul = await registry.call('POST', 'experiments/create', { name: 'a\0b' });
  assert.match(nul.json.message, /'name' holds the character U\+0000/);
  const path = await registry.call('GET', 'experiments/get-by-name?experiment_name=a%00b');
  assert.match(path.json.message, /the query holds the character U\+0000/);
});

test('a body beyond the bound is refused and the connection goes', async () => {
  const response = await fetch(`${registry.url}/api/2.0/mlflow/experiments/create`, {
    method: 'POST',
    body: Buffer.alloc(16 * 1024 * 1024 + 1, 0x20),
  });
  assert.equal(response.status, 400);
  assert.equal(response.headers.get('connection'), 'close');
});

test('unknown fields are ignored', async () => {
  await registry.ok('POST', 'experiments/create', { name: 'extra', unknown: { deep: [1] } });
});
