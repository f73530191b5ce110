import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { mlflowFiles, RegistryClient } from '../testing/registry-client.ts';
import { FIXTURES, infer, ServerProcess } from '../testing/server-process.ts';

const scratch = mkdtempSync(join(tmpdir(), 'switchyard-pull-tls-'));
const running = new Set<ServerProcess>();
after(async () => {
  await Promise.all([...running].map((server) => server.stop()));
  rmSync(scratch, { recursive: true, force: true });
});

let files = 0;
async function start(config: string, dataDir = join(scratch, `data-${files}`)): Promise<ServerProcess> {
  const file = join(scratch, `${files++}.yaml`);
  writeFileSync(file, config);
  const server = await ServerProcess.start(['--config', file], { dataDir });
  running.add(server);
  return server;
}

async function stop(server: ServerProcess): Promise<void> {
  running.delete(server);
  await server.stop();
}

const tls = (name: string): string => join(FIXTURES, 'tls', name);

test('a gateway pulls from a registry whose admin port asks for client certificates', async () => {
  const data = join(scratch, 'registry');
  const open = await start('{}\n', data);
  const client = new RegistryClient(`http://127.0.0.1:${open.ports.admin}`);
  await client.alias('far', 'champion', await client.register('far', mlflowFiles('one')));
  await stop(open);
  const registry = await start(
    `server: {tls: {certFile: ${tls('localhost.pem')}, keyFile: ${tls('localhost.key')}, caFile: ${tls('ca.pem')}, requireClientCertificate: true}}\n`,
    data,
  );
  const follow = (ssl: string) =>
    start(`models: {source: registry, registry: {url: "https://127.0.0.1:${registry.ports.admin}", ssl: ${ssl}}}\n`);

  const stranger = await follow(`{caFile: ${tls('ca.pem')}}`);
  const { msg } = await stranger.waitFor((line) => /the registry is away/.test(String(line.msg)));
  assert.match(String(msg), /CERTIFICATE_REQUIRED.*models\.registry\.ssl/);
  await stop(stranger);

  const gateway = await follow(
    `{caFile: ${tls('ca.pem')}, certFile: ${tls('alice.pem')}, keyFile: ${tls('alice.key')}}`,
  );
  const input = { name: 'INPUT', shape: [1, 4], datatype: 'FP32', data: [1, 2, 3, 4] };
  while ((await infer(gateway, 'far', [input])).status !== 200) await sleep(10);
  await stop(gateway);
  await stop(registry);
});
