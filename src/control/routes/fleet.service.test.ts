import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createConnection, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { scriptRepository, times, until, x } from '../../testing/script-models.ts';
import { ServerProcess } from '../../testing/server-process.ts';
import { RouteCluster } from './cluster.ts';
import { encodeContribution, noContribution } from './contribution.ts';

/** Of its own: this one is stopped and loses what it held. */
const PORT = 16_390;
const REDIS = '.ci/services/redis.sh';
/** A primary, and the replica that takes its place. */
const PRIMARY = 16_391;
const REPLICA = 16_392;
/** Stays up. */
const STEADY = 16_393;
const scratch = mkdtempSync(join(tmpdir(), 'switchyard-fleet-'));
const running = new Set<ServerProcess>();
after(async () => {
  await Promise.all([...running].map((server) => server.stop()));
  for (const port of [PORT, PRIMARY, REPLICA, STEADY]) execFileSync(REDIS, ['stop', String(port)]);
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

/** One address whose other end can be moved, as a service's or a floating one is. */
class MovableAddress {
  port = 0;
  private target: number;
  private readonly server: Server;
  private readonly sockets = new Set<Socket>();

  constructor(target: number) {
    this.target = target;
    this.server = createServer((socket) => {
      const other = createConnection(this.target, '127.0.0.1');
      for (const [from, to] of [
        [socket, other],
        [other, socket],
      ]) {
        this.sockets.add(from);
        from.on('error', () => {});
        from.on('close', () => {
          this.sockets.delete(from);
          to.destroy();
        });
        from.pipe(to);
      }
    });
  }

  async open(): Promise<void> {
    this.server.listen(0, '127.0.0.1');
    await once(this.server, 'listening');
    this.port = (this.server.address() as { port: number }).port;
  }

  moveTo(target: number): void {
    this.target = target;
    for (const socket of this.sockets) socket.destroy();
  }

  close(): void {
    this.server.close();
    for (const socket of this.sockets) socket.destroy();
  }
}

const redis = (port: number, ...command: string[]): string =>
  execFileSync('redis-cli', ['-p', String(port), ...command], { encoding: 'utf8' }).trim();

const SHARED = `apiVersion: switchyard/v1
kind: Route
metadata: {name: m}
spec:
  variants: {stable: {model: m, version: "1"}, next: {model: m, version: "2"}}
  strategy:
    canary:
      stable: stable
      candidate: next
      steps: [{setWeight: 20}, {pause: {}}]
---
apiVersion: switchyard/v1
kind: Route
metadata: {name: b}
spec:
  variants: {stable: {model: m, version: "1"}, next: {model: m, version: "2"}}
  strategy:
    bandit:
      policy: thompsonBeta
      arms: [stable, next]
      floor: 0.1
      refresh: 500ms
      reward: {wait: 5s}
`;

interface BanditView {
  bandit: { arms: { rewards: number; mean: number | null; probability: number }[] };
}

test('three gateways learn as one, and go on when Redis fails over to its replica', async (t) => {
  execFileSync(REDIS, ['start', String(PRIMARY)]);
  execFileSync(REDIS, ['start', String(REPLICA)]);
  redis(REPLICA, 'replicaof', '127.0.0.1', String(PRIMARY));
  const address = new MovableAddress(PRIMARY);
  t.after(() => address.close());
  await address.open();
  const folder = mkdtempSync(join(scratch, 'shared-'));
  const root = scriptRepository(folder, {
    m: { versions: { 1: times(1), 2: times(2) }, config: 'version_policy: { all: {} }\n' },
  });
  writeFileSync(join(folder, 'routes.yaml'), SHARED);
  const config = join(folder, 'switchyard.yaml');
  writeFileSync(
    config,
    `models: {repositories: [${root}]}\nroutes: {files: [routes.yaml], redisUrl: "redis://127.0.0.1:${address.port}", leaseSeconds: 2}\nthreads: {gateways: 1, executors: 1}\n`,
  );
  const servers: ServerProcess[] = [];
  for (let i = 0; i < 3; i++) servers.push(await ServerProcess.start(['--config', config, '--no-supervise']));
  for (const server of servers) running.add(server);
  const arms = async (server: ServerProcess) => (await admin<BanditView>(server, '/routes/b')).bandit.arms;
  const learnt = (count: number): Promise<void> =>
    until(
      `all know ${count} rewards`,
      async () =>
        (await Promise.all(servers.map(arms))).every(
          (list) => list.reduce((sum, { rewards }) => sum + rewards, 0) === count,
        ),
      60_000,
    );
  /** Asks every gateway, and gives all rewards to one of them. */
  const reward = async (each: number): Promise<void> => {
    const events: object[] = [];
    for (const server of servers) {
      for (let i = 0; i < each; i++) {
        const body = JSON.stringify({ inputs: x(1) });
        const answer = await fetch(server.url('/v2/models/b/infer'), { method: 'POST', body });
        await answer.arrayBuffer();
        const next = answer.headers.get('x-switchyard-variant') === 'next';
        events.push({ id: answer.headers.get('x-switchyard-id'), reward: Number(next) });
      }
    }
    const sent = await fetch(servers[0].url('/switchyard/v1/feedback'), {
      method: 'POST',
      body: JSON.stringify({ events }),
    });
    assert.equal(((await sent.json()) as { accepted: number }).accepted, 3 * each);
  };

  await until('one of them decides', async () => (await leaderOf(servers)) !== undefined, 30_000);
  await until('all are at the gate', async () =>
    (await Promise.all(servers.map(view))).every(({ weights }) => weights.next === 0.2),
  );
  await reward(40);
  await learnt(120);
  // A reward for another gateway's decision was its, not a default of 0.
  for (const server of servers)
    assert.deepEqual(
      (await arms(server)).map(({ mean }) => mean),
      [0, 1],
    );
  await until('all prefer the better arm', async () =>
    (await Promise.all(servers.map(arms))).every(([, next]) => next.probability > 0.85),
  );

  const leader = (await leaderOf(servers)) as ServerProcess;
  const token = async (server: ServerProcess): Promise<number> =>
    (await admin<{ gateway: { token: number } }>(server, '/routes-status')).gateway.token;
  const before = await token(leader);
  execFileSync(REDIS, ['stop', String(PRIMARY)]);
  await until('nobody decides', async () => (await leaderOf(servers)) === undefined, 30_000);
  for (const server of servers) assert.equal(await ask(server), 200);
  redis(REPLICA, 'replicaof', 'no', 'one');
  address.moveTo(REPLICA);
  await until('one decides over the replica', async () => (await leaderOf(servers)) !== undefined, 30_000);
  const after = (await leaderOf(servers)) as ServerProcess;
  assert.ok((await token(after)) >= before, 'tokens never go back');
  for (const server of servers) assert.equal((await view(server)).weights.next, 0.2);
  await reward(10);
  await learnt(150);
  await admin(servers.find((server) => server !== after) as ServerProcess, '/routes/m/promote', 'POST');
  await until(
    'all have the end',
    async () => (await Promise.all(servers.map(view))).every(({ weights }) => weights.next === 1),
    30_000,
  );
});

const shares = (next: number, sample: number): string => `apiVersion: switchyard/v1
kind: Route
metadata: {name: w}
spec:
  variants: {stable: {model: m, version: "1"}, next: {model: m, version: "2"}}
  unit: {from: [{header: x-user-id}]}
  shadow: {variant: next, sample: ${sample}}
  strategy: {weighted: {stable: ${100 - next}, next: ${next}}}
---
apiVersion: switchyard/v1
kind: Route
metadata: {name: m}
spec:
  variants: {stable: {model: m, version: "1"}, next: {model: m, version: "2"}}
  strategy:
    canary:
      stable: stable
      candidate: next
      steps: [{setWeight: 20}, {pause: {}}, {setWeight: 40}, {pause: {}}, {setWeight: 60}, {pause: {}}]
`;

test('reloaded weights stay: other routes move on, the leader is killed, a gateway starts again', async () => {
  const redisUrl = execFileSync(REDIS, ['start', String(STEADY)], { encoding: 'utf8' }).trim();
  const folder = mkdtempSync(join(scratch, 'weights-'));
  const root = scriptRepository(folder, {
    m: { versions: { 1: times(1), 2: times(2) }, config: 'version_policy: { all: {} }\n' },
  });
  const routes = join(folder, 'routes.yaml');
  writeFileSync(routes, shares(10, 0.5));
  const config = join(folder, 'switchyard.yaml');
  writeFileSync(
    config,
    `models: {repositories: [${root}]}\nroutes: {files: [routes.yaml], redisUrl: "${redisUrl}", leaseSeconds: 2}\nthreads: {gateways: 1, executors: 1}\n`,
  );
  let servers: ServerProcess[] = [];
  const start = async (): Promise<void> => {
    const server = await ServerProcess.start(['--config', config, '--no-supervise']);
    running.add(server);
    servers.push(server);
  };
  for (let i = 0; i < 3; i++) await start();
  const weighted = (server: ServerProcess) => admin<View & { mirror: number }>(server, '/routes/w');
  const variants = async (server: ServerProcess): Promise<string> => {
    let all = '';
    for (let user = 0; user < 60; user++) {
      const answer = await fetch(server.url('/v2/models/w/infer'), {
        method: 'POST',
        headers: { 'x-user-id': `user-${user}` },
        body: JSON.stringify({ inputs: x(1) }),
      });
      await answer.arrayBuffer();
      all += `${answer.headers.get('x-switchyard-variant')} `;
    }
    return all;
  };
  const agree = async (next: number, mirror: number, when: string): Promise<void> => {
    const seen: string[] = [];
    for (const server of servers) {
      const state = await weighted(server);
      assert.deepEqual([state.weights.next, state.mirror], [next, mirror], when);
      seen.push(await variants(server));
    }
    for (const one of seen) assert.equal(one, seen[0], `the same user gets the same variant everywhere, ${when}`);
  };
  const step = (next: number): Promise<void> =>
    until(
      `the canary is at ${next} everywhere`,
      async () => (await Promise.all(servers.map(view))).every(({ weights }) => weights.next === next),
      60_000,
    );

  await until('one of them decides', async () => (await leaderOf(servers)) !== undefined, 60_000);
  await step(0.2);
  await agree(0.1, 0.5, 'at the start');
  writeFileSync(routes, shares(40, 0.2));
  await until(
    'all have read the file',
    async () => (await Promise.all(servers.map(weighted))).every(({ weights }) => weights.next === 0.4),
    60_000,
  );
  // What the leader publishes of another route makes everybody read again where all of them stand.
  await admin(servers[0], '/routes/m/promote', 'POST');
  await step(0.4);
  await agree(0.4, 0.2, 'after another route moved on');

  const leader = (await leaderOf(servers)) as ServerProcess;
  leader.child.kill('SIGKILL');
  await leader.exited();
  running.delete(leader);
  servers = servers.filter((server) => server !== leader);
  await until('another one decides', async () => (await leaderOf(servers)) !== undefined, 60_000);
  await admin(servers[0], '/routes/m/promote', 'POST');
  await step(0.6);
  await agree(0.4, 0.2, 'under another leader');
  await start();
  await step(0.6);
  await agree(0.4, 0.2, 'with one that started again');
});

test('a gateway that starts again is told which of its waiting decisions it had learnt', async () => {
  const url = execFileSync(REDIS, ['start', String(STEADY)], { encoding: 'utf8' }).trim();
  const events = {
    onStanding() {},
    onDocuments() {},
    onRewards() {},
    onCommand() {},
    onLeading() {},
    log() {},
  };
  const settings = { url, leaseMs: 2000, prefix: 'waiting', pollMs: 20 };
  const sums = new Map([['b', encodeContribution({ ...noContribution(), learnt: 7 })]]);
  const told: number[] = [];
  const before = new RouteCluster(settings, () => sums, {
    ...events,
    onTold: (all) => void told.push(all.get('b')?.learnt ?? -1),
  });
  await before.start(60_000);
  await until('the sums are in Redis', () => told.length > 0);
  assert.equal(told[0], 7);
  await before.close();
  const after = new RouteCluster(settings, () => new Map(), { ...events, onTold() {} });
  await after.start(60_000);
  assert.equal(await after.learnt('b', before.id), 7);
  assert.equal(await after.learnt('another', before.id), 0, 'a route it had not told of');
  assert.equal(await after.learnt('b', 'forgotten'), Number.POSITIVE_INFINITY, 'rather none than one twice');
  await after.close();
  await assert.rejects(after.learnt('b', before.id));
});
