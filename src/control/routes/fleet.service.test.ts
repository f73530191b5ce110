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
import { type ClusterEvents, RouteCluster } from './cluster.ts';
import { decodeContribution, encodeContribution, merge, noContribution } from './contribution.ts';

/** Of its own: this one is stopped and loses what it held. */
const PORT = 16_390;
const REDIS = '.ci/services/redis.sh';
/** A primary, and the replica that takes its place. */
const PRIMARY = 16_391;
const REPLICA = 16_392;
/** Stays up. */
const STEADY = 16_393;
const PROMOTING = 16_394;
const POSTGRES = '.ci/services/postgres.sh';
/** A registry that gateways share. */
const REGISTRY = 15_494;
const scratch = mkdtempSync(join(tmpdir(), 'switchyard-fleet-'));
const running = new Set<ServerProcess>();
after(async () => {
  await Promise.all([...running].map((server) => server.stop()));
  for (const port of [PORT, PRIMARY, REPLICA, STEADY, PROMOTING]) execFileSync(REDIS, ['stop', String(port)]);
  execFileSync(POSTGRES, ['stop', String(REGISTRY)]);
  rmSync(scratch, { recursive: true, force: true });
});

/** Of a gateway that nothing is to be heard of. */
const QUIET: ClusterEvents = {
  onStanding() {},
  onDocuments() {},
  onRewards: async () => [],
  onUnclaimed() {},
  predecessors: () => [],
  onCommand: async () => true,
  onLeading() {},
  onTold() {},
  onTakenForGone() {},
  kept: (_name, sums) => sums,
  log() {},
};

interface View {
  status: string;
  weights: Record<string, number>;
  state_version: number;
  rollout?: { phase: string; window: { candidate: { requests: number } } };
}

async function admin<T>(server: ServerProcess, path: string, method = 'GET'): Promise<T> {
  const response = await fetch(`http://127.0.0.1:${server.ports.admin}/api/v1${path}`, { method });
  return (await response.json()) as T;
}

const view = (server: ServerProcess): Promise<View> => admin(server, '/routes/m');

interface Leadership {
  leader: boolean;
  token: number;
}

const leadership = async (server: ServerProcess): Promise<Leadership> =>
  (await admin<{ gateway: Leadership }>(server, '/routes-status')).gateway;

/** Who decides, and its token. */
async function leaderOf(
  servers: readonly ServerProcess[],
): Promise<{ server: ServerProcess; token: number } | undefined> {
  const leaders: { server: ServerProcess; token: number }[] = [];
  for (const server of servers) {
    const { leader, token } = await leadership(server);
    if (leader) leaders.push({ server, token });
  }
  const [last, ...earlier] = leaders.sort((a, b) => b.token - a.token);
  // They were asked one after the other, so one may have taken over meanwhile; then the other has seen its lease end.
  for (const { server } of earlier) {
    const { leader, token } = await leadership(server);
    assert.ok(!leader || token > last.token, 'at most one gateway decides');
  }
  return last;
}

/** Waits for one that decides: on a machine that has much else to do a lease may end between two looks. */
async function aLeader(
  what: string,
  servers: readonly ServerProcess[],
): Promise<{ server: ServerProcess; token: number }> {
  let found: Awaited<ReturnType<typeof leaderOf>>;
  await until(what, async () => {
    found = await leaderOf(servers);
    return found !== undefined;
  });
  return found!;
}

async function variantFor(server: ServerProcess, model: string): Promise<string | null> {
  const response = await fetch(server.url(`/v2/models/${model}/infer`), {
    method: 'POST',
    body: JSON.stringify({ inputs: x(1) }),
  });
  await response.arrayBuffer();
  return response.headers.get('x-switchyard-variant');
}

async function ask(server: ServerProcess): Promise<number> {
  const response = await fetch(server.url('/v2/models/m/infer'), {
    method: 'POST',
    body: JSON.stringify({ inputs: x(1) }),
  });
  await response.arrayBuffer();
  return response.status;
}

