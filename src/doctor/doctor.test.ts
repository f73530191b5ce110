import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { cli } from '../testing/cli.ts';
import type { Check } from './check.ts';
import { checkDataDir, checkFileLimit, checkPort } from './machine.ts';
import { checkCompiler, checkNode } from './program.ts';
import { hostOf } from './services.ts';

const folder = mkdtempSync(join(tmpdir(), 'switchyard-doctor-'));
after(() => rmSync(folder, { recursive: true }));

async function doctor(yaml: string, ...flags: string[]): Promise<{ code: number; checks: Check[]; ok: boolean }> {
  const file = join(folder, 'switchyard.yaml');
  writeFileSync(file, yaml);
  const { code, out, err } = await cli(['doctor', '--config', file, '-o', 'json', ...flags]);
  assert.equal(err, '');
  return { code, ...(JSON.parse(out) as { checks: Check[]; ok: boolean }) };
}

const FREE = `{server: {httpPort: 0, grpcPort: 0, metricsPort: 0, adminPort: 0}, dataDir: '${folder}'`;

test('a machine that serves passes, and the table names every check', { timeout: 600_000 }, async () => {
  const { code, checks, ok } = await doctor(`${FREE}}`);
  assert.deepEqual(
    checks.filter(({ status }) => status === 'failed'),
    [],
  );
  assert.equal(code, 0);
  assert.equal(ok, true);
  const { out } = await cli(['doctor', '--config', join(folder, 'switchyard.yaml')]);
  for (const { name } of checks) assert.ok(out.includes(name), `${name} in ${out}`);
});

test('a service that is not there fails, without its password', { timeout: 600_000 }, async () => {
  // Port 1 is nobody's.
  const url = '127.0.0.1:1';
  const { code, checks, ok } = await doctor(`${FREE},
    kafka: {brokers: ['${url}'], connectTimeoutMs: 500},
    cache: {redisUrl: 'redis://user:secret@${url}'}, features: {redisUrl: 'redis://user:secret@${url}'},
    registry: {database: 'postgres://user:secret@${url}/db',
      artifacts: {s3: {bucket: models, endpoint: 'http://${url}', accessKeyId: user, secretAccessKey: secret}}}}`);
  const services = checks.filter(({ area }) => area === 'services');
  assert.deepEqual(
    services.map(({ name, status }) => [name, status]),
    [
      ['Redis', 'failed'],
      ['Kafka', 'failed'],
      ['PostgreSQL', 'failed'],
      ['S3', 'failed'],
    ],
  );
  for (const { found } of services) assert.match(found, /127\.0\.0\.1:1: \S/);
  assert.match(services[0].remedy, /cache\.redisUrl, features\.redisUrl/);
  assert.ok(!JSON.stringify(checks).includes('secret@'), 'no password is shown');
  assert.equal(code, 1);
  assert.equal(ok, false);
  assert.equal(hostOf('not a url'), 'an address that cannot be read');
});

test('a bad configuration is one failed check, with its place', { timeout: 600_000 }, async () => {
  const { code, checks } = await doctor('server:\n  httpPort: 70000\n');
  const found = checks.find(({ name }) => name === 'configuration')!;
  assert.equal(found.status, 'failed');
  assert.match(found.found, /switchyard\.yaml:2:\d+: .*httpPort/);
  assert.equal(code, 1);
});

test('a taken port fails unless a Switchyard has it', async (t) => {
  const server = createServer().listen(0, '127.0.0.1');
  t.after(() => server.close());
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as AddressInfo;
  assert.equal((await checkPort('httpPort', '127.0.0.1', port, false)).status, 'failed');
  assert.equal((await checkPort('httpPort', '127.0.0.1', port, true)).status, 'ok');
  // Of the addresses that documentation may use: no machine has it.
  const foreign = await checkPort('httpPort', '192.0.2.1', 8000, false);
  assert.match(foreign.found, /cannot be bound: EADDRNOTAVAIL/);
});

test('data folder, file limit, node and compiler are judged', async () => {
  assert.equal((await checkDataDir(join(folder, 'a/b'))).status, 'ok');
  writeFileSync(join(folder, 'file'), '');
  const onFile = await checkDataDir(join(folder, 'file/data'));
  assert.equal(onFile.status, 'failed', onFile.found);
  const limit = (soft: string) =>
    checkFileLimit(`Max open files            ${soft}                 20000   files\n`).status;
  assert.deepEqual([limit('1024'), limit('8192'), limit('unlimited')], ['warning', 'ok', 'ok']);
  assert.equal(checkFileLimit('').status, 'missing');
  assert.deepEqual(
    ['18.0.0', '20.18.9', '20.19.0', '22.0.0'].map((version) => checkNode(version).status),
    ['failed', 'failed', 'ok', 'ok'],
  );
  assert.equal(checkCompiler('/nowhere/c++', false).status, 'warning');
  assert.equal(checkCompiler('/nowhere/c++', true).status, 'missing');
});
