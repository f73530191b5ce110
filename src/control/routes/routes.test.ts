import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { cli } from '../../testing/cli.ts';
import { scriptRepository, times, until, x } from '../../testing/script-models.ts';
import { ServerProcess } from '../../testing/server-process.ts';

const scratch = mkdtempSync(join(tmpdir(), 'switchyard-routes-'));
const running = new Set<ServerProcess>();
after(async () => {
  await Promise.all([...running].map((server) => server.stop()));
  rmSync(scratch, { recursive: true, force: true });
});

let count = 0;

/** A server with model "m", versions 1 (times 1) and 2 (times 2), and these routes. */
async function serve(
  yaml: string,
  options: { versions?: Record<string, string>; dataDir?: string; folder?: string; root?: string } = {},
): Promise<{ server: ServerProcess; routes: string; config: string; root: string }> {
  const folder = options.folder ?? mkdtempSync(join(scratch, `case-${count++}-`));
  const versions = options.versions ?? { 1: times(1), 2: times(2) };
  const root = options.root ?? scriptRepository(scratch, { m: { versions, config: 'version_policy: { all: {} }\n' } });
  const routes = join(folder, 'routes.yaml');
  writeFileSync(routes, yaml);
  const config = join(folder, 'switchyard.yaml');
  writeFileSync(
    config,
    `models:\n  repositories: [${root}]\nroutes:\n  files: [routes.yaml]\nthreads: {gateways: 1, executors: 1}\n`,
  );
  const server = await ServerProcess.start(
    ['--config', config],
    options.dataDir === undefined ? {} : { dataDir: options.dataDir },
  );
  running.add(server);
  return { server, routes, config, root };
}

interface Answer {
  status: number;
  id: string;
  variant: string;
  version: string;
  y: number | undefined;
}

async function ask(server: ServerProcess, headers: Record<string, string> = {}, model = 'm'): Promise<Answer> {
  const response = await fetch(server.url(`/v2/models/${model}/infer`), {
    method: 'POST',
    headers,
    body: JSON.stringify({ inputs: x(1) }),
  });
  const body = (await response.json()) as { outputs?: { data: number[] }[] };
  const header = (name: string): string => response.headers.get(name) ?? '';
  return {
    status: response.status,
    id: header('x-switchyard-id'),
    variant: header('x-switchyard-variant'),
    version: header('x-switchyard-version'),
    y: body.outputs?.[0].data[0],
  };
}

