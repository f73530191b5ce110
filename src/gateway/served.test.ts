import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { credentials, type ServiceError } from '@grpc/grpc-js';
import { hashApiKey } from '../admission/api-keys.ts';
import { INFERENCE_SERVICE, serviceDefinition } from '../protocol/grpc/schema.ts';
import { type InferResponse, inferRequest, TestClient } from '../testing/grpc-client.ts';
import { scriptRepository, sleeps, times, until, x } from '../testing/script-models.ts';
import { FIXTURES, infer, ServerProcess } from '../testing/server-process.ts';

const scratch = mkdtempSync(join(tmpdir(), 'switchyard-served-'));
const running = new Set<ServerProcess>();
let collector: Server;
let server: ServerProcess;
const spans: Span[] = [];

interface Span {
  name: string;
  traceId: string;
  spanId: string;
  parentSpanId?: string;
  traceState?: string;
  startTimeUnixNano: string;
  endTimeUnixNano: string;
}

async function start(name: string, config: string): Promise<ServerProcess> {
  const file = join(scratch, `${name}.yaml`);
  writeFileSync(file, config);
  const started = await ServerProcess.start(['--config', file]);
  running.add(started);
  return started;
}

const text = async (url: string): Promise<string> => (await fetch(url)).text();

/** Each run of this model answers a number of its own. */
const COUNTS = `let runs = 0;
export const execute = ({ x }) => { runs++; return { y: { datatype: 'FP32', shape: x.shape, data: x.data.map(() => runs) } }; };
`;
/** Each run uses 100 ms of CPU, however long that takes. */
const BURNS = `const used = () => process.cpuUsage().user + process.cpuUsage().system;
export const execute = ({ x }) => {
  for (const end = used() + 100_000; used() < end; );
  return { y: { datatype: 'FP32', shape: x.shape, data: x.data } };
};
`;
const ISOLATED = 'parameters { key: "switchyard.isolation" value { string_value: "process" } }';
const UNPROVEN = 'parameters { key: "switchyard.preflight" value { string_value: "false" } }';

before(async () => {
  collector = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const { resourceSpans } = JSON.parse(Buffer.concat(chunks).toString()) as {
        resourceSpans: { scopeSpans: { spans: Span[] }[] }[];
      };
      for (const { scopeSpans } of resourceSpans) for (const scope of scopeSpans) spans.push(...scope.spans);
      response.setHeader('content-type', 'application/json').end('{}');
    });
  });
  await new Promise<void>((resolve) => collector.listen(0, '127.0.0.1', resolve));
  const root = scriptRepository(scratch, {
    scale: { versions: { 1: times(2) } },
    burns: { versions: { 1: BURNS }, config: `${ISOLATED}\n${UNPROVEN}` },
    counts: { versions: { 1: COUNTS }, config: `response_cache { enable: true }\n${UNPROVEN}` },
  });
  const folder = join(root, 'ragged');
  mkdirSync(join(folder, '1'), { recursive: true });
  // It waits for three requests: then they are one batch, whoever comes first.
  writeFileSync(
    join(folder, 'config.pbtxt'),
    `backend: "javascript"
max_batch_size: 3
input [{name: "x" data_type: TYPE_FP32 dims: [-1] allow_ragged_batch: true}]
output [{name: "y" data_type: TYPE_FP32 dims: [-1]}, {name: "width" data_type: TYPE_FP32 dims: [1]}]
dynamic_batching { preferred_batch_size: [3] max_queue_delay_microseconds: 120000000 }
parameters { key: "switchyard.ragged_pad_value" value { string_value: "-7" } }
${UNPROVEN}
`,
  );
  writeFileSync(
    join(folder, '1', 'model.mjs'),
    `export const execute = ({ x }) => {
  const [rows, width] = x.shape;
  return {
    y: { datatype: 'FP32', shape: x.shape, data: x.data.map((v) => v * 10) },
    width: { datatype: 'FP32', shape: [rows, 1], data: new Float32Array(rows).fill(width) },
  };
};
`,
  );
  server = await start(
    'plain',
    `models: {repositories: [${root}]}
cache: {memoryBytes: 1000000}
telemetry: {tracing: {endpoint: 'http://127.0.0.1:${(collector.address() as AddressInfo).port}/v1/traces', sampleRatio: 0}}
admission:
  anonymous: allow
  apiKeys:
    - {tenant: a, sha256: ${hashApiKey('key-a')}}
    - {tenant: b, sha256: ${hashApiKey('key-b')}}
`,
  );
});

