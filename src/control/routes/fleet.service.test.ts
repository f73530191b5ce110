import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { scriptRepository, times, until, x } from '../../testing/script-models.ts';
import { ServerProcess } from '../../testing/server-process.ts';

/** Of its own: this one is stopped and loses what it held. */
const PORT = 16_390;
const REDIS = '.ci/services/redis.sh';
const scratch = mkdtempSync(join(tmpdir(), 'switchyard-fleet-'));
const running = new Set<ServerProcess>();
after(async () => {
  await Promise.all([...running].map((server) => server.stop()));
  execFileSync(REDIS, ['stop', String(PORT)]);
  rmSync(scratch, { recursive: true, force: true });
});

interface View {
  weights: Record<string, number>;
  state_version: number;
  rollout?: { phase: string; window: { candidate: { requests: number } } };
}

async function admin<T>(server: ServerProcess, path: string, method = 'GET'): Promise<T> {
  const response = await fetch(`http://127.0.0.1:${server.ports.admin}/api/v1${path}`, { method });
  return (await response.json()) as T;
}

const view = (server: ServerProcess): Promise<View> => admin(server, '/routes/m');

async function leaderOf(servers: readonly ServerProcess[]): Promise<ServerProcess | undefined> {
  const leaders: ServerProcess[] = [];
  for (const server of servers) {
    const { gateway } = await admin<{ gateway: { leader: boolean } }>(server, '/routes-status');
    if (gateway.leader) leaders.push(server);
  }
  assert.ok(leaders.length <= 1, 'at most one gateway decides');
  return leaders[0];
}

async function ask(server: ServerProcess): Promise<number> {
  const response = await fetch(server.url('/v2/models/m/infer'), {
    method: 'POST',
    body: JSON.stringify({ inputs: x(1) }),
  });
  await response.arrayBuffer();
  return response.status;
}

test('three gateways roll out as one: the leader is killed, Redis is stopped and comes back empty', async () => {
  const redisUrl = execFileSync(REDIS, ['start', String(PORT)], { encoding: 'utf8' }).trim();
  const root = scriptRepository(scratch, {
    m: { versions: { 1: times(1), 2: times(2) }, config: 'version_policy: { all: {} }\n' },
  });
  const config = join(scratch, 'switchyard.yaml');
  writeFileSync(
    config,
    `models: {repositories: [${root}]}\nroutes: {files: [routes.yaml], redisUrl: "${redisUrl}", leaseSeconds: 2}\nthreads: {gateways: 1, executors: 1}\n`,
  );
  writeFileSync(
    join(scratch, 'routes.yaml'),
    `apiVersion: switchyard/v1
kind: Route
metadata: {name: m}
spec:
  variants:
    stable: {model: m, version: "1"}
    next: {model: m, version: "2"}
  strategy:
    canary:
      stable: stable
      candidate: next
      steps:
        - setWeight: 20
        - pause: {}
        - setWeight: 40
        - pause: {}
---
apiVersion: switchyard/v1
kind: AnalysisTemplate
metadata: {name: unused}
spec: {metrics: [{name: errors, test: errorRate, margin: 1%}]}
`,
  );
  let servers: ServerProcess[] = [];
  for (let i = 0; i < 3; i++) servers.push(await ServerProcess.start(['--config', config, '--no-supervise']));
  for (const server of servers) running.add(server);
  const everywhere = (next: number, what: string): Promise<void> =>
    until(
      what,
      async () => (await Promise.all(servers.map(view))).every(({ weights }) => weights.next === next),
      30_000,
    );

  await until('one of them decides', async () => (await leaderOf(servers)) !== undefined);
  await everywhere(0.2, 'all have the first step');
  for (const server of servers) for (let i = 0; i < 60; i++) assert.equal(await ask(server), 200);
  const leader = (await leaderOf(servers)) as ServerProcess;
  await until(
    'the leader has counted for all',
    async () => ((await view(leader)).rollout?.window.candidate.requests ?? 0) > 15,
  );

  // A command to a gateway that does not decide reaches the one that does.
  const other = servers.find((server) => server !== leader) as ServerProcess;
  await admin(other, '/routes/m/promote', 'POST');
  await everywhere(0.4, 'all have the second step');

  leader.child.kill('SIGKILL');
  await leader.exited();
  running.delete(leader);
  servers = servers.filter((server) => server !== leader);
  await until('another one decides', async () => (await leaderOf(servers)) !== undefined, 30_000);
  await everywhere(0.4, 'the rollout stands where it stood');

  execFileSync(REDIS, ['stop', String(PORT)]);
  await until('nobody decides', async () => (await leaderOf(servers)) === undefined, 30_000);
  for (const server of servers) {
    assert.equal(await ask(server), 200);
    assert.equal((await view(server)).weights.next, 0.4);
  }
  execFileSync(REDIS, ['start', String(PORT)]);
  await until('one decides again', async () => (await leaderOf(servers)) !== undefined, 30_000);
  const now = (await leaderOf(servers)) as ServerProcess;
  await admin(servers.find((server) => server !== now) as ServerProcess, '/routes/m/promote', 'POST');
  await everywhere(1, 'all have the end');
  for (const server of servers) assert.equal((await view(server)).rollout?.phase, 'succeeded');
});