/** The next fleet on this Redis knows nothing of these. */
async function leave(servers: readonly ServerProcess[]): Promise<void> {
  for (const server of servers) {
    running.delete(server);
    await server.stop();
  }
  execFileSync(REDIS, ['stop', String(PORT)]);
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
    until(what, async () => (await Promise.all(servers.map(view))).every(({ weights }) => weights.next === next));

  await until('one of them decides', async () => (await leaderOf(servers)) !== undefined);
  await everywhere(0.2, 'all have the first step');
  for (const server of servers) for (let i = 0; i < 60; i++) assert.equal(await ask(server), 200);
  const { server: leader } = await aLeader('one decides', servers);
  await until(
    'the leader has counted for all',
    async () => ((await view(leader)).rollout?.window.candidate.requests ?? 0) > 15,
  );

  // A command to a gateway that does not decide reaches the one that does.
  const other = servers.find((server) => server !== leader) as ServerProcess;
  await admin(other, '/routes/m/promote', 'POST');
  await everywhere(0.4, 'all have the second step');

  await leader.kill();
  running.delete(leader);
  servers = servers.filter((server) => server !== leader);
  await until('another one decides', async () => (await leaderOf(servers)) !== undefined);
  await everywhere(0.4, 'the rollout stands where it stood');

  execFileSync(REDIS, ['stop', String(PORT)]);
  await until('nobody decides', async () => (await leaderOf(servers)) === undefined);
  for (const server of servers) {
    assert.equal(await ask(server), 200);
    assert.equal((await view(server)).weights.next, 0.4);
  }
  execFileSync(REDIS, ['start', String(PORT)]);
  const { server: now } = await aLeader('one decides again', servers);
  await admin(servers.find((server) => server !== now) as ServerProcess, '/routes/m/promote', 'POST');
  await everywhere(1, 'all have the end');
  for (const server of servers) assert.equal((await view(server)).rollout?.phase, 'succeeded');
  await leave(servers);
});