after(async () => {
  await Promise.all([...running].map((each) => each.stop()));
  await new Promise((resolve) => collector.close(resolve));
  rmSync(scratch, { recursive: true, force: true });
});

test('the response cache answers equal requests of one tenant, and never another tenant', async () => {
  const ask = async (key: string, value: number) => {
    const { status, body } = await infer(server, 'counts', x(value), { 'x-api-key': key });
    assert.equal(status, 200, body.error);
    return body.outputs?.[0].data[0] as number;
  };
  const first = await ask('key-a', 1);
  assert.equal(await ask('key-a', 1), first, 'the same answer again');
  const other = await ask('key-b', 1);
  assert.notEqual(other, first, 'another tenant has the model run');
  assert.equal(await ask('key-b', 1), other);
  assert.notEqual(await ask('key-a', 2), first, 'another input is another request');
  const metrics = await text(`http://127.0.0.1:${server.ports.metrics}/metrics`);
  assert.match(metrics, /nv_cache_num_hits_per_model\{model="counts",version="1"\} 2\n/);
  assert.match(metrics, /nv_cache_num_misses_per_model\{model="counts",version="1"\} 3\n/);
});

test('requests of different lengths share a batch, padded on the way in and cut on the way out', async () => {
  const lengths = [1, 3, 5];
  const answers = await Promise.all(
    lengths.map((length) =>
      infer(server, 'ragged', [
        { name: 'x', shape: [1, length], datatype: 'FP32', data: Array.from({ length }, (_, i) => length + i) },
      ]),
    ),
  );
  answers.forEach(({ status, body }, at) => {
    assert.equal(status, 200, body.error);
    const output = (name: string) => body.outputs?.find((each) => each.name === name);
    assert.deepEqual(output('width')?.data, [5], 'all three ran as one batch of the longest');
    assert.deepEqual(output('y')?.shape, [1, lengths[at]]);
    assert.deepEqual(
      output('y')?.data,
      Array.from({ length: lengths[at] }, (_, i) => 10 * (lengths[at] + i)),
    );
  });
});

test("a request that its caller samples is five spans of the caller's trace, one behind the other", async () => {
  const traceId = '0af7651916cd43dd8448eb211c80319c';
  const traceparent = `00-${traceId}-b7ad6b7169203331-01`;
  assert.equal((await infer(server, 'scale', x(1), { traceparent })).status, 200);
  const mine = () => spans.filter((span) => span.traceId === traceId);
  await until('the spans arrive', () => mine().length >= 5);
  const root = mine().find(({ name }) => name === 'infer');
  assert.equal(root?.parentSpanId, 'b7ad6b7169203331');
  const phases = mine().filter(({ parentSpanId }) => parentSpanId === root?.spanId);
  assert.deepEqual(
    phases.map(({ name }) => name),
    ['queue', 'compute_input', 'compute_infer', 'compute_output'],
  );
  const [begun, ended] = [BigInt(root!.startTimeUnixNano), BigInt(root!.endTimeUnixNano)];
  const ends = phases.map((span) => BigInt(span.endTimeUnixNano));
  // Before the queue lie decoding and admission: the stages end with the answer. A clock read in doubles is off by less.
  const slack = 100_000n;
  const last = ends.at(-1) as bigint;
  assert.ok(last - ended < slack && ended - last < slack, `the last stage ends ${ended - last} ns before the answer`);
  assert.ok(BigInt(phases[0].startTimeUnixNano) - begun > -slack, 'the queue begins after the request');
});

