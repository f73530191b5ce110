import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { scriptRepository, times, until, x } from '../../testing/script-models.ts';
import { ServerProcess } from '../../testing/server-process.ts';

const scratch = mkdtempSync(join(tmpdir(), 'switchyard-learning-'));
const running = new Set<ServerProcess>();
after(async () => {
  await Promise.all([...running].map((server) => server.stop()));
  rmSync(scratch, { recursive: true, force: true });
});

const route = (name: string, spec: string): string =>
  `apiVersion: switchyard/v1\nkind: Route\nmetadata: {name: ${name}}\nspec:\n${spec.trimEnd().replaceAll(/^/gm, '  ')}\n`;
const ARMS = 'variants: {stable: {model: m, version: "1"}, next: {model: m, version: "2"}}\n';
/** Fails on what is below 0. */
const FRAGILE = `export const execute = ({ x }) => { if (x.data[0] < 0) throw new Error('below 0'); return { y: { datatype: 'FP32', shape: x.shape, data: x.data } }; };\n`;

async function serve(
  yaml: string,
  second: string,
  dataDir?: string,
): Promise<{ server: ServerProcess; routes: string }> {
  const folder = mkdtempSync(join(scratch, 'case-'));
  const all = 'version_policy: { all: {} }\n';
  const root = scriptRepository(scratch, { m: { versions: { 1: times(1), 2: second }, config: all } });
  const routes = join(folder, 'routes.yaml');
  writeFileSync(routes, yaml);
  const config = join(folder, 'switchyard.yaml');
  writeFileSync(
    config,
    `models: {repositories: [${root}]}\nroutes: {files: [routes.yaml]}\nthreads: {gateways: 1, executors: 1}\n`,
  );
  const server = await ServerProcess.start(
    ['--config', config, '--no-supervise'],
    dataDir === undefined ? {} : { dataDir },
  );
  running.add(server);
  return { server, routes };
}

interface Answer {
  status: number;
  id: string;
  variant: string;
}

async function ask(server: ServerProcess, model: string, value: number, headers = {}): Promise<Answer> {
  const response = await fetch(server.url(`/v2/models/${model}/infer`), {
    method: 'POST',
    headers,
    body: JSON.stringify({ inputs: x(value) }),
  });
  await response.arrayBuffer();
  const told = (name: string): string => response.headers.get(name) ?? '';
  return { status: response.status, id: told('x-switchyard-id'), variant: told('x-switchyard-variant') };
}

async function reward(server: ServerProcess, events: { id: string; reward: number }[]): Promise<number> {
  const response = await fetch(server.url('/switchyard/v1/feedback'), {
    method: 'POST',
    body: JSON.stringify({ events }),
  });
  return ((await response.json()) as { accepted: number }).accepted;
}

async function view<T>(server: ServerProcess, name: string): Promise<T> {
  return (await (await fetch(`http://127.0.0.1:${server.ports.admin}/api/v1/routes/${name}`)).json()) as T;
}

interface ExperimentView {
  status: string;
  exit_status: number;
  experiment: {
    verdict: string;
    arms: { name: string; counted: number; requests: number; errors: number; rewards: number; reward_mean: number }[];
    primary: { verdict: string; samples: number; interval: (number | null)[] }[];
    guardrails: { verdict: string; value: number }[];
    sample_ratio: { p_value: number; counted: string; counts: number[] };
  };
}