test('while Redis is away for too long, stable serves canaries; then they go on where they stood', async () => {
  const redisUrl = execFileSync(REDIS, ['start', String(PORT)], { encoding: 'utf8' }).trim();
  const folder = mkdtempSync(join(scratch, 'stale-'));
  const root = scriptRepository(folder, {
    m: { versions: { 1: times(1), 2: times(2) }, config: 'version_policy: { all: {} }\n' },
  });
  const config = join(folder, 'switchyard.yaml');
  writeFileSync(
    config,
    `models: {repositories: [${root}]}\nroutes: {files: [routes.yaml], redisUrl: "${redisUrl}", leaseSeconds: 2, staleSeconds: 5}\nthreads: {gateways: 1, executors: 1}\n`,
  );
  const steps = 'steps: [{setWeight: 60}, {pause: {}}]';
  writeFileSync(join(folder, 'routes.yaml'), SHARED.replace(/steps: .*/, `${steps}\n      onFail: {over: 2s}`));
  const servers: ServerProcess[] = [];
  for (let i = 0; i < 2; i++) servers.push(await ServerProcess.start(['--config', config, '--no-supervise']));
  for (const server of servers) running.add(server);
  const everywhere = (next: number, status: string): Promise<void> =>
    until(`all have ${next}, ${status}`, async () =>
      (await Promise.all(servers.map(view))).every((seen) => seen.weights.next === next && seen.status === status),
    );
  const stale = async (server: ServerProcess): Promise<string | undefined> => {
    const text = await (await fetch(`http://127.0.0.1:${server.ports.admin}/metrics`)).text();
    return /^switchyard_route_stale\{route="m"\} (\d)$/m.exec(text)?.[1];
  };
  const candidates = async (server: ServerProcess): Promise<number> => {
    let seen = 0;
    for (let i = 0; i < 40; i++) seen += Number((await variantFor(server, 'm')) === 'next');
    return seen;
  };

  await everywhere(0.6, 'gated');
  for (const server of servers) {
    assert.ok((await candidates(server)) > 0);
    assert.equal(await stale(server), '0');
  }
  execFileSync(REDIS, ['stop', String(PORT)]);
  await everywhere(0, 'gated (stale)');
  for (const server of servers) {
    assert.equal(await candidates(server), 0);
    assert.equal(await stale(server), '1');
    assert.equal((await view(server)).rollout?.phase, 'gated', 'nothing was decided');
  }
  execFileSync(REDIS, ['start', String(PORT)]);
  await everywhere(0.6, 'gated');
  for (const server of servers) assert.ok((await candidates(server)) > 0);
  await admin(servers[0], '/routes/m/abort', 'POST');
  await everywhere(0, 'rolledBack');
  await leave(servers);
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
      reward: {wait: 20s}
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
    until(`all know ${count} rewards`, async () =>
      (await Promise.all(servers.map(arms))).every(
        (list) => list.reduce((sum, { rewards }) => sum + rewards, 0) === count,
      ),
    );
  /** Asks every gateway, and gives all rewards to one of them. */
  const reward = async (each: number): Promise<void> => {
    const asked = Array.from({ length: 3 * each }, async (_, i) => {
      const body = JSON.stringify({ inputs: x(1) });
      const answer = await fetch(servers[i % 3].url('/v2/models/b/infer'), { method: 'POST', body });
      await answer.arrayBuffer();
      const next = answer.headers.get('x-switchyard-variant') === 'next';
      return { id: answer.headers.get('x-switchyard-id'), reward: Number(next) };
    });
    // All at once, so that no decision's time is over before its reward is sent.
    const events = await Promise.all(asked);
    const sent = await fetch(servers[0].url('/switchyard/v1/feedback'), {
      method: 'POST',
      body: JSON.stringify({ events }),
    });
    const { accepted, forwarded } = (await sent.json()) as { accepted: number; forwarded: number };
    assert.deepEqual([accepted, forwarded], [each, 2 * each]);
  };

  await until('one of them decides', async () => (await leaderOf(servers)) !== undefined);
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

  const before = await aLeader('one decides', servers);
  execFileSync(REDIS, ['stop', String(PRIMARY)]);
  await until('nobody decides', async () => (await leaderOf(servers)) === undefined);
  for (const server of servers) assert.equal(await ask(server), 200);
  redis(REPLICA, 'replicaof', 'no', 'one');
  address.moveTo(REPLICA);
  const after = await aLeader('one decides over the replica', servers);
  assert.ok(after.token >= before.token, 'tokens never go back');
  for (const server of servers) assert.equal((await view(server)).weights.next, 0.2);
  await reward(10);
  await learnt(150);
  // Nobody's: each gateway says so of what it was asked itself.
  const unmatched = async (server: ServerProcess): Promise<Record<string, number>> =>
    (await admin<{ unmatched_feedback: Record<string, number> }>(server, '/routes-status')).unmatched_feedback;
  const stranger = await fetch(servers[0].url('/switchyard/v1/feedback'), {
    method: 'POST',
    body: JSON.stringify({ events: [{ id: 'nobody', reward: 1 }] }),
  });
  const { accepted, forwarded } = (await stranger.json()) as { accepted: number; forwarded: number };
  assert.deepEqual([accepted, forwarded], [0, 1]);
  await until('nobody has claimed it', async () => (await unmatched(servers[0])).unknown === 1);
  assert.deepEqual(await unmatched(servers[0]), { forwarded: 80 + 20 + 1, unknown: 1 });
  assert.deepEqual(await unmatched(servers[1]), {});
  await admin(servers.find((server) => server !== after.server) as ServerProcess, '/routes/m/promote', 'POST');
  await until('all have the end', async () =>
    (await Promise.all(servers.map(view))).every(({ weights }) => weights.next === 1),
  );
});

const ARMS = (arms: string, more = ''): string => `apiVersion: switchyard/v1
kind: Route
metadata: {name: b}
spec:
  variants: {stable: {model: m, version: "1"}, next: {model: m, version: "2"}, third: {model: m, version: "3"}}
  strategy:
    bandit: {policy: epsilonGreedy, arms: [${arms}], floor: 0.1, refresh: 500ms, reward: {wait: 1s${more}}}
`;

