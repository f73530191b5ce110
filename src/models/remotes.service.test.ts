import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { PhaseLatencies } from '../testing/phase-latencies.ts';
import { infer, ServerProcess } from '../testing/server-process.ts';
import { freeTritonPorts, startTriton, stopTriton, sweepTriton } from '../testing/triton.ts';

/** gRPC address of a Triton over .ci/services/triton/models; .ci/services/triton.sh runs one. */
const url = process.env.SWITCHYARD_TEST_TRITON_URL ?? '';
assert.notEqual(url, '', 'SWITCHYARD_TEST_TRITON_URL must name a Triton, as .ci/services/triton.sh run starts one');

const scratch = mkdtempSync(join(tmpdir(), 'switchyard-remotes-'));
const running = new Set<ServerProcess>();
after(async () => {
  await Promise.all([...running].map((server) => server.stop()));
  rmSync(scratch, { recursive: true, force: true });
});

/** Answers of the local model that a phase is judged by. */
const SAMPLES = 200;

let servers = 0;
/** A gateway over one remote and a local model `double`. */
async function serve(address: string, dataDir?: string): Promise<ServerProcess> {
  const root = join(scratch, String(servers++));
  mkdirSync(join(root, 'models', 'double', '1'), { recursive: true });
  writeFileSync(
    join(root, 'models', 'double', 'config.pbtxt'),
    'backend: "javascript"\nmax_batch_size: 8\ninput [{name: "x" data_type: TYPE_FP32 dims: [1]}]\noutput [{name: "y" data_type: TYPE_FP32 dims: [1]}]\n',
  );
  writeFileSync(
    join(root, 'models', 'double', '1', 'model.mjs'),
    "export const execute = ({ x }) => ({ y: { datatype: 'FP32', shape: x.shape, data: x.data.map((v) => v * 2) } });\n",
  );
  writeFileSync(
    join(root, 'switchyard.yaml'),
    `models:\n  repositories: [models]\n  pollSeconds: 0.2\n  remotes:\n    - {name: big, url: "${address}", refreshSeconds: 0.5}\n`,
  );
  const server = await ServerProcess.start(['--config', join(root, 'switchyard.yaml')], { dataDir });
  running.add(server);
  return server;
}

const row = Array.from({ length: 16 }, (_, i) => i);
const pair = [
  { name: 'INPUT0', shape: [1, 16], datatype: 'INT32', data: row },
  { name: 'INPUT1', shape: [1, 16], datatype: 'INT32', data: row.map((value) => value * 2) },
];
const pause = (ms: number) => [{ name: 'MILLISECONDS', shape: [1], datatype: 'INT32', data: [ms] }];
const x = [{ name: 'x', shape: [1, 1], datatype: 'FP32', data: [21] }];

async function index(server: ServerProcess): Promise<Map<string, string>> {
  const response = await fetch(server.url('/v2/repository/index'), { method: 'POST' });
  const list = (await response.json()) as { name: string; version: string; state: string }[];
  return new Map(list.map((entry) => [`${entry.name}/${entry.version}`, entry.state]));
}

async function until(what: string, check: () => Promise<boolean>): Promise<void> {
  for (let i = 0; i < 600; i++) {
    if (await check()) return;
    await sleep(50);
  }
  assert.fail(`not within 30 s: ${what}`);
}

test('every model of a Triton answers through our port as if it were ours, without naming one in a configuration', async () => {
  const server = await serve(url);
  assert.deepEqual(
    await index(server),
    new Map(
      ['add_sub/1', 'double/1', 'identity_fp32/1', 'identity_string/1', 'repeat/1', 'slow/1'].map((key) => [
        key,
        'READY',
      ]),
    ),
  );
  const { status, body } = await infer(server, 'add_sub', pair);
  assert.equal(status, 200, body.error);
  assert.equal(body.model_version, '1');
  assert.deepEqual(
    new Map(body.outputs?.map((output) => [output.name, output.data])),
    new Map([
      ['OUTPUT0', row.map((value) => value * 3)],
      ['OUTPUT1', row.map((value) => 0 - value)],
    ]),
  );
  const text = await infer(server, 'identity_string', [
    { name: 'INPUT', shape: [1, 2], datatype: 'BYTES', data: ['ä', ''] },
  ]);
  assert.deepEqual(text.body.outputs, [{ name: 'OUTPUT', shape: [1, 2], datatype: 'BYTES', data: ['ä', ''] }]);
  const metadata = (await (await fetch(server.url('/v2/models/add_sub'))).json()) as { inputs: unknown[] };
  assert.deepEqual(metadata.inputs[0], { name: 'INPUT0', datatype: 'INT32', shape: [-1, 16] });
  const wrong = await infer(server, 'add_sub', pair.slice(1));
  assert.equal(wrong.status, 400);
});