test('an A/B experiment over HTTP: users stick, rewards decide, and a fallback does not hide what fails', async () => {
  const yaml = route(
    'm',
    `${ARMS}unit: {from: [{header: x-user-id}]}
fallback: {on: [5xx], order: [stable]}
resilience: {retryBudget: {percent: 100, minConcurrency: 100}}
strategy:
  experiment:
    split: {stable: 50, next: 50}
    primary: {metric: reward, tune: 200}
    reward: {wait: 15s, default: 0}
    guardrails: [{metric: errors, nonInferiority: 5%}]
`,
  );
  const dataDir = mkdtempSync(join(scratch, 'data-'));
  const { server } = await serve(yaml, FRAGILE, dataDir);
  const USERS = 140;
  const first = new Map<number, string>();
  for (let visit = 0; visit < 5; visit++) {
    const events: { id: string; reward: number }[] = [];
    await Promise.all(
      Array.from({ length: USERS }, async (_, user) => {
        // Version 2 fails on the second and fourth visit; version 1 answers then.
        const answer = await ask(server, 'm', visit % 2 === 0 ? 1 : -1, { 'x-user-id': `user-${user}` });
        assert.equal(answer.status, 200);
        if (visit === 0) first.set(user, answer.variant);
        else if (visit % 2 === 0) assert.equal(answer.variant, first.get(user), `user ${user}`);
        else assert.equal(answer.variant, 'stable');
        const liked = first.get(user) === 'next' ? user % 4 !== 0 : user % 4 === 0;
        events.push({ id: answer.id, reward: Number(liked) });
      }),
    );
    assert.equal(await reward(server, events), USERS);
  }
  let body = {} as ExperimentView;
  await until('all rewards have matured', async () => {
    body = await view<ExperimentView>(server, 'm');
    const { arms } = body.experiment;
    return arms[0].rewards + arms[1].rewards === 5 * USERS && body.exit_status === 1;
  });
  const { arms, primary, guardrails, sample_ratio, verdict } = body.experiment;
  const inNext = [...first.values()].filter((variant) => variant === 'next').length;
  assert.deepEqual([arms[1].counted, arms[1].requests, arms[1].errors], [inNext, 5 * inNext, 2 * inNext]);
  assert.deepEqual([arms[0].counted, arms[0].errors, arms[1].rewards], [USERS - inNext, 0, 5 * inNext]);
  assert.equal(primary[0].verdict, 'better', JSON.stringify(primary));
  assert.equal(guardrails[0].verdict, 'violated', JSON.stringify(guardrails));
  assert.deepEqual([verdict, body.status], ['guardrail violated', 'guardrail violated']);
  assert.equal(sample_ratio.counted, 'units');
  assert.ok(sample_ratio.p_value > 0.001, `p ${sample_ratio.p_value}`);

  running.delete(server);
  await server.stop();
  const again = await serve(yaml, FRAGILE, dataDir);
  const after = (await view<ExperimentView>(again.server, 'm')).experiment;
  assert.deepEqual(after.arms, arms);
  assert.deepEqual(after.primary, primary);
});

const POLICIES: Record<string, string> = {
  greedy: 'policy: epsilonGreedy, epsilon: 0.2',
  ucb1: 'policy: ucb1, exploration: 0.5',
  beta: 'policy: thompsonBeta, discount: {halfLife: 1h}, priorStrength: 50',
  gaussian: 'policy: thompsonGaussian, floor: 0.05',
  linear: 'policy: linUCB, context: {inputs: [x], dim: 2}, exploration: 0.5, floor: 0.05',
  thompson: 'policy: linThompson, context: {inputs: [x], dim: 2}, discount: {halfLife: 1h}, floor: 0.05',
};
const CONTEXTUAL = new Set(['linear', 'thompson']);

interface BanditView {
  bandit: { mode: string; arms: { name: string; rewards: number; mean: number | null }[] };
}