test('what a gateway that is gone has counted is of no other arms, nor of another reward', async () => {
  const redisUrl = execFileSync(REDIS, ['start', String(STEADY)], { encoding: 'utf8' }).trim();
  redis(STEADY, 'flushall');
  const folder = mkdtempSync(join(scratch, 'arms-'));
  const root = scriptRepository(folder, {
    m: { versions: { 1: times(1), 2: times(2), 3: times(3) }, config: 'version_policy: { all: {} }\n' },
  });
  const routes = join(folder, 'routes.yaml');
  writeFileSync(routes, ARMS('stable, next'));
  const config = join(folder, 'switchyard.yaml');
  writeFileSync(
    config,
    `models: {repositories: [${root}]}\nroutes: {files: [routes.yaml], redisUrl: "${redisUrl}", leaseSeconds: 2}\nthreads: {gateways: 1, executors: 1}\n`,
  );
  let servers: ServerProcess[] = [];
  for (let i = 0; i < 3; i++) servers.push(await ServerProcess.start(['--config', config, '--no-supervise']));
  for (const server of servers) running.add(server);
  const rewards = async (server: ServerProcess): Promise<number[] | undefined> =>
    (await admin<Partial<BanditView>>(server, '/routes/b')).bandit?.arms.map((arm) => arm.rewards);
  const sum = (counts: number[] | undefined): number => (counts ?? []).reduce((all, count) => all + count, 0);
  const request = async (server: ServerProcess): Promise<void> => {
    const body = JSON.stringify({ inputs: x(1) });
    await (await fetch(server.url('/v2/models/b/infer'), { method: 'POST', body })).arrayBuffer();
  };
  const all = (what: string, arms: number, count: number): Promise<void> =>
    until(what, async () =>
      (await Promise.all(servers.map(rewards))).every((counts) => counts?.length === arms && sum(counts) === count),
    );

  const { server: leader } = await aLeader('one of them decides', servers);
  for (const server of servers) for (let i = 0; i < 5; i++) await request(server);
  await all('all know of all', 2, 15);
  const gone = servers.find((server) => server !== leader) as ServerProcess;
  await gone.kill();
  running.delete(gone);
  servers = servers.filter((server) => server !== gone);
  await all('what it counted stays', 2, 15);

  writeFileSync(routes, ARMS('stable, next, third'));
  await all('three arms begin anew', 3, 0);
  for (const server of servers) for (let i = 0; i < 5; i++) await request(server);
  await all('and learn', 3, 10);
  writeFileSync(routes, ARMS('stable, next', ', range: [0, 2]'));
  await all('so do the first two with another reward', 2, 0);
  for (const server of servers) {
    running.delete(server);
    await server.stop();
  }
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
    until(`the canary is at ${next} everywhere`, async () =>
      (await Promise.all(servers.map(view))).every(({ weights }) => weights.next === next),
    );

  await until('one of them decides', async () => (await leaderOf(servers)) !== undefined);
  await step(0.2);
  await agree(0.1, 0.5, 'at the start');
  writeFileSync(routes, shares(40, 0.2));
  await until('all have read the file', async () =>
    (await Promise.all(servers.map(weighted))).every(({ weights }) => weights.next === 0.4),
  );
  // What the leader publishes of another route makes everybody read again where all of them stand.
  await admin(servers[0], '/routes/m/promote', 'POST');
  await step(0.4);
  await agree(0.4, 0.2, 'after another route moved on');

  const { server: leader } = await aLeader('one decides', servers);
  await leader.kill();
  running.delete(leader);
  servers = servers.filter((server) => server !== leader);
  await until('another one decides', async () => (await leaderOf(servers)) !== undefined);
  await admin(servers[0], '/routes/m/promote', 'POST');
  await step(0.6);
  await agree(0.4, 0.2, 'under another leader');
  await start();
  await step(0.6);
  await agree(0.4, 0.2, 'with one that started again');
  // They would go on to decide for the gateways of the tests below.
  for (const server of servers) {
    running.delete(server);
    await server.stop();
  }
});

