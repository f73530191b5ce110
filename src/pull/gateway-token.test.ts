import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { mlflowFiles, RegistryClient } from '../testing/registry-client.ts';
import { until } from '../testing/script-models.ts';
import { infer, ServerProcess } from '../testing/server-process.ts';

const ADMIN = 'a-long-admin-token-for-this-test';
const scratch = mkdtempSync(join(tmpdir(), 'switchyard-gateway-token-'));
const running: ServerProcess[] = [];
after(async () => {
  await Promise.all(running.map((server) => server.stop()));
  rmSync(scratch, { recursive: true, force: true });
});

async function start(name: string, config: object): Promise<ServerProcess> {
  write(name, config);
  const server = await ServerProcess.start(['--config', join(scratch, name)]);
  running.push(server);
  return server;
}

const write = (name: string, config: object): void => writeFileSync(join(scratch, name), JSON.stringify(config));

interface Status {
  applied: string[];
  restart_needed: string[];
}

/** Changes the configuration of a server that runs, and has it read at once. */
async function change(server: ServerProcess, name: string, config: object, token: string): Promise<Status> {
  write(name, config);
  const headers = { authorization: `Bearer ${token}` };
  const url = `http://127.0.0.1:${server.ports.admin}/api/v1/config/reload`;
  return (await fetch(url, { method: 'POST', headers })).json() as Promise<Status>;
}

test('a gateway lives on its own token, which is renewed and revoked while both servers run', async () => {
  const tokens = (...given: string[]) => {
    const gatewayTokens = given.map((token) => ({
      gatewayId: 'edge-1',
      sha256: createHash('sha256').update(token).digest('hex'),
    }));
    return { server: { adminToken: ADMIN, gatewayTokens } };
  };
  const registry = await start('registry.yaml', tokens('first'));
  const url = `http://127.0.0.1:${registry.ports.admin}`;
  const client = new RegistryClient(url, ADMIN);
  await client.register('edge', mlflowFiles('one'));
  await client.register('edge', mlflowFiles('two'));
  await client.alias('edge', 'champion', '1');
  const following = (token: string) => ({
    models: { source: 'registry', registry: { url, token, gatewayId: 'edge-1' } },
  });
  const gateway = await start('gateway.yaml', following('first'));
  const serves = (version: string) =>
    until(`version ${version} is served`, async () => {
      const input = { name: 'INPUT', shape: [1, 4], datatype: 'FP32', data: [1, 2, 3, 4] };
      const { status, body } = await infer(gateway, 'edge', [input]);
      return status === 200 && body.model_version === version;
    });
  await serves('1');
  await until('the registry knows it', async () => {
    const { gateways } = await client.ok('GET', '/api/v1/registry/gateways');
    return gateways[0]?.gateway_id === 'edge-1' && gateways[0].models[0]?.state === 'READY';
  });

  const renewed = await change(registry, 'registry.yaml', tokens('first', 'second'), ADMIN);
  assert.deepEqual(renewed, { ...renewed, applied: ['server.gatewayTokens'], restart_needed: [] });
  const moved = await change(gateway, 'gateway.yaml', following('second'), '');
  assert.deepEqual(moved, { ...moved, applied: ['models.registry.token'], restart_needed: [] });
  await change(registry, 'registry.yaml', tokens('second'), ADMIN);
  await client.alias('edge', 'champion', '2');
  await serves('2');

  const from = gateway.log.length;
  await change(registry, 'registry.yaml', tokens('third'), ADMIN);
  // Ends the request that waits, which came in with a good token.
  await client.alias('edge', 'champion', '1');
  const refusal = await gateway.waitFor(({ msg }) => /the registry is away/.test(String(msg)), from);
  assert.match(String(refusal.msg), /401/);
  const path = '/api/v1/registry/gateways/edge-1/history';
  const answer = await fetch(`${url}${path}`, { headers: { authorization: 'Bearer third' } });
  assert.equal(answer.status, 403, 'the history is for the admin token');
});
