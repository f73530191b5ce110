import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { isDeepStrictEqual } from 'node:util';
import { cli } from '../../testing/cli.ts';
import { scriptRepository, times, until, x } from '../../testing/script-models.ts';
import { ServerProcess } from '../../testing/server-process.ts';

const scratch = mkdtempSync(join(tmpdir(), 'switchyard-promotion-'));
const running = new Set<ServerProcess>();
after(async () => {
  await Promise.all([...running].map((server) => server.stop()));
  rmSync(scratch, { recursive: true, force: true });
});

const CANARY = `apiVersion: switchyard/v1
kind: Route
metadata: {name: m}
spec:
  variants: {stable: {model: m, alias: champion}, next: {model: m, version: "2"}}
  strategy:
    canary:
      stable: stable
      candidate: next
      steps: [{setWeight: 50}, {pause: {}}]
      onFail: {rollback: immediate}
      onPass: {setAlias: champion}
`;

interface View {
  weights: Record<string, number>;
  variants: { name: string; version: string }[];
  rollout?: { phase: string; reason: string };
}

/** A server whose embedded registry has model m with versions 1 to 3, and champion on version 1. */
async function serve(): Promise<ServerProcess> {
  const folder = mkdtempSync(join(scratch, 'case-'));
  const root = scriptRepository(folder, {
    m: { versions: { 1: times(1), 2: times(2), 3: times(3) }, config: 'version_policy: { all: {} }\n' },
  });
  writeFileSync(join(folder, 'routes.yaml'), CANARY);
  const config = join(folder, 'switchyard.yaml');
  writeFileSync(
    config,
    `models: {repositories: [${root}]}\nroutes: {files: [routes.yaml]}\nthreads: {gateways: 1, executors: 1}\n`,
  );
  const server = await ServerProcess.start(['--config', config, '--no-supervise']);
  running.add(server);
  await mlflow(server, 'registered-models/create', { name: 'm' });
  for (let i = 0; i < 3; i++)
    await mlflow(server, 'model-versions/create', { name: 'm', source: 'mlflow-artifacts:/0/m' });
  await mlflow(server, 'registered-models/alias', { name: 'm', alias: 'champion', version: '1' });
  return server;
}

async function mlflow(server: ServerProcess, path: string, body: object): Promise<void> {
  const response = await fetch(`http://127.0.0.1:${server.ports.admin}/api/2.0/mlflow/${path}`, {
    method: 'POST',
    body: JSON.stringify(body),
  });
  assert.equal(response.status, 200, await response.text());
}

const run = (server: ServerProcess, ...args: string[]) =>
  cli([...args, '--admin', `http://127.0.0.1:${server.ports.admin}`]);

const CLI = fileURLToPath(new URL('../../../dist/cli/main.js', import.meta.url));
/** What begins a terminal's screen anew. */
const CLEAR = '\x1b[H\x1b[J';