test('a gateway that starts again is told which of its waiting decisions it had learnt', async () => {
  const url = execFileSync(REDIS, ['start', String(STEADY)], { encoding: 'utf8' }).trim();
  const settings = { url, leaseMs: 2000, staleMs: 60_000, prefix: 'waiting', pollMs: 20 };
  const sums = new Map([['b', encodeContribution({ ...noContribution(), learnt: 7 })]]);
  const told: number[] = [];
  const before = new RouteCluster(settings, () => sums, {
    ...QUIET,
    onTold: (all) => void told.push(all.get('b')?.learnt ?? -1),
  });
  await before.start(60_000);
  await until('the sums are in Redis', () => told.length > 0);
  assert.equal(told[0], 7);
  await before.close();
  const after = new RouteCluster(settings, () => new Map(), QUIET);
  await after.start(60_000);
  assert.equal(await after.learnt('b', before.id), 7);
  assert.equal(await after.learnt('another', before.id), 0, 'a route it had not told of');
  assert.equal(await after.learnt('b', 'forgotten'), Number.POSITIVE_INFINITY, 'rather none than one twice');
  await after.close();
  await assert.rejects(after.learnt('b', before.id));
});

test('a gateway that was taken for gone is counted once when it is back, whatever it tells', async (t) => {
  const url = execFileSync(REDIS, ['start', String(STEADY)], { encoding: 'utf8' }).trim();
  const address = new MovableAddress(STEADY);
  t.after(() => address.close());
  await address.open();
  /** A gateway with one sum, and the rewards it is given. */
  const start = async (at: string, count: number) => {
    const gateway = { count, ids: [] as string[], taken: [] as unknown[] };
    const sums = () =>
      new Map([['r', encodeContribution({ ...noContribution(), feedback: new Map([['n', gateway.count]]) })]]);
    const cluster = new RouteCluster(
      { url: at, leaseMs: 2000, staleMs: 60_000, prefix: 'gone', pollMs: 20, goneMs: 5000 },
      sums,
      {
        ...QUIET,
        onRewards: async (events) => {
          gateway.taken.push(...events);
          return events.map(() => true);
        },
        onTakenForGone: (id) => {
          gateway.count = 0;
          gateway.ids.push(id);
        },
      },
    );
    t.after(() => cluster.close());
    await cluster.start(60_000);
    return Object.assign(gateway, { cluster });
  };
  const leader = await start(url, 100);
  await until('it decides', () => leader.cluster.leading());
  const other = await start(`redis://127.0.0.1:${address.port}`, 5);
  const known = (): number => merge(leader.cluster.contributions('r').map(decodeContribution)).feedback.get('n') ?? 0;
  await until('it is counted', () => known() === 5);
  address.moveTo(1);
  other.count = 7;
  await until('it is gone', () => redis(STEADY, 'hkeys', 'gone:sums:r').split('\n').includes('gone'));
  await until('what it told stays', () => known() === 5);
  assert.deepEqual(other.ids, [], 'it does not know yet');
  address.moveTo(STEADY);
  await until('it tells again', () => redis(STEADY, 'hlen', 'gone:nodes') === '2');
  other.count += 1;
  await until('what it told and what it counted since then', () => known() === 6 || known() > 10);
  assert.equal(known(), 6);
  assert.deepEqual(other.ids, [other.cluster.id], 'under another id');
  assert.equal(redis(STEADY, 'hlen', 'gone:sums:r'), '3', 'of the leader, those that are gone, and the new one');
  await leader.cluster.forwardRewards(['a']);
  await until('it gets rewards as before', () => other.taken.join() === 'a');
  assert.equal(redis(STEADY, 'hexists', 'gone:read', other.cluster.id), '1');
  redis(STEADY, 'hset', 'gone:sums:old', 'gone', '{}');
  await until('sums of a strategy that is over are removed', async () => {
    await leader.cluster.forget(['old']);
    return redis(STEADY, 'exists', 'gone:sums:old') === '0';
  });
});

