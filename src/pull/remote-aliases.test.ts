import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { RouteView } from '../client/admin.ts';
import { mlflowFiles, RegistryClient } from '../testing/registry-client.ts';
import { until } from '../testing/script-models.ts';
import { infer, ServerProcess } from '../testing/server-process.ts';

const ADMIN = 'a-long-admin-token-for-this-test';
const scratch = mkdtempSync(join(tmpdir(), 'switchyard-remote-aliases-'));
const running = new Set<ServerProcess>();
after(async () => {
  await Promise.all([...running].map((server) => server.stop()));
  rmSync(scratch, { recursive: true, force: true });
});

const CANARY = {
  apiVersion: 'switchyard/v1',
  kind: 'Route',
  metadata: { name: 'asked' },
  spec: {
    variants: { stable: { model: 'front', alias: 'champion' }, next: { model: 'front', alias: 'challenger' } },
    strategy: {
      canary: {
        stable: 'stable',
        candidate: 'next',
        steps: [{ setWeight: 50 }, { pause: {} }],
        onFail: { rollback: 'immediate' },
        onPass: { setAlias: 'champion' },
      },
    },
  },
};

async function start(file: string, config: object, dataDir?: string): Promise<ServerProcess> {
  write(file, config);
  const options = dataDir === undefined ? {} : { dataDir };
  const server = await ServerProcess.start(['--config', join(scratch, file)], options);
  running.add(server);
  return server;
}

async function stop(server: ServerProcess): Promise<void> {
  running.delete(server);
  await server.stop();
}

const write = (file: string, config: object): void => writeFileSync(join(scratch, file), JSON.stringify(config));

async function admin<T>(server: ServerProcess, method: string, path: string, token = ''): Promise<T> {
  const headers = new Headers(token === '' ? {} : { authorization: `Bearer ${token}` });
  const answer = await fetch(`http://127.0.0.1:${server.ports.admin}${path}`, { method, headers });
  assert.equal(answer.status, 200, `${method} ${path}`);
  return answer.json() as Promise<T>;
}

const ask = (server: ServerProcess) =>
  infer(server, 'asked', [{ name: 'INPUT', shape: [1, 4], datatype: 'FP32', data: [1, 2, 3, 4] }]);
const view = (server: ServerProcess): Promise<RouteView> => admin(server, 'GET', '/api/v1/routes/asked');
const inPhase = (server: ServerProcess, phase: string): Promise<void> =>
  until(`phase ${phase}`, async () => (await view(server)).rollout?.phase === phase);

test("routes follow a registry elsewhere under served names, and a rollout moves its alias where the gateway's token may", async () => {
  const tokens = (moveAliases: boolean) => ({
    server: {
      adminToken: ADMIN,
      gatewayTokens: [
        { gatewayId: 'edge-*', sha256: createHash('sha256').update('of-edges').digest('hex'), moveAliases },
      ],
    },
  });
  const registry = await start('registry.yaml', tokens(false));
  const url = `http://127.0.0.1:${registry.ports.admin}`;
  const client = new RegistryClient(url, ADMIN);
  await client.register('led', mlflowFiles('one'));
  await client.register('led', mlflowFiles('two'));
  await client.alias('led', 'champion', '1');
  await client.alias('led', 'challenger', '2');
  write('routes.yaml', CANARY);
  const dataDir = mkdtempSync(join(scratch, 'data-'));
  const config = {
    models: {
      source: 'registry',
      registry: {
        ...{ url, token: 'of-edges', gatewayId: 'edge-7' },
        follow: ['champion', 'challenger'].map((alias) => ({ name: 'led', alias, served: 'front' })),
      },
    },
    routes: { files: ['routes.yaml'] },
  };
  const gateway = await start('gateway.yaml', config, dataDir);
  await inPhase(gateway, 'gated');
  assert.equal((await ask(gateway)).status, 200);

  await admin(gateway, 'POST', '/api/v1/routes/asked/promote');
  await until('the refusal', async () => (await view(gateway)).rollout?.problem !== undefined);
  const refused = (await view(gateway)).rollout;
  assert.equal(refused?.phase, 'promoting');
  assert.match(refused?.problem ?? '', /403.*edge-\*.*moveAliases: true/);

  write('registry.yaml', tokens(true));
  await admin(registry, 'POST', '/api/v1/config/reload', ADMIN);
  await inPhase(gateway, 'succeeded');
  const done = await view(gateway);
  assert.equal(done.rollout?.problem, undefined);
  assert.equal(done.variants[0].version, '2');
  assert.equal((await ask(gateway)).body.model_version, '2');
  const { moves } = await client.ok('GET', '/api/v1/registry/models/led/aliases/champion/history');
  const { version, previous, actor, reason } = moves[0];
  assert.deepEqual([version, previous, actor], ['2', '1', 'gateway edge-* for gateway edge-7']);
  assert.match(reason, /rollout of route asked/);

  await stop(gateway);
  await stop(registry);
  const alone = await start('gateway.yaml', config, dataDir);
  const { status, body } = await ask(alone);
  assert.deepEqual([status, body.model_version], [200, '2'], 'aliases as they were read last');
});