/** The built program in a pseudo-terminal, made by util-linux's script. */
async function inTerminal(server: ServerProcess, ...args: string[]): Promise<{ code: number; screen: string }> {
  const words = [process.execPath, CLI, ...args, '--admin', `http://127.0.0.1:${server.ports.admin}`];
  const command = words.map((word) => `'${word}'`).join(' ');
  const child = spawn('script', ['-qec', command, '/dev/null'], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [screen, [code]] = await Promise.all([text(child.stdout), once(child, 'close')]);
  return { code: code as number, screen };
}

async function view(server: ServerProcess): Promise<View> {
  const { out, err } = await run(server, 'routes', 'get', 'm', '-o', 'json');
  assert.notEqual(out, '', err);
  return JSON.parse(out) as View;
}

const inPhase = (server: ServerProcess, phase: string): Promise<void> =>
  until(`phase ${phase}`, async () => (await view(server)).rollout?.phase === phase);

/** Of what a rollout does by itself, and of aliases, gateway threads hear a moment after the control plane shows it. */
const answersWith = (server: ServerProcess, ...versions: number[]): Promise<void> =>
  until(`versions ${versions} answer`, async () => isDeepStrictEqual([...(await factors(server))].sort(), versions));

async function factors(server: ServerProcess): Promise<Set<number>> {
  const seen = new Set<number>();
  for (let i = 0; i < 40; i++) {
    const response = await fetch(server.url('/v2/models/m/infer'), {
      method: 'POST',
      body: JSON.stringify({ inputs: x(1) }),
    });
    seen.add(((await response.json()) as { outputs: { data: number[] }[] }).outputs[0].data[0]);
  }
  return seen;
}

test('verbs steer a canary, exit codes follow its health, and its end moves the alias by compare-and-set', async () => {
  const server = await serve();
  await inPhase(server, 'gated');
  assert.equal((await run(server, 'routes', 'get', 'm')).code, 3, 'a gate waits for a person');
  await answersWith(server, 1, 2);
  const paused = await run(server, 'routes', 'pause', 'm');
  assert.equal(paused.code, 3);
  assert.match(paused.out, /\(paused\)/);
  assert.doesNotMatch((await run(server, 'routes', 'resume', 'm')).out, /\(paused\)/);
  const aborted = await run(server, 'routes', 'abort', 'm', '--reason', 'wrong weights');
  assert.equal(aborted.code, 1);
  assert.deepEqual([...(await factors(server))], [1], 'what is answered is in force');
  const { out, code } = await run(server, 'routes', 'get', 'm', '-w');
  assert.equal(code, 1, 'watching what is over ends with how it went');
  assert.match(out, /wrong weights/);
  assert.equal(out.includes(CLEAR), false, 'a pipe gets text alone');
  const seen = await inTerminal(server, 'routes', 'get', 'm', '-w');
  assert.deepEqual([seen.code, seen.screen.startsWith(CLEAR)], [1, true], JSON.stringify(seen));
  assert.match(seen.screen, /rolledBack[\s\S]*wrong weights/, 'a terminal shows the same, on a screen of its own');

  assert.ok([3, 4].includes((await run(server, 'routes', 'retry', 'm')).code));
  await inPhase(server, 'gated');
  const watching = run(server, 'routes', 'get', 'm', '-w', '--timeout', '300');
  await run(server, 'routes', 'promote', 'm');
  assert.equal((await watching).code, 0, 'a watched rollout that succeeds ends with 0');
  const history = await run(server, 'registry', 'history', 'm', 'champion');
  assert.match(history.out, /\n\S+ +m +2 +1 .*rollout of route m/);
  // Stable is version 2 by now, so the candidate's share could go back to it.
  await until('stable is version 2', async () => (await view(server)).variants[0].version === '2');
  const done = await view(server);
  assert.deepEqual(done.weights, { stable: 1, next: 0 });
  await answersWith(server, 2);
});

test('an alias that somebody moved meanwhile is left alone, and the rollout is rolled back', async () => {
  const server = await serve();
  await inPhase(server, 'gated');
  assert.equal((await run(server, 'registry', 'promote', 'm', 'champion', '3')).code, 0);
  await run(server, 'routes', 'promote', 'm');
  await inPhase(server, 'rolledBack');
  const { rollout, weights } = await view(server);
  assert.match(rollout?.reason ?? '', /alias champion names 3 by now, not 1/);
  assert.deepEqual(weights, { stable: 1, next: 0 });
  await answersWith(server, 3);
});

test('commands to nothing are refused with what is wrong', async () => {
  const server = [...running][0];
  const unknown = await run(server, 'routes', 'promote', 'none');
  assert.equal(unknown.code, 1);
  assert.match(unknown.err, /there is no route "none"/);
  assert.equal((await cli(['routes', 'get', 'm', '--admin', 'http://127.0.0.1:9'])).code, 69);
  assert.equal((await run(server, 'routes', 'get')).code, 2);
});