test('a gateway that starts again takes in the rewards that came for it meanwhile, and no others again', async () => {
  const url = execFileSync(REDIS, ['start', String(STEADY)], { encoding: 'utf8' }).trim();
  const settings = { url, leaseMs: 2000, staleMs: 60_000, prefix: 'meanwhile', pollMs: 20 };
  const clusters: RouteCluster[] = [];
  /** A gateway, the rewards it is given, and whether it can take them in. */
  const start = async (predecessors: string[] = [], ready = true) => {
    const gateway = { taken: [] as unknown[] };
    const cluster = new RouteCluster(settings, () => new Map(), {
      ...QUIET,
      onRewards: async (events) => {
        if (!ready) throw new Error('not yet');
        gateway.taken.push(...events);
        return events.map(() => true);
      },
      predecessors: () => predecessors,
    });
    clusters.push(cluster);
    await cluster.start(60_000);
    await until('it has begun to read', () => redis(STEADY, 'hexists', 'meanwhile:read', cluster.id) === '1');
    return Object.assign(gateway, { cluster });
  };
  const has = (gateway: { taken: unknown[] }, ...events: string[]): Promise<void> =>
    until(`${events} are taken in`, () => gateway.taken.join() === events.join());
  const other = await start();
  const first = await start();
  await other.cluster.forwardRewards(['a']);
  await has(first, 'a');
  await until('and has written down how far', () => {
    const latest = redis(STEADY, 'xrevrange', 'meanwhile:rewards', '+', '-', 'COUNT', '1').split('\n')[0];
    return redis(STEADY, 'hget', 'meanwhile:read', first.cluster.id) === latest;
  });
  await first.cluster.close();
  await other.cluster.forwardRewards(['b', 'c']);
  const second = await start([first.cluster.id], false);
  await other.cluster.forwardRewards(['d']);
  await second.cluster.close();
  const third = await start([first.cluster.id, second.cluster.id]);
  await other.cluster.forwardRewards(['e']);
  await has(third, 'b', 'c', 'd', 'e');
  const stranger = await start(['forgotten']);
  await other.cluster.forwardRewards(['f']);
  await has(stranger, 'f');
  for (const cluster of clusters) await cluster.close();
});

test('of the rewards that a gateway forwards it is told how many no other one claims, each once', async () => {
  const url = execFileSync(REDIS, ['start', String(STEADY)], { encoding: 'utf8' }).trim();
  const settings = { url, leaseMs: 2000, staleMs: 60_000, prefix: 'claims', pollMs: 20 };
  const unclaimed: number[] = [];
  const clusters: RouteCluster[] = [];
  /** A gateway with decisions of its own. */
  const start = async (own: string[]): Promise<RouteCluster> => {
    const cluster = new RouteCluster(settings, () => new Map(), {
      ...QUIET,
      onRewards: async (events) => events.map((event) => own.includes(event as string)),
      onUnclaimed: (count) => void unclaimed.push(count),
    });
    clusters.push(cluster);
    await cluster.start(60_000);
    await until('it has begun to read', () => redis(STEADY, 'hexists', 'claims:read', cluster.id) === '1');
    return cluster;
  };
  const sender = await start(['mine']);
  // Both claim the first: one was decided before a restart, say.
  await start(['a', 'b']);
  await start(['a', 'c']);
  await sender.forwardRewards(['a', 'b', 'a', 'nobody']);
  await sender.forwardRewards(['c', 'nobody', 'mine']);
  await sender.forwardRewards(['b']);
  await until('their time is over', () => unclaimed.reduce((sum, count) => sum + count, 0) >= 3);
  // Behind it nothing is told again.
  await sender.forwardRewards(['nobody']);
  await until('the time of the next one, too', () => unclaimed.reduce((sum, count) => sum + count, 0) >= 4);
  assert.equal(unclaimed.at(-1), 1);
  assert.equal(
    unclaimed.reduce((sum, count) => sum + count, 0),
    4,
  );
  for (const cluster of clusters) await cluster.close();
});

test('rewards sent elsewhere while the gateway that decided is down are learnt once when it is back', async () => {
  // Decisions wait as long as the machine needs for a restart, which nobody knows beforehand.
  for (const seconds of [20, 80, 240]) if (await learnsWhatCameMeanwhile(seconds)) return;
  assert.fail('no restart was over within two minutes');
});

