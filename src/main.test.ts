import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { native } from './tensor/native.ts';
import { addVersion, scriptRepository, sleeps, times, until, x } from './testing/script-models.ts';
import { FIXTURES, infer, ServerProcess } from './testing/server-process.ts';

const scratch = mkdtempSync(join(tmpdir(), 'switchyard-e2e-'));
const running = new Set<ServerProcess>();
after(async () => {
  await Promise.all([...running].map((server) => server.stop()));
  rmSync(scratch, { recursive: true, force: true });
});

async function start(args: string[], options?: Parameters<typeof ServerProcess.start>[1]): Promise<ServerProcess> {
  const server = await ServerProcess.start(args, options);
  running.add(server);
  return server;
}

async function stop(server: ServerProcess): Promise<number | null> {
  running.delete(server);
  return server.stop();
}

test('the demo configuration serves a real prediction, metrics and health', async () => {
  const server = await start(['--config', 'config/switchyard.yaml']);
  const example = readFileSync('config/models/digits/example.json', 'utf8');
  const response = await fetch(server.url('/v2/models/digits/infer'), { method: 'POST', body: example });
  assert.equal(response.status, 200);
  const answer = (await response.json()) as { outputs: { name: string; data: number[] }[] };
  const probabilities = answer.outputs.find((output) => output.name === 'probabilities')?.data ?? [];
  assert.equal(probabilities.length, 10);
  assert.ok(Math.abs(probabilities.reduce((sum, p) => sum + p, 0) - 1) < 1e-4);
  assert.equal((await fetch(server.url('/v2/health/ready'))).status, 200);
  const metrics = await (await fetch(`http://127.0.0.1:${server.ports.metrics}/metrics`)).text();
  assert.match(metrics, /nv_inference_request_success\{model="digits",version="1"\} 1/);
  assert.equal(await stop(server), 0);
});

test('a new version is swapped in under load without one failed request, and a bad one changes nothing', async () => {
  const root = scriptRepository(scratch, { scale: { versions: { 1: times(10) } } });
  const server = await start(['--model-repository', root]);
  const failures: string[] = [];
  const seen = new Set<unknown>();
  let asking = true;
  const clients = Array.from({ length: 8 }, async () => {
    while (asking) {
      const { status, body } = await infer(server, 'scale', x(1));
      if (status === 200) seen.add(body.outputs?.[0].data[0]);
      else failures.push(`${status} ${body.error}`);
    }
  });
  addVersion(root, 'scale', '2', times(20));
  await until('version 2 answers', async () => seen.has(20));
  addVersion(root, 'scale', '3', 'process.abort();\n');
  await until('version 3 is refused', async () => {
    const response = await fetch(server.url('/v2/repository/index'), { method: 'POST' });
    const index = (await response.json()) as { name: string; version: string; state: string; reason: string }[];
    return index.some(
      (entry) => entry.version === '3' && entry.state === 'UNAVAILABLE' && /SIGABRT|crash/.test(entry.reason),
    );
  });
  seen.clear();
  await until('version 2 still answers', async () => seen.has(20));
  asking = false;
  await Promise.all(clients);
  assert.deepEqual(failures, []);
  assert.ok(!seen.has(10));
  await stop(server);
});