test('every policy learns from late rewards over HTTP, contextual ones by the input, as an apprentice and then online', async () => {
  const bandits = (mode: string): string =>
    Object.entries(POLICIES)
      .map(([name, settings]) =>
        route(
          name,
          `${ARMS}strategy:\n  bandit: {arms: [stable, next], mode: ${mode}, refresh: 200ms, reward: {wait: 10s, default: 0}, ${settings}}\n`,
        ),
      )
      .join('---\n');
  const { server, routes } = await serve(bandits('apprentice'), times(2));
  /** Next is right for inputs above 0; without a context there are twice as many of these. */
  const round = async (): Promise<Map<string, number>> => {
    const right = new Map<string, number>();
    const answers = await Promise.all(
      Object.keys(POLICIES).flatMap((name) =>
        Array.from({ length: 24 }, async (_, i) => {
          const value = (CONTEXTUAL.has(name) ? i % 2 : i % 3) > 0 ? 3 : -3;
          return { name, value, ...(await ask(server, name, value)) };
        }),
      ),
    );
    const events = answers.map(({ name, value, id, variant, status }) => {
      assert.equal(status, 200);
      const good = (variant === 'next') === value > 0;
      right.set(name, (right.get(name) ?? 0) + Number(good));
      return { id, reward: Number(good) };
    });
    // Later than the answers, and before their time is over.
    await new Promise((resolve) => setTimeout(resolve, 100));
    await reward(server, events);
    return right;
  };
  const views = async (): Promise<[string, BanditView['bandit']][]> =>
    Promise.all(
      Object.keys(POLICIES).map(async (name) => [name, (await view<BanditView>(server, name)).bandit] as const),
    ) as Promise<[string, BanditView['bandit']][]>;

  for (let i = 0; i < 2; i++)
    for (const [name, right] of await round())
      assert.equal(right, CONTEXTUAL.has(name) ? 12 : 8, `${name} serves the default`);
  await until('what the default earned is learnt', async () =>
    (await views()).every(([, { arms }]) => Math.round(arms[0].rewards) === 48 && arms[1].rewards === 0),
  );
  for (const [name, { mode, arms }] of await views()) {
    assert.equal(mode, 'apprentice');
    assert.ok(Math.abs((arms[0].mean ?? 0) - (CONTEXTUAL.has(name) ? 0.5 : 1 / 3)) < 1e-3, name);
  }

  writeFileSync(routes, bandits('online'));
  await until('all are online', async () => (await views()).every(([, { mode }]) => mode === 'online'));
  for (const [name, { arms }] of await views())
    assert.ok(arms[0].rewards >= 47.9, `${name} goes on with what it learnt`);
  const better = new Set<string>();
  await until(
    'all have found what is right',
    async () => {
      for (const [name, right] of await round()) if (right >= (CONTEXTUAL.has(name) ? 20 : 14)) better.add(name);
      return better.size === Object.keys(POLICIES).length;
    },
    240_000,
  );
  // The last round's rewards are learnt with the next refresh.
  await until('each has learnt of the other arm', async () =>
    (await views()).every(([, { arms }]) => arms[1].rewards > 0),
  );
});

test('decisions of a gateway that is killed wait on, and each reward is learnt once', async () => {
  // Decisions wait for their rewards as long as the machine needs for a restart, which nobody knows beforehand.
  for (const seconds of [15, 60, 240]) if (await learnsAfterKill(seconds)) return;
  assert.fail('no restart was over within four minutes');
});

/** False: the restart took longer than decisions wait. */
async function learnsAfterKill(seconds: number): Promise<boolean> {
  const yaml = route(
    'm',
    `${ARMS}strategy:\n  bandit: {arms: [stable, next], policy: epsilonGreedy, epsilon: 1, mode: online, refresh: 200ms, reward: {wait: ${seconds}s, default: 0}}\n`,
  );
  const dataDir = mkdtempSync(join(scratch, 'data-'));
  const killed = (await serve(yaml, times(2), dataDir)).server;
  const begun = Date.now();
  const ids: string[] = [];
  for (let i = 0; i < 20; i++) ids.push((await ask(killed, 'm', 1)).id);
  const rewards = (which: string[]) => which.map((id) => ({ id, reward: 1 }));
  // The last ten are told before: a reward for a decision that its thread has not reported brings in all of them.
  const before = await reward(killed, rewards(ids.slice(10)));
  await killed.kill();
  running.delete(killed);

  const { server } = await serve(yaml, times(2), dataDir);
  const after = await reward(server, rewards(ids));
  if (Date.now() - begun > seconds * 1000) {
    running.delete(server);
    await server.stop();
    return false;
  }
  assert.deepEqual([before, after], [10, 10], 'those told before the restart are duplicates');
  assert.equal(await reward(server, rewards(ids)), 0);
  const learnt = async (): Promise<[number, number]> => {
    const { arms } = (await view<BanditView>(server, 'm')).bandit;
    const count = arms[0].rewards + arms[1].rewards;
    return [count, arms.reduce((sum, { rewards, mean }) => sum + rewards * (mean ?? 0), 0)];
  };
  await until('all rewards are learnt', async () => (await learnt())[0] >= 20, 600_000);
  assert.deepEqual((await learnt()).map(Math.round), [20, 20]);

  server.child.kill('SIGTERM');
  await server.exited();
  running.delete(server);
  const again = await serve(yaml, times(2), dataDir);
  const { arms } = (await view<BanditView>(again.server, 'm')).bandit;
  assert.equal(arms[0].rewards + arms[1].rewards, 20, 'and none twice after another restart');
  return true;
}