/** False: the restart took too long for decisions to wait for it. */
async function learnsWhatCameMeanwhile(seconds: number): Promise<boolean> {
  const redisUrl = execFileSync(REDIS, ['start', String(STEADY)], { encoding: 'utf8' }).trim();
  redis(STEADY, 'flushall');
  const folder = mkdtempSync(join(scratch, 'waiting-'));
  const root = scriptRepository(folder, {
    m: { versions: { 1: times(1), 2: times(2) }, config: 'version_policy: { all: {} }\n' },
  });
  writeFileSync(
    join(folder, 'routes.yaml'),
    SHARED.replace('wait: 20s', `wait: ${seconds}s, aggregate: sum, range: [0, 512]`).replace(
      'thompsonBeta',
      'epsilonGreedy',
    ),
  );
  const config = join(folder, 'switchyard.yaml');
  writeFileSync(
    config,
    `models: {repositories: [${root}]}\nroutes: {files: [routes.yaml], redisUrl: "${redisUrl}", leaseSeconds: 2}\nthreads: {gateways: 1, executors: 1}\n`,
  );
  const start = async (dataDir: string): Promise<ServerProcess> => {
    const server = await ServerProcess.start(['--config', config, '--no-supervise'], { dataDir });
    running.add(server);
    return server;
  };
  const folders = [0, 1, 2].map(() => mkdtempSync(join(folder, 'data-')));
  const servers: ServerProcess[] = [];
  for (const dataDir of folders) servers.push(await start(dataDir));
  // Powers of two: the sum tells which were learnt how often.
  const worth = new Map<string, number>();
  const reward = async (server: ServerProcess, ids: string[]): Promise<string[]> => {
    const body = JSON.stringify({ events: ids.map((id) => ({ id, reward: worth.get(id), event: `of ${id}` })) });
    const sent = await fetch(server.url('/switchyard/v1/feedback'), { method: 'POST', body });
    return ((await sent.json()) as { results: { result: string }[] }).results.map(({ result }) => result);
  };
  await until('one of them decides', async () => (await leaderOf(servers)) !== undefined);

  const begun = Date.now();
  const ids: string[] = [];
  for (let i = 0; i < 10; i++) {
    const body = JSON.stringify({ inputs: x(1) });
    const answer = await fetch(servers[0].url('/v2/models/b/infer'), { method: 'POST', body });
    await answer.arrayBuffer();
    ids.push(answer.headers.get('x-switchyard-id') as string);
    worth.set(ids[i], 2 ** i);
  }
  // The last ones: a reward for a decision that its thread has not reported brings in all before it.
  assert.deepEqual(await reward(servers[0], ids.slice(8)), ['accepted', 'accepted']);
  await servers[0].kill();
  running.delete(servers[0]);
  assert.deepEqual(
    await reward(servers[1], ids.slice(4)),
    ids.slice(4).map(() => 'forwarded'),
  );
  servers[0] = await start(folders[0]);
  const others = [...ids.slice(8), ...ids.slice(0, 4)];
  assert.deepEqual(
    await reward(servers[2], others),
    others.map(() => 'forwarded'),
  );

  const learnt = async (server: ServerProcess): Promise<[number, number]> => {
    const { arms } = (await admin<BanditView>(server, '/routes/b')).bandit;
    const sum = arms.reduce((all, { rewards, mean }) => all + rewards * (mean ?? 0), 0);
    return [arms.reduce((all, { rewards }) => all + rewards, 0), Math.round(sum)];
  };
  const back = Date.now();
  await until('all decisions are learnt', async () => (await learnt(servers[1]))[0] >= 10, 600_000);
  const inTime = back - begun < (seconds * 1000) / 2;
  if (inTime) {
    await until('all gateways know it', async () =>
      (await Promise.all(servers.map(learnt))).every(([count]) => count === 10),
    );
    for (const server of servers) assert.deepEqual(await learnt(server), [10, 1023], 'each with its reward, once');
  }
  for (const server of servers) {
    running.delete(server);
    await server.stop();
  }
  return inTime;
}