test('an isolated executor killed with -9 costs only its own requests, and comes back', async () => {
  const root = scriptRepository(scratch, {
    isolated: {
      versions: { 1: times(2) },
      config: 'parameters { key: "switchyard.isolation" value { string_value: "process" } }',
    },
    plain: { versions: { 1: times(3) } },
  });
  const server = await start(['--model-repository', root]);
  assert.equal((await infer(server, 'isolated', x(4))).body.outputs?.[0].data[0], 8);
  const pid = server.servingPid();
  const children = (): string[] =>
    readdirSync(`/proc/${pid}/task`)
      .flatMap((task) => readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8').trim().split(' '))
      .filter((child) => child !== '');
  // Those that have proven the models may still be on their way out.
  await until('one child process runs the isolated model', () => children().length === 1);
  process.kill(Number(children()[0]), 'SIGKILL');
  for (let i = 0; i < 20; i++) assert.equal((await infer(server, 'plain', x(1))).status, 200);
  await until('the isolated model answers again', async () => (await infer(server, 'isolated', x(4))).status === 200);
  assert.equal(server.servingPid(), pid);
  await stop(server);
});

test('a crash of the gateway process is repaired in about a second, and three quarantine the newest version', async (t) => {
  const root = scriptRepository(scratch, { scale: { versions: { 1: times(10) } } });
  const begun = performance.now();
  const server = await start(['--model-repository', root]);
  const startMs = performance.now() - begun;
  addVersion(root, 'scale', '2', times(20));
  await until('version 2 answers', async () => (await infer(server, 'scale', x(1))).body.outputs?.[0].data[0] === 20);
  const backAfter: number[] = [];
  for (let crash = 0; crash < 3; crash++) {
    const from = server.log.length;
    const killed = performance.now();
    process.kill(server.servingPid(), 'SIGKILL');
    await server.waitReady(from);
    backAfter.push(performance.now() - killed);
    assert.equal((await infer(server, 'scale', x(1))).status, 200);
  }
  t.diagnostic(`ready again after ${backAfter.map(Math.round).join(', ')} ms`);
  // What an idle machine needs is measured by `npm run loadtest -- start`; this one may be busy with other tests.
  const best = Math.min(...backAfter);
  assert.ok(best < 20_000 + 3 * startMs, `ready again after ${best} ms at best, a start took ${startMs} ms`);
  const { body } = await infer(server, 'scale', x(1));
  assert.equal(body.model_version, '1', 'the last good version serves');
  const response = await fetch(server.url('/v2/repository/index'), { method: 'POST' });
  assert.match(await response.text(), /crashed three times/);
  await stop(server);
});

test('SIGTERM under load answers everything that was accepted', async () => {
  const root = scriptRepository(scratch, {
    slow: { versions: { 1: sleeps(20) } },
  });
  const server = await start(['--model-repository', root]);
  const statuses: number[] = [];
  const resets: number[] = [];
  let refused = 0;
  let lastAnswer = 0;
  let asking = true;
  const clients = Array.from({ length: 16 }, async () => {
    while (asking) {
      try {
        statuses.push((await infer(server, 'slow', x(1), { connection: 'close' })).status);
        lastAnswer = performance.now();
      } catch (error) {
        // Once the port is closed, nobody is listening: that is no failed request.
        const { code } = ((error as Error).cause ?? {}) as { code?: string };
        if (code === 'ECONNRESET') resets.push(performance.now());
        else assert.equal(code, 'ECONNREFUSED', String((error as Error).cause));
        refused++;
        return;
      }
    }
  });
  await new Promise((resolve) => setTimeout(resolve, 300));
  const code = await stop(server);
  asking = false;
  await Promise.all(clients);
  assert.equal(code, 0);
  assert.ok(statuses.length > 16, `${statuses.length} answers`);
  assert.deepEqual(
    statuses.filter((status) => status !== 200),
    [],
  );
  assert.ok(refused > 0, 'somebody asked after the port was closed');
  // The kernel resets whom it let connect, and the process had not accepted, when the port closes: requests are in
  // flight then. A request that was accepted and cut would be reset at the end, when all others are answered.
  for (const at of resets) assert.ok(at <= lastAnswer, `a reset ${at - lastAnswer} ms after the last answer`);
});

test('a bad configuration on reload is refused whole with its place, and a good one is taken', async () => {
  const file = join(scratch, 'reload.yaml');
  const root = scriptRepository(scratch, { scale: { versions: { 1: times(10) } } });
  const key = (digest: string): string =>
    `models: {repositories: [${root}]}\nadmission:\n  apiKeys:\n    - {tenant: a, sha256: ${digest}}\n`;
  const { createHash } = await import('node:crypto');
  const sha = (text: string): string => createHash('sha256').update(text).digest('hex');
  writeFileSync(file, key(sha('old')));
  const server = await start(['--config', file]);
  const ask = async (secret: string): Promise<number> =>
    (await infer(server, 'scale', x(1), { 'x-api-key': secret })).status;
  assert.equal(await ask('old'), 200);
  assert.equal(await ask('wrong'), 401);
  writeFileSync(file, key('not-a-digest'));
  const refusal = await server.waitFor((line) => Array.isArray(line.problems));
  assert.match(String((refusal.problems as string[])[0]), /reload\.yaml:4:\d+: admission\.apiKeys\.0\.sha256: must be/);
  assert.equal(await ask('old'), 200);
  writeFileSync(file, key(sha('new')));
  await server.waitFor((line) => line.msg === 'configuration reloaded');
  await until('the new key is known', async () => (await ask('new')) === 200);
  // Each gateway thread takes it when it comes to it.
  await until('the old key is forgotten', async () => (await ask('old')) === 401);
  await stop(server);
});

test('a configuration that cannot be used ends the start with its place and without a restart', async () => {
  const file = join(scratch, 'bad.yaml');
  writeFileSync(file, 'server:\n  httpPort: 99999\n  portt: 1\n');
  const server = ServerProcess.launch(['--config', file, '--http-port', '0']);
  assert.equal(await server.exited(), 78);
  assert.match(server.stderr, /bad\.yaml:3:3: unknown setting 'server\.portt'/);
});

test('every fixture model loads or says why', async () => {
  const server = await start(['--model-repository', FIXTURES]);
  const response = await fetch(server.url('/v2/repository/index'), { method: 'POST' });
  const index = (await response.json()) as { name: string; state: string; reason: string }[];
  const unready = index.filter((entry) => entry.state !== 'READY' && entry.name !== 'tls');
  // A library that is not compiled, files outside the folder, a type that onnxruntime-node lacks, rows that are not
  // independent of their batch.
  const refused = ['custom_operator', 'external_escape', ...(native === undefined ? ['identity_bf16'] : []), 'slow'];
  assert.deepEqual(
    unready.map((entry) => entry.name),
    refused,
  );
  for (const entry of unready) assert.notEqual(entry.reason, '', entry.name);
  await stop(server);
});
