import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { scriptRepository, times, until, x } from '../../testing/script-models.ts';
import { ServerProcess } from '../../testing/server-process.ts';

const PORT = 16_393;
const REDIS = '.ci/services/redis.sh';
const scratch = mkdtempSync(join(tmpdir(), 'switchyard-experiment-'));
const servers: ServerProcess[] = [];
after(async () => {
  await Promise.all(servers.map((server) => server.stop()));
  execFileSync(REDIS, ['stop', String(PORT)]);
  rmSync(scratch, { recursive: true, force: true });
});

interface View {
  experiment: {
    arms: { counted: number; requests: number; rewards: number; reward_mean: number | null }[];
    primary: { verdict: string; samples: number; interval: (number | null)[] }[];
    sample_ratio: { p_value: number };
  };
}

test('three gateways are one experiment: a user counts once, whichever gateway is asked', async () => {
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
  unit: {from: [{header: x-user-id}]}
  variants: {stable: {model: m, version: "1"}, next: {model: m, version: "2"}}
  strategy:
    experiment:
      split: {stable: 50, next: 50}
      primary: {metric: reward, tune: 200}
      reward: {wait: 40s, default: 0}
`,
  );
  for (let i = 0; i < 3; i++) servers.push(await ServerProcess.start(['--config', config, '--no-supervise']));
  const USERS = 120;
  const variants = new Map<number, Set<string>>();
  const events: { id: string | null; reward: number }[] = [];
  // A decision waits 40 s for its reward: enough for all of these on a machine that has much else to do.
  for (const server of servers) {
    await Promise.all(
      Array.from({ length: USERS }, async (_, user) => {
        const answer = await fetch(server.url('/v2/models/m/infer'), {
          method: 'POST',
          headers: { 'x-user-id': `user-${user}` },
          body: JSON.stringify({ inputs: x(1) }),
        });
        await answer.arrayBuffer();
        const variant = answer.headers.get('x-switchyard-variant') ?? '';
        variants.set(user, (variants.get(user) ?? new Set()).add(variant));
        events.push({ id: answer.headers.get('x-switchyard-id'), reward: Number(variant === 'next') });
      }),
    );
  }
  for (const seen of variants.values()) assert.equal(seen.size, 1, 'all gateways agree on a user');
  // All rewards to one of them: two thirds are for decisions of others.
  const sent = await fetch(servers[0].url('/switchyard/v1/feedback'), {
    method: 'POST',
    body: JSON.stringify({ events }),
  });
  const { accepted, forwarded } = (await sent.json()) as { accepted: number; forwarded: number };
  assert.deepEqual([accepted, forwarded], [USERS, 2 * USERS]);
  const next = [...variants.values()].filter((seen) => seen.has('next')).length;
  const view = async (server: ServerProcess): Promise<View['experiment']> => {
    const response = await fetch(`http://127.0.0.1:${server.ports.admin}/api/v1/routes/m`);
    return ((await response.json()) as View).experiment;
  };
  await until('every gateway shows all of it', async () => {
    const all = await Promise.all(servers.map(view));
    return all.every(({ arms }) => arms[0].rewards + arms[1].rewards === 3 * USERS);
  });
  for (const server of servers) {
    const { arms, primary, sample_ratio } = await view(server);
    assert.deepEqual([arms[0].counted, arms[1].counted], [USERS - next, next]);
    assert.deepEqual([arms[0].requests, arms[1].requests], [3 * (USERS - next), 3 * next]);
    assert.deepEqual([arms[0].reward_mean, arms[1].reward_mean], [0, 1]);
    assert.equal(primary[0].samples, 3 * USERS);
    assert.ok(sample_ratio.p_value > 0.001, `p ${sample_ratio.p_value}`);
  }
});