const PROMOTED = `apiVersion: switchyard/v1
kind: Route
metadata: {name: m}
spec:
  variants: {stable: {model: m, alias: champion}, next: {model: m, version: "2"}}
  unit: {from: [{header: x-user-id}]}
  strategy:
    canary:
      stable: stable
      candidate: next
      steps: [{setWeight: 50}, {pause: {}}]
      onPass: {setAlias: champion}
`;

type PromotedView = View & { variants: { version: string }[] };

test('a promotion by alias shows nobody the old version again, on whichever of three gateways', async () => {
  const redisUrl = execFileSync(REDIS, ['start', String(PROMOTING)], { encoding: 'utf8' }).trim();
  const database = execFileSync(POSTGRES, ['start', String(REGISTRY)], { encoding: 'utf8' }).trim();
  const folder = mkdtempSync(join(scratch, 'promoted-'));
  const root = scriptRepository(folder, {
    m: { versions: { 1: times(1), 2: times(2) }, config: 'version_policy: { all: {} }\n' },
  });
  writeFileSync(join(folder, 'routes.yaml'), PROMOTED);
  const config = join(folder, 'switchyard.yaml');
  writeFileSync(
    config,
    `models: {repositories: [${root}]}\nroutes: {files: [routes.yaml], redisUrl: "${redisUrl}", leaseSeconds: 2}\nregistry: {database: "${database}"}\nthreads: {gateways: 1, executors: 1}\n`,
  );
  const servers: ServerProcess[] = [];
  for (let i = 0; i < 3; i++) servers.push(await ServerProcess.start(['--config', config, '--no-supervise']));
  for (const server of servers) running.add(server);
  const registry = async (path: string, body: object): Promise<void> => {
    const url = `http://127.0.0.1:${servers[0].ports.admin}/api/2.0/mlflow/${path}`;
    const response = await fetch(url, { method: 'POST', body: JSON.stringify(body) });
    assert.equal(response.status, 200, await response.text());
  };
  await registry('registered-models/create', { name: 'm' });
  for (let i = 0; i < 2; i++) await registry('model-versions/create', { name: 'm', source: 'mlflow-artifacts:/0/m' });
  await registry('registered-models/alias', { name: 'm', alias: 'champion', version: '1' });
  /** The version that answers a user, by what it multiplies with. */
  const versionFor = async (server: ServerProcess, user: string): Promise<number> => {
    const response = await fetch(server.url('/v2/models/m/infer'), {
      method: 'POST',
      headers: { 'x-user-id': user },
      body: JSON.stringify({ inputs: x(1) }),
    });
    const text = await response.text();
    assert.equal(response.status, 200, text);
    return (JSON.parse(text) as { outputs: { data: number[] }[] }).outputs[0].data[0];
  };
  /** Whether all gateways know that the rollout is in a phase, and what stable's alias names then. */
  const all = async (phase: string, version: string): Promise<boolean> => {
    const views = await Promise.all(servers.map((server) => admin<PromotedView>(server, '/routes/m')));
    return views.every(({ rollout, variants }) => rollout?.phase === phase && variants[0].version === version);
  };
  await until('all are at the gate', () => all('gated', '1'));

  const [one] = servers;
  const found = new Map<number, string>();
  for (let i = 0; found.size < 2; i++) found.set(await versionFor(one, `user-${i}`), `user-${i}`);
  const [first, second] = [found.get(1) as string, found.get(2) as string];
  await admin(one, '/routes/m/promote', 'POST');
  const seen = servers.map(() => ({ first: [] as number[], second: [] as number[] }));
  const look = async (): Promise<void> => {
    for (const [i, server] of servers.entries()) {
      seen[i].second.push(await versionFor(server, second));
      seen[i].first.push(await versionFor(server, first));
    }
  };
  await until('all have the end, and all aliases', async () => {
    await look();
    return all('succeeded', '2');
  });
  await look();
  for (const { first, second } of seen) {
    assert.deepEqual([...new Set(second)], [2], 'who had the new version keeps it');
    assert.match(first.join(''), /^1*2+$/, 'and who gets it keeps it');
  }
  for (const server of servers) assert.equal((await view(server)).weights.next, 0);
});