test('a trace goes on at the server behind a remote model', async () => {
  const root = mkdtempSync(join(scratch, 'remote-'));
  mkdirSync(join(root, 'far'));
  writeFileSync(
    join(root, 'far', 'config.pbtxt'),
    `backend: "kserve"
parameters { key: "url" value { string_value: "127.0.0.1:${server.ports.grpc}" } }
parameters { key: "remote_model" value { string_value: "scale" } }
`,
  );
  const front = await start('front', `models: {repositories: [${root}]}\n`);
  const traceId = 'c0ffee1916cd43dd8448eb211c80319c';
  for (const traceparent of [`00-${traceId}-b7ad6b7169203331-01`, 'nonsense']) {
    const { status, body } = await infer(front, 'far', x(3), { traceparent, tracestate: 'rojo=00f067aa0ba902b7' });
    assert.equal(status, 200, body.error);
  }
  await until('the span of the server behind arrives', () => spans.some((span) => span.traceId === traceId));
  const span = spans.find((each) => each.traceId === traceId && each.name === 'infer');
  assert.equal(span?.parentSpanId, 'b7ad6b7169203331');
  assert.equal(span?.traceState, 'rojo=00f067aa0ba902b7');
});

test('memory of loaded versions is a metric', async () => {
  const digits = await start('digits', `models: {repositories: [${FIXTURES}], load: [mlp_small], mode: explicit}\n`);
  const metrics = await text(`http://127.0.0.1:${digits.ports.metrics}/metrics`);
  const bytes = Number(/switchyard_model_memory_bytes\{model="mlp_small",version="1"\} (\d+)/.exec(metrics)?.[1]);
  assert.ok(bytes > 0, `${bytes} bytes`);
});

test("an isolated model's CPU time and memory are those of its process, and its tenants share the time", async () => {
  interface Usage {
    models: { model: string; cpu_seconds: number; memory_bytes: number }[];
    tenants: { tenant: string; cpu_seconds: number; memory_byte_seconds: number }[];
  }
  const usage = async () => JSON.parse(await text(`http://127.0.0.1:${server.ports.admin}/api/v1/usage`)) as Usage;
  const tenants = ({ tenants }: Usage) =>
    ['a', 'b'].map((name) => tenants.find(({ tenant }) => tenant === name)?.cpu_seconds ?? 0);
  const before = tenants(await usage());
  for (const key of ['key-a', 'key-b', 'key-b']) {
    const { status, body } = await infer(server, 'burns', x(1), { 'x-api-key': key });
    assert.equal(status, 200, body.error);
  }
  let now = await usage();
  const model = () => now.models.find((each) => each.model === 'burns')!;
  assert.ok(model().cpu_seconds >= 0.3, `${model().cpu_seconds} s`);
  const [a, b] = tenants(now).map((seconds, i) => seconds - before[i]);
  assert.ok(a >= 0.1 && b >= 0.2, `${a} s and ${b} s`);
  // A whole Node process: far more than the estimate from the size of a few lines of JavaScript.
  await until('its memory is looked at', async () => {
    now = await usage();
    return model().memory_bytes > 20e6;
  });
  const held = (await usage()).tenants.filter(({ tenant }) => tenant === 'a' || tenant === 'b');
  for (const { tenant, memory_byte_seconds } of held)
    assert.ok(memory_byte_seconds > 0, `${tenant} ${memory_byte_seconds}`);
  assert.equal(held.length, 2);
});

const pem = (name: string) => readFileSync(join(FIXTURES, 'tls', name));

/** One HTTPS request, with alice's certificate or none. */
function secure(
  port: number,
  path: string,
  certified: boolean,
  body?: string,
): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const request = httpsRequest(
      {
        host: '127.0.0.1',
        port,
        path,
        method: body === undefined ? 'GET' : 'POST',
        ca: pem('ca.pem'),
        ...(certified ? { cert: pem('alice.pem'), key: pem('alice.key') } : {}),
      },
      (response) => {
        let received = '';
        response.setEncoding('utf8').on('data', (chunk: string) => {
          received += chunk;
        });
        response.on('end', () => resolve({ status: response.statusCode ?? 0, body: received }));
      },
    );
    request.on('error', reject);
    request.end(body);
  });
}