test('kill -9 of the Triton: its models answer 503 at once, a local one is unmoved, and all is well after its restart', async (t) => {
  const ports = await freeTritonPorts();
  let triton = await startTriton(ports);
  try {
    const server = await serve(`127.0.0.1:${ports.grpc}`);
    assert.equal((await infer(server, 'add_sub', pair)).status, 200);
    const local: number[] = [];
    const latencies = new PhaseLatencies();
    let asking = true;
    const asker = (async () => {
      while (asking) {
        const { status, body } = await latencies.time(() => infer(server, 'double', x));
        local.push(status === 200 ? Number(body.outputs?.[0].data[0]) : -status);
      }
    })();
    const inFlight = infer(server, 'slow', pause(60_000));
    while (latencies.count() < SAMPLES) assert.equal((await infer(server, 'add_sub', pair)).status, 200);
    latencies.phase = 'away';
    await stopTriton(triton, 'SIGKILL');
    assert.equal((await inFlight).status, 503, 'what was in flight does not wait for its time');
    const before = local.length;
    for (let i = 0; i < 50; i++) {
      const { status, body } = await infer(server, 'add_sub', pair);
      assert.equal(status, 503);
      assert.doesNotMatch(body.error ?? '', /127\.0\.0\.1/);
    }
    await until('the mirror has noticed', async () =>
      server.log.some((line) => /cannot be looked through/.test(String(line.msg))),
    );
    assert.equal((await index(server)).has('add_sub/1'), true, 'the models stay known');
    assert.equal((await infer(server, 'add_sub', pair)).status, 503);
    await until('the local model went on meanwhile', async () => local.length > before && latencies.count() >= SAMPLES);
    for (const line of latencies.compare('calm', ['away'])) t.diagnostic(line);
    triton = await startTriton(ports);
    const ready = performance.now();
    await until('the remote model answers again', async () => (await infer(server, 'add_sub', pair)).status === 200);
    t.diagnostic(
      `the remote model answers ${Math.round(performance.now() - ready)} ms after its server is ready again`,
    );
    asking = false;
    await asker;
    assert.deepEqual(
      local.filter((value) => value !== 42),
      [],
    );
  } finally {
    await stopTriton(triton, 'SIGKILL');
    await sweepTriton(ports);
  }
});

test('a Triton that is away when we start is served once it comes, also when its models are known from before', async () => {
  const ports = await freeTritonPorts();
  const dataDir = join(scratch, 'data');
  let server = await serve(`127.0.0.1:${ports.grpc}`, dataDir);
  assert.deepEqual([...(await index(server)).keys()], ['double/1']);
  assert.equal((await infer(server, 'double', x)).status, 200);
  let triton = await startTriton(ports);
  try {
    const served = async () => (await infer(server, 'add_sub', pair)).status === 200;
    await until('its models are found', served);
    await stopTriton(triton, 'SIGKILL');
    running.delete(server);
    await server.stop();
    server = await serve(`127.0.0.1:${ports.grpc}`, dataDir);
    assert.equal((await index(server)).get('add_sub/1'), 'UNAVAILABLE');
    assert.equal((await infer(server, 'add_sub', pair)).status, 503);
    assert.equal((await infer(server, 'double', x)).status, 200);
    triton = await startTriton(ports);
    await until('its known models are loaded', served);
  } finally {
    await stopTriton(triton, 'SIGKILL');
    await sweepTriton(ports);
  }
});
