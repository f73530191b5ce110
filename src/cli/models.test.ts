import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { startAdminServer } from '../admin/server.ts';
import { SwitchyardError } from '../shared/errors.ts';
import { fakeAdmin } from '../testing/admin-services.ts';
import { cli } from '../testing/cli.ts';

const TOKEN = 'correct-horse-battery-staple';
const admin = fakeAdmin({ server: { adminPort: 0, adminToken: TOKEN } });
const server = await startAdminServer(admin.services, admin.services.config().server);
after(() => server.close(0));
const at = ['--admin', `http://127.0.0.1:${server.port}`, '--token', TOKEN];

test('models list prints a table', async () => {
  const { code, out } = await cli(['models', 'list', ...at]);
  assert.equal(code, 0);
  assert.deepEqual(
    out.split('\n').map((line) => line.split(/ {2,}/)),
    [
      ['NAME', 'VERSION', 'STATE', 'REASON'],
      ['broken', '1', 'UNAVAILABLE', 'no such file'],
      ['digits', '1', 'READY'],
    ],
  );
});

test('models list -o json goes through pages by itself, or one at a time', async () => {
  const all = JSON.parse((await cli(['models', 'list', '-o', 'json', ...at])).out) as { models: unknown[] };
  assert.equal(all.models.length, 2);
  const first = JSON.parse((await cli(['models', 'list', '-o', 'json', '--limit', '1', ...at])).out) as {
    models: { name: string }[];
    next_page_token: string;
  };
  assert.deepEqual(
    first.models.map((model) => model.name),
    ['broken'],
  );
  const { out, err } = await cli(['models', 'list', '--page-token', first.next_page_token, ...at]);
  assert.match(out, /digits/);
  assert.doesNotMatch(out, /broken/);
  assert.equal(err, '');
});

test('more than one page of models is listed whole', async () => {
  const before = admin.state.index;
  admin.state.index = Array.from({ length: 2500 }, (_, i) => ({
    name: `m${String(i).padStart(4, '0')}`,
    versions: [],
  }));
  const { out } = await cli(['models', 'list', ...at]);
  assert.equal(out.split('\n').length, 2501);
  admin.state.index = before;
});

test('filters are passed on', async () => {
  assert.doesNotMatch((await cli(['models', 'list', '--state', 'READY', ...at])).out, /broken/);
  assert.doesNotMatch((await cli(['models', 'list', '--name', 'bro', ...at])).out, /digits/);
  assert.equal((await cli(['models', 'list', '--state', 'ready', ...at])).code, 2);
});

test('a reason cannot steer the terminal', async () => {
  const before = admin.state.index;
  admin.state.index = [{ name: 'x', versions: [{ version: '1', state: 'UNAVAILABLE', reason: 'a\u001b[2J\nb' }] }];
  const { out } = await cli(['models', 'list', ...at]);
  assert.match(out, /a\\x1b\[2J\\x0ab/);
  admin.state.index = before;
});

test('models load sends configuration and files', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'switchyard-'));
  t.after(() => rm(folder, { recursive: true }));
  await writeFile(join(folder, 'c.json'), '{"backend":"onnxruntime"}');
  await writeFile(join(folder, 'm.onnx'), Buffer.from([1, 255]));
  admin.calls.length = 0;
  const files = ['--config', join(folder, 'c.json'), '--file', `1/model.onnx=${join(folder, 'm.onnx')}`];
  assert.equal((await cli(['models', 'load', 'digits', ...files, ...at])).code, 0);
  const [{ method, args }] = admin.calls;
  assert.equal(method, 'loadModel');
  assert.deepEqual(args.slice(0, 2), ['digits', '{"backend":"onnxruntime"}']);
  assert.deepEqual(
    [...(args[2] as Map<string, Uint8Array>).entries()].map(([k, v]) => [k, [...v]]),
    [['1/model.onnx', [1, 255]]],
  );
});

test('models unload asks once, with or without what it composes', async () => {
  admin.calls.length = 0;
  assert.equal((await cli(['models', 'unload', 'digits', ...at])).out, 'unloaded digits');
  await cli(['models', 'unload', 'digits', '--dependents', ...at]);
  assert.deepEqual(
    admin.calls.map((call) => call.args),
    [
      ['digits', false],
      ['digits', true],
    ],
  );
});

test("the server's refusal is one line and exit code 1", async () => {
  admin.state.failure = new SwitchyardError('failed_precondition', 'start with mode\n"explicit"');
  const { code, err, out } = await cli(['models', 'load', 'digits', ...at]);
  assert.deepEqual([code, out, err], [1, '', 'error: start with mode "explicit"']);
  admin.state.failure = undefined;
});

test('a missing token says how to give one', async () => {
  const { code, err } = await cli(['models', 'list', '--admin', `http://127.0.0.1:${server.port}`]);
  assert.equal(code, 1);
  assert.match(err, /^error: .*SWITCHYARD_ADMIN_TOKEN/);
  assert.doesNotMatch(err, /\n/);
});

test('no server is exit code 69 and the next step', async () => {
  const other = await startAdminServer(admin.services, admin.services.config().server);
  await other.close(0);
  const { code, err } = await cli(['models', 'list', '--admin', `http://127.0.0.1:${other.port}`]);
  assert.equal(code, 69);
  assert.match(err, /cannot be reached: ECONNREFUSED; start a server with "switchyard serve"/);
});

test('files that cannot be read and pairs without a path are usage errors', async () => {
  assert.equal((await cli(['models', 'load', 'digits', '--file', '1/model.onnx', ...at])).code, 2);
  const { code, err } = await cli(['models', 'load', 'digits', '--config', 'no/such.json', ...at]);
  assert.deepEqual([code, err], [2, 'error: --config no/such.json: cannot be read (ENOENT)']);
});

test('unknown verbs and missing arguments are usage errors, help is none', async () => {
  for (const args of [['lst'], ['models', 'lst'], ['models', 'load'], ['bench', 'm', '--rate', '0']])
    assert.equal((await cli(args)).code, 2, args.join(' '));
  const help = await cli(['--help']);
  assert.equal(help.code, 0);
  assert.match(help.out, /Exit codes:/);
  assert.match((await cli(['--version'])).out, /^\d+\.\d+\.\d+/);
});