test('every port speaks TLS, and a client certificate is a tenant over HTTP and gRPC', async () => {
  const root = scriptRepository(scratch, { scale: { versions: { 1: times(2) } } });
  const file = (name: string) => join(FIXTURES, 'tls', name);
  const tls = await start(
    'tls',
    `models: {repositories: [${root}]}
server: {tls: {certFile: ${file('localhost.pem')}, keyFile: ${file('localhost.key')}, caFile: ${file('ca.pem')}}}
admission:
  anonymous: deny
  certificates: [{name: alice, tenant: wonderland}]
`,
  );
  const { http, grpc, metrics, admin } = tls.ports;
  const body = JSON.stringify({ inputs: x(4) });
  const overHttp = await secure(http, '/v2/models/scale/infer', true, body);
  assert.equal(overHttp.status, 200, overHttp.body);
  assert.equal((await secure(http, '/v2/models/scale/infer', false, body)).status, 401);
  const definition = serviceDefinition(INFERENCE_SERVICE);
  const ssl = (certified: boolean) =>
    certified
      ? credentials.createSsl(pem('ca.pem'), pem('alice.key'), pem('alice.pem'))
      : credentials.createSsl(pem('ca.pem'));
  const alice = new TestClient(grpc, definition, {}, ssl(true));
  const nobody = new TestClient(grpc, definition, {}, ssl(false));
  const answer = await alice.unary<InferResponse>('ModelInfer', inferRequest('scale', [4]));
  assert.deepEqual([...new Float32Array(new Uint8Array(answer.raw_output_contents[0]).buffer)], [8]);
  await assert.rejects(nobody.unary('ModelInfer', inferRequest('scale', [4])), { code: 16 });
  alice.close();
  nobody.close();
  await until('both requests are counted for the tenant', async () => {
    const { body: figures } = await secure(metrics, '/metrics', true);
    return figures.includes('switchyard_tenant_requests_total{tenant="wonderland"} 2\n');
  });
  assert.equal((await secure(admin, '/api/v1/usage', true)).status, 200);
  for (const port of [http, metrics, admin]) {
    await assert.rejects(fetch(`http://127.0.0.1:${port}/`), 'nothing is answered in the clear');
  }
});

test('SIGTERM under load over gRPC: every call under way is answered, later ones find nobody', async () => {
  const root = scriptRepository(scratch, { slow: { versions: { 1: sleeps(20) } } });
  const loaded = await start('grpc-load', `models: {repositories: [${root}]}\n`);
  const definition = serviceDefinition(INFERENCE_SERVICE);
  const clients = Array.from(
    { length: 8 },
    (_, i) => new TestClient(loaded.ports.grpc, definition, { 'client.number': i }),
  );
  let stopping = false;
  let answered = 0;
  const lost: string[] = [];
  const busy = clients.map(async (client) => {
    while (!stopping) {
      try {
        await client.unary('ModelInfer', inferRequest('slow', [1]));
        answered++;
      } catch (error) {
        lost.push((error as ServiceError).message);
      }
    }
  });
  await until('the load is under way', () => answered > 50);
  stopping = true;
  // What was begun is on the wire by then.
  await new Promise((resolve) => setTimeout(resolve, 5));
  running.delete(loaded);
  const ended = loaded.stop();
  await Promise.all(busy);
  assert.deepEqual(lost, []);
  assert.equal(await ended, 0);
  const late = await clients[0]
    .unary('ModelInfer', inferRequest('slow', [1]), { deadline: new Date(Date.now() + 60_000) })
    .then(
      () => 0,
      (error: ServiceError) => error.code,
    );
  assert.equal(late, 14, 'UNAVAILABLE: clients go elsewhere');
  for (const client of clients) client.close();
});