async function admin<T>(
  server: ServerProcess,
  method: string,
  path: string,
  body?: unknown,
): Promise<{ status: number; body: T }> {
  const response = await fetch(`http://127.0.0.1:${server.ports.admin}/api/v1${path}`, {
    method,
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return { status: response.status, body: (await response.json()) as T };
}

const route = (name: string, spec: string): string =>
  `apiVersion: switchyard/v1\nkind: Route\nmetadata: {name: ${name}}\nspec:\n${spec.replaceAll(/^/gm, '  ')}\n`;
const BOTH = 'variants:\n  stable: {model: m, version: "1"}\n  next: {model: m, version: "2"}\n';

test('a weighted route splits by user, keeps users where they are, obeys overrides and says who answered', async () => {
  const yaml = route(
    'm',
    `${BOTH}unit: {from: [{header: x-user-id}]}\noverrides:\n  - {headers: {x-canary: always}, variant: next}\nstrategy: {weighted: {stable: 70, next: 30}}`,
  );
  const { server } = await serve(yaml);
  const first = new Map<string, string>();
  for (let user = 0; user < 300; user++) {
    const { status, variant, version, y, id } = await ask(server, { 'x-user-id': `user-${user}` });
    assert.equal(status, 200);
    assert.notEqual(id, '');
    assert.equal(version, variant === 'next' ? '2' : '1');
    assert.equal(y, Number(version));
    first.set(`user-${user}`, variant);
  }
  const share = [...first.values()].filter((variant) => variant === 'next').length / 300;
  assert.ok(share > 0.2 && share < 0.4, `share ${share}`);
  for (const user of ['user-1', 'user-17', 'user-200'])
    assert.equal((await ask(server, { 'x-user-id': user })).variant, first.get(user));
  for (let i = 0; i < 5; i++)
    assert.equal((await ask(server, { 'x-user-id': 'user-1', 'x-canary': 'always' })).variant, 'next');

  await until('the counts are there', async () => {
    const { body } = await admin<{ variants: { name: string; requests: number; weight: number }[] }>(
      server,
      'GET',
      '/routes/m',
    );
    return body.variants.reduce((sum, { requests }) => sum + requests, 0) === 308;
  });
  const { body } = await admin<{ routes: { weights: object; status: string; origin: string }[] }>(
    server,
    'GET',
    '/routes',
  );
  assert.deepEqual(body.routes[0].weights, { stable: 0.7, next: 0.3 });
  assert.equal(body.routes[0].origin, 'file');
  const metrics = await (await fetch(`http://127.0.0.1:${server.ports.metrics}/metrics`)).text();
  assert.match(metrics, /switchyard_route_weight\{route="m",variant="next"\} 0\.3/);
  assert.match(metrics, /switchyard_route_requests_total\{route="m",variant="next",version="2"/);
});

test('bad route files change nothing and are named; good ones are taken at once, moving few users', async () => {
  const split = (next: number): string =>
    route(
      'm',
      `${BOTH}unit: {from: [{header: x-user-id}]}\nstrategy: {weighted: {stable: ${100 - next}, next: ${next}}}`,
    );
  const { server, routes } = await serve(split(10));
  const from = server.log.length;
  writeFileSync(routes, route('m', `${BOTH}strategy: {weighted: {stable: 50, next: 20}}`));
  const refused = await server.waitFor(
    (line) => line.msg === 'the new routes cannot be used; the old ones go on',
    from,
  );
  assert.match(String((refused.problems as string[])[0]), /routes\.yaml:\d+:\d+: .*add up to 70/);
  const status = await admin<{ problems: string[] }>(server, 'GET', '/routes-status');
  assert.equal(status.body.problems.length, 1);
  writeFileSync(routes, split(10).replace('version: "2"', 'version: "2", alias: x'));
  await server.waitFor((line) => String(line.problems).includes('not both'), from);
  writeFileSync(routes, split(10).replaceAll('model: m,', 'model: unheard,'));
  await server.waitFor(
    (line) =>
      String(line.problems).includes('no model is called \\"unheard\\"') ||
      String(line.problems).includes('no model is called "unheard"'),
    from,
  );
  // A version may come after the route that names it: taken, and told with its place for as long as it is not there.
  writeFileSync(routes, split(10).replace('version: "2"', 'version: "9"'));
  const missing = await server.waitFor((line) => line.msg === 'a route names what is not there (yet)', from);
  assert.match(
    String(missing.problem),
    /routes\.yaml:7:\d+: route m: .*version "9" is not loaded \(yet\); loaded of m: 1, 2/,
  );
  const warned = await admin<{ warnings: string[] }>(server, 'GET', '/routes-status');
  assert.deepEqual(warned.body.warnings, [missing.problem]);
  writeFileSync(routes, split(10));
  await until('it is not missing any more', async () => {
    const { body } = await admin<{ warnings: string[] }>(server, 'GET', '/routes-status');
    return body.warnings.length === 0;
  });
  const users = Array.from({ length: 200 }, (_, i) => `user-${i}`);
  const before = await Promise.all(users.map(async (user) => (await ask(server, { 'x-user-id': user })).variant));
  writeFileSync(routes, split(25));
  await until('the weights are taken', async () => {
    const { body } = await admin<{ weights: { next: number } }>(server, 'GET', '/routes/m');
    return body.weights.next === 0.25;
  });
  const now = await Promise.all(users.map(async (user) => (await ask(server, { 'x-user-id': user })).variant));
  users.forEach((user, i) => {
    if (before[i] === 'next') assert.equal(now[i], 'next', user);
  });
});

test('routes made over the API survive kill -9, and those of files cannot be removed over it', async () => {
  const dataDir = mkdtempSync(join(scratch, 'data-'));
  const folder = mkdtempSync(join(scratch, 'api-'));
  const yaml = route('m', `${BOTH}strategy: {weighted: {stable: 100, next: 0}}`);
  const { server, root } = await serve(yaml, { dataDir, folder });
  const made = {
    apiVersion: 'switchyard/v1',
    kind: 'Route',
    metadata: { name: 'front' },
    spec: { variants: { only: { model: 'm', version: '2' } }, strategy: { weighted: { only: 100 } } },
  };
  const bad = await admin<{ error: string }>(server, 'PUT', '/routes/front', {
    ...made,
    spec: { ...made.spec, strategy: { weighted: { only: 90 } } },
  });
  assert.equal(bad.status, 400);
  assert.match(bad.body.error, /^api:Route\/front: spec\.strategy\.weighted: .*add up to 90/);
  const file = join(folder, 'front.yaml');
  const apply = () => cli(['routes', 'apply', file, '--admin', `http://127.0.0.1:${server.ports.admin}`]);
  const template = 'canary: {stable: only, candidate: next, steps: [{setWeight: 5}], background: {templates: [gone]}}';
  writeFileSync(file, route('front', `${BOTH.replace('stable', 'only')}strategy: {${template}}`));
  const refused = await apply();
  assert.equal(refused.code, 1);
  assert.match(refused.err, /api:Route\/front: spec\.strategy\.canary\.background\.templates\.0: no AnalysisTemplate/);
  writeFileSync(file, `# front\n${JSON.stringify(made)}\n`);
  assert.equal((await apply()).out, 'applied front');
  assert.equal((await ask(server, {}, 'front')).version, '2');
  assert.equal((await admin(server, 'DELETE', '/routes/m')).status, 400);
  assert.equal((await admin(server, 'DELETE', '/routes/none')).status, 404);
  process.kill(server.servingPid(), 'SIGKILL');
  running.delete(server);
  await server.stop();
  const again = await serve(yaml, { dataDir, folder, root });
  assert.equal((await ask(again.server, {}, 'front')).version, '2');
  assert.equal((await admin(again.server, 'DELETE', '/routes/front')).status, 200);
  assert.equal((await ask(again.server, {}, 'front')).status, 404);
});

const BANDIT = `${BOTH}strategy:
  bandit:
    policy: thompsonBeta
    arms: [stable, next]
    floor: 0.05
    refresh: 500ms
    reward: {wait: 15s, default: 0}
`;

interface BanditView {
  bandit: {
    arms: { name: string; probability: number; rewards: number; mean: number }[];
    feedback: Record<string, number>;
  };
}

test('a bandit learns from rewards by decision id, whatever else is sent, and goes on after a restart', async () => {
  const dataDir = mkdtempSync(join(scratch, 'data-'));
  const folder = mkdtempSync(join(scratch, 'bandit-'));
  const { server, root } = await serve(route('m', BANDIT), { dataDir, folder });
  const served = await Promise.all(Array.from({ length: 200 }, () => ask(server)));
  const send = async (
    events: unknown,
  ): Promise<{ status: number; body: { accepted: number; results: { result: string }[] } }> => {
    const response = await fetch(server.url('/switchyard/v1/feedback'), {
      method: 'POST',
      body: JSON.stringify(events),
    });
    return { status: response.status, body: (await response.json()) as never };
  };
  // Sent at once: the decisions may not have been reported by their threads yet.
  const first = await send({ events: served.map(({ id, variant }) => ({ id, reward: variant === 'next' ? 1 : 0 })) });
  assert.equal(first.status, 200);
  assert.equal(first.body.accepted, 200);
  const fresh = await ask(server);
  const bad = await send({
    events: [
      { id: 'nobody', reward: 1 },
      { id: served[0].id, reward: 1 },
      { id: fresh.id, reward: 'NaN' },
      { id: fresh.id, reward: 2 },
      { reward: 1 },
      17,
      { id: fresh.id, reward: 1 },
    ],
  });
  assert.equal(bad.status, 200);
  assert.deepEqual(
    bad.body.results.map(({ result }) => result),
    ['unknown', 'duplicate', 'notANumber', 'outOfRange', 'malformed', 'malformed', 'accepted'],
  );
  assert.equal((await send({ events: 3 })).status, 400);
  // As Python's json.dumps writes it.
  const python = await fetch(server.url('/switchyard/v1/feedback'), {
    method: 'POST',
    body: `{"events": [{"id": "${fresh.id}", "reward": NaN}, {"id": "nobody", "reward": 1}, {"id": "${fresh.id}", "reward": -Infinity}]}`,
  });
  assert.equal(python.status, 200);
  const spoilt = (await python.json()) as { results: { result: string }[] };
  assert.deepEqual(
    spoilt.results.map(({ result }) => result),
    ['notANumber', 'unknown', 'outOfRange'],
  );
  const metrics = await (await fetch(`http://127.0.0.1:${server.ports.metrics}/metrics`)).text();
  assert.match(metrics, /^switchyard_feedback_unmatched_total\{result="unknown"\} 2$/m);
  assert.match(metrics, /^switchyard_feedback_unmatched_total\{result="malformed"\} 2$/m);
  const told = await admin<{ unmatched_feedback: object }>(server, 'GET', '/routes-status');
  assert.deepEqual(told.body.unmatched_feedback, { unknown: 2, malformed: 2 });
  let view = {} as BanditView;
  await until('all rewards have matured and the better arm is preferred', async () => {
    view = (await admin<BanditView>(server, 'GET', '/routes/m')).body;
    const [, next] = view.bandit.arms;
    return view.bandit.arms.reduce((sum, { rewards }) => sum + rewards, 0) === 201 && next.probability > 0.9;
  });
  assert.equal(view.bandit.arms[1].mean, 1);
  assert.ok(view.bandit.arms[0].probability >= 0.05);
  const late = await send({ id: served[0].id, reward: 1 });
  assert.equal(late.body.results[0].result, 'expired');

  await new Promise((resolve) => setTimeout(resolve, 3000));
  process.kill(server.servingPid(), 'SIGKILL');
  running.delete(server);
  await server.stop();
  const again = await serve(route('m', BANDIT), { dataDir, folder, root });
  // What was not yet kept as learnt waits on, and is learnt with a tick of the new process.
  await until('it knows what it learnt', async () => {
    const { body } = await admin<BanditView>(again.server, 'GET', '/routes/m');
    return body.bandit.arms.reduce((sum, { rewards }) => sum + rewards, 0) === 201;
  });
  const after = await Promise.all(Array.from({ length: 100 }, () => ask(again.server)));
  assert.ok(after.filter(({ variant }) => variant === 'next').length > 80);
});

const CANARY = `${BOTH}strategy:
  canary:
    stable: stable
    candidate: CANDIDATE
    steps:
      - setWeight: 30
      - analysis: {templates: [golden]}
      - pause: {}
    onFail: {rollback: immediate}
`;
const GOLDEN = `apiVersion: switchyard/v1
kind: AnalysisTemplate
metadata: {name: golden}
spec:
  metrics:
    - {name: errors, test: errorRate, margin: 20%, minRequests: 30}
`;

interface CanaryView {
  exit_status: number;
  rollout?: { phase: string; reason: string; weight: number };
  weights: Record<string, number>;
}

/** Sends requests until the canary is in the phase. */
async function loadUntil(server: ServerProcess, phase: string): Promise<CanaryView> {
  let view = {} as CanaryView;
  await until(`phase ${phase}`, async () => {
    await Promise.all(Array.from({ length: 20 }, () => ask(server)));
    view = (await admin<CanaryView>(server, 'GET', '/routes/m')).body;
    return view.rollout?.phase === phase;
  });
  return view;
}

test('a canary goes through its gate to promotion, and goes on where it stood after kill -9', async () => {
  const dataDir = mkdtempSync(join(scratch, 'data-'));
  const folder = mkdtempSync(join(scratch, 'canary-'));
  const yaml = `${route('m', CANARY.replace('CANDIDATE', 'next'))}---\n${GOLDEN}`;
  const { server, root } = await serve(yaml, { dataDir, folder });
  const gated = await loadUntil(server, 'gated');
  assert.equal(gated.exit_status, 2);
  assert.deepEqual(gated.weights, { stable: 0.7, next: 0.3 });
  process.kill(server.servingPid(), 'SIGKILL');
  running.delete(server);
  await server.stop();
  const again = (await serve(yaml, { dataDir, folder, root })).server;
  const view = (await admin<CanaryView>(again, 'GET', '/routes/m')).body;
  assert.deepEqual(view.weights, { stable: 0.7, next: 0.3 });
  await loadUntil(again, 'gated');
  assert.equal((await admin(again, 'POST', '/routes/m/promote')).status, 200);
  const done = await loadUntil(again, 'succeeded');
  assert.deepEqual(done.weights, { stable: 0, next: 1 });
  assert.equal(done.exit_status, 0);
  await until('version 2 answers', async () => (await ask(again)).version === '2');
});

test('a canary whose candidate fails is rolled back to exactly 0, though fallbacks hid it from every client', async () => {
  const versions = { 1: times(1), 2: "export const execute = () => { throw new Error('broken'); };\n" };
  const spec = `${CANARY.replace('CANDIDATE', 'next')}fallback: {on: [5xx], order: [stable]}\nresilience: {retryBudget: {percent: 100, minConcurrency: 100}}\n`;
  const { server } = await serve(`${route('m', spec)}---\n${GOLDEN}`, { versions });
  const view = await loadUntil(server, 'rolledBack');
  assert.match(view.rollout?.reason ?? '', /errors: at least .* worse/);
  assert.deepEqual(view.weights, { stable: 1, next: 0 });
  assert.equal(view.exit_status, 1);
  await until('the gateway has heard of it', async () => {
    const answers = await Promise.all(Array.from({ length: 20 }, () => ask(server)));
    return answers.every(({ variant }) => variant === 'stable');
  });
  for (let i = 0; i < 20; i++) assert.equal((await ask(server)).variant, 'stable');
  assert.equal((await admin(server, 'POST', '/routes/m/retry')).status, 200);
  assert.equal((await admin<CanaryView>(server, 'GET', '/routes/m')).body.rollout?.weight, 30);
});
