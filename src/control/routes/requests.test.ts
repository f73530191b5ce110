import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Metadata } from '@grpc/grpc-js';
import { INFERENCE_SERVICE, serviceDefinition } from '../../protocol/grpc/schema.ts';
import {
  type InferResponse,
  inferRequest,
  type StreamResponse,
  status,
  TestClient,
} from '../../testing/grpc-client.ts';
import { scriptRepository, sleeps, times, until, x } from '../../testing/script-models.ts';
import { ServerProcess } from '../../testing/server-process.ts';

/** One route for every way to find a unit or to match, over model m: version 1 multiplies by 2, version 2 by 3. */
const UNITS = ['header: x-user', 'cookie: uid', 'input: x', 'parameter: user', 'metadata: x-user'];
const variants = 'variants: {one: {model: m, version: "1"}, two: {model: m, version: "2"}}';
const routes = [
  ...UNITS.map(
    (from) => `metadata: {name: by-${from.split(':')[0]}}
spec:
  unit: {from: [{${from}}], onMissing: default}
  ${variants}
  strategy: {weighted: {one: 50, two: 50}}`,
  ),
  `metadata: {name: rest}
spec:
  match: [{path: {prefix: /v1/models/}, model: m}]
  ${variants}
  strategy: {weighted: {one: 0, two: 100}}`,
  `metadata: {name: grpc}
spec:
  match: [{path: {regex: "/inference\\\\..*/ModelInfer"}, metadata: {x-tier: {prefix: gold}}, model: m}]
  ${variants}
  strategy: {weighted: {one: 0, two: 100}}`,
  `metadata: {name: m}
spec:
  ${variants}
  overrides:
    - {parameters: {debug: "yes"}, variant: two}
  strategy: {weighted: {one: 100, two: 0}}`,
  `metadata: {name: busy}
spec:
  variants: {one: {model: sleepy, version: "1"}}
  strategy: {weighted: {one: 100}}`,
  // A route of a stage is for clients of the stage; the pipelines do not ask it.
  `metadata: {name: shift}
spec:
  variants: {one: {model: shift, version: "1"}, two: {model: shift, version: "2"}}
  strategy: {weighted: {one: 50, two: 50}}`,
  `metadata: {name: pipe}
spec:
  unit: {from: [{header: x-user}]}
  variants: {old: {model: pipe-old}, new: {model: pipe-new}}
  strategy: {weighted: {old: 50, new: 50}}`,
].map((body) => `apiVersion: switchyard/v1\nkind: Route\n${body}\n`);

/** m, then shift, both in the given version. */
function pipeline(root: string, name: string, version: number): void {
  mkdirSync(join(root, name, '1'), { recursive: true });
  const step = (model: string, input: string, output: string): string =>
    `step { model_name: "${model}" model_version: ${version} input_map { key: "x" value: "${input}" } output_map { key: "y" value: "${output}" } }`;
  writeFileSync(
    join(root, name, 'config.pbtxt'),
    `platform: "ensemble"\nmax_batch_size: 8\ninput [{name: "x" data_type: TYPE_FP32 dims: [1]}]\noutput [{name: "y" data_type: TYPE_FP32 dims: [1]}]\nensemble_scheduling { ${step('m', 'x', 'between')} ${step('shift', 'between', 'y')} }\n`,
  );
}

const scratch = mkdtempSync(join(tmpdir(), 'switchyard-requests-'));
let server: ServerProcess;
let grpc: TestClient;
before(async () => {
  const all = 'version_policy: { all: {} }\n';
  const root = scriptRepository(scratch, {
    m: { versions: { 1: times(2), 2: times(3) }, config: all },
    // One runs and one waits; further ones are shed.
    sleepy: {
      versions: { 1: sleeps(300) },
      config: 'dynamic_batching { default_queue_policy { max_queue_size: 1 } }\n',
    },
    shift: { versions: { 1: times(5), 2: times(7) }, config: all },
  });
  pipeline(root, 'pipe-old', 1);
  pipeline(root, 'pipe-new', 2);
  writeFileSync(join(scratch, 'routes.yaml'), routes.join('---\n'));
  const config = join(scratch, 'switchyard.yaml');
  writeFileSync(
    config,
    `models: {repositories: [${root}]}\nroutes: {files: [routes.yaml]}\nthreads: {gateways: 1, executors: 1}\n`,
  );
  server = await ServerProcess.start(['--config', config, '--no-supervise']);
  grpc = new TestClient(server.ports.grpc, serviceDefinition(INFERENCE_SERVICE));
});
after(async () => {
  grpc.close();
  await server.stop();
  rmSync(scratch, { recursive: true, force: true });
});

interface Asked {
  headers?: Record<string, string>;
  parameters?: Record<string, string>;
  value?: number;
}

async function overHttp(model: string, { headers = {}, parameters, value = 1 }: Asked): Promise<number> {
  const response = await fetch(server.url(`/v2/models/${model}/infer`), {
    method: 'POST',
    headers,
    body: JSON.stringify({ inputs: x(value), ...(parameters === undefined ? {} : { parameters }) }),
  });
  assert.equal(response.status, 200);
  const { outputs } = (await response.json()) as { outputs: { data: number[] }[] };
  return outputs[0].data[0] / value;
}

async function overGrpc(model: string, { headers = {}, parameters = {}, value = 1 }: Asked): Promise<number> {
  const metadata = new Metadata();
  for (const [name, text] of Object.entries(headers)) metadata.set(name, text);
  const values = Object.entries(parameters).map(([name, text]) => [name, { string_param: text }]);
  const request = inferRequest(model, [value], { parameters: Object.fromEntries(values) });
  const { raw_output_contents: raw } = await grpc.unary<{ raw_output_contents: Buffer[] }>('ModelInfer', request, {
    metadata,
  });
  return raw[0].readFloatLE(0) / value;
}

const asUnit: Record<string, (user: number) => Asked> = {
  header: (user) => ({ headers: { 'x-user': `u${user}` } }),
  metadata: (user) => ({ headers: { 'x-user': `u${user}` } }),
  cookie: (user) => ({ headers: { cookie: `theme=dark; uid="u${user}"; last=1` } }),
  input: (user) => ({ value: user + 1 }),
  parameter: (user) => ({ parameters: { user: `u${user}` } }),
};

test('a header, a cookie, an input, a parameter and metadata stick to a variant, over HTTP and gRPC alike', async () => {
  for (const [kind, ask] of Object.entries(asUnit)) {
    const seen = new Set<number>();
    for (let user = 0; user < 24; user++) {
      const factor = await overHttp(`by-${kind}`, ask(user));
      seen.add(factor);
      assert.equal(await overHttp(`by-${kind}`, ask(user)), factor, `${kind} ${user} again`);
      assert.equal(await overGrpc(`by-${kind}`, ask(user)), factor, `${kind} ${user} over gRPC`);
    }
    assert.deepEqual([...seen].sort(), [2, 3], kind);
  }
  for (let i = 0; i < 5; i++) assert.equal(await overHttp('by-cookie', {}), 2, 'without a unit: the default');
});

test('paths and metadata match, the first route in the file wins, and parameters override', async () => {
  assert.equal(await overHttp('m', {}), 2);
  assert.equal(await overHttp('m', { parameters: { debug: 'yes' } }), 3);
  assert.equal(await overHttp('m', { parameters: { debug: 'no' } }), 2);
  assert.equal(await overGrpc('m', {}), 2);
  assert.equal(await overGrpc('m', { headers: { 'x-tier': 'goldfish' } }), 3);
  assert.equal(await overGrpc('m', { headers: { 'x-tier': 'silver' } }), 2);
  assert.equal(await overHttp('m', { headers: { 'x-tier': 'gold' } }), 2, 'its path is not that of gRPC');
  const rest = await fetch(server.url('/v1/models/m:predict'), {
    method: 'POST',
    body: JSON.stringify({ instances: [[1]] }),
  });
  assert.deepEqual(((await rest.json()) as { predictions: number[][] }).predictions, [[3]]);
});

test("a pipeline's stages change version together, whatever the stages' own routes say", async () => {
  const seen = new Set<number>();
  for (let user = 0; user < 40; user++) {
    const ask = { headers: { 'x-user': `u${user}` } };
    const factor = await overHttp('pipe', ask);
    seen.add(factor);
    assert.equal(await overGrpc('pipe', ask), factor);
    const stage = await overHttp('shift', {});
    assert.ok(stage === 5 || stage === 7);
  }
  // 2 · 5 and 3 · 7; never 2 · 7 or 3 · 5.
  assert.deepEqual([...seen].sort(), [10, 21]);
});

/** Value of a counter of a route, over all its slices. */
async function counted(name: string, route: string): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${server.ports.metrics}/metrics`)).text();
  const lines = text.split('\n').filter((line) => line.startsWith(`${name}{route="${route}"`));
  return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
}

const DECISION = /^[\w-]{16,}$/;

test('over gRPC the metadata says who answered, and of a stream the parameters of each answer', async () => {
  const method = serviceDefinition(INFERENCE_SERVICE).ModelInfer;
  const metadata = await new Promise<Metadata>((resolve, reject) => {
    const call = grpc.client.makeUnaryRequest(
      method.path,
      method.requestSerialize as (value: object) => Buffer,
      method.responseDeserialize as unknown as (bytes: Buffer) => InferResponse,
      inferRequest('m', [1]),
      (error) => error !== null && reject(error),
    );
    call.on('metadata', resolve);
  });
  assert.match(String(metadata.get('x-switchyard-id')[0]), DECISION);
  assert.deepEqual(metadata.get('x-switchyard-variant'), ['one']);
  assert.deepEqual(metadata.get('x-switchyard-version'), ['1']);

  const stream = grpc.bidi<StreamResponse>('ModelStreamInfer');
  const answers: StreamResponse[] = [];
  stream.on('data', (answer: StreamResponse) => answers.push(answer));
  for (let i = 0; i < 3; i++) stream.write(inferRequest('m', [i]));
  await until('three answers', () => answers.length === 3);
  stream.end();
  const ids = answers.map(({ infer_response: { parameters } }) => {
    assert.equal(parameters.switchyard_variant.string_param, 'one');
    assert.equal(parameters.switchyard_version.string_param, '1');
    return String(parameters.switchyard_id.string_param);
  });
  for (const id of ids) assert.match(id, DECISION);
  assert.equal(new Set(ids).size, 3, 'each of them is a decision');
});

test('a routed request that is shed says what was decided, and is counted as shed', async () => {
  const MANY = 12;
  let shed = 0;
  const body = JSON.stringify({ inputs: x(1) });
  await Promise.all(
    Array.from({ length: MANY }, async () => {
      const answer = await fetch(server.url('/v2/models/busy/infer'), { method: 'POST', body });
      await answer.arrayBuffer();
      if (answer.status === 200) return;
      assert.equal(answer.status, 429);
      assert.match(answer.headers.get('x-switchyard-id') ?? '', DECISION);
      assert.equal(answer.headers.get('x-switchyard-variant'), 'one');
      shed++;
    }),
  );
  assert.ok(shed > 0, 'none was shed over HTTP');
  const before = shed;
  const stream = grpc.bidi<StreamResponse>('ModelStreamInfer');
  const answers: StreamResponse[] = [];
  stream.on('data', (answer: StreamResponse) => answers.push(answer));
  for (let i = 0; i < MANY; i++) stream.write(inferRequest('busy', [1]));
  await until('all of the stream are answered', () => answers.length === MANY);
  stream.end();
  const refused = answers.filter(({ error_message }) => error_message !== '');
  assert.ok(refused.length > 0, 'none was shed in a stream');
  for (const { infer_response: response } of refused) {
    assert.match(String(response.parameters.switchyard_id.string_param), DECISION);
    assert.equal(response.parameters.switchyard_variant.string_param, 'one');
  }
  shed += refused.length;
  await Promise.all(
    Array.from({ length: MANY }, async () => {
      const call = grpc.unary('ModelInfer', inferRequest('busy', [1]));
      const failed = await call.then(() => false).catch(() => true);
      if (!failed) return;
      const { code, metadata } = await status(call);
      assert.equal(code, 8);
      assert.match(String(metadata.get('x-switchyard-id')[0]), DECISION);
      assert.deepEqual(metadata.get('x-switchyard-variant'), ['one']);
      shed++;
    }),
  );
  assert.ok(shed > before + refused.length, 'none was shed over gRPC');
  await until(
    'they are counted',
    async () =>
      (await counted('switchyard_route_sheds_total', 'busy')) === shed &&
      (await counted('switchyard_route_requests_total', 'busy')) === 3 * MANY,
  );
  assert.equal(await counted('switchyard_route_errors_total', 'busy'), 0);

  const wrong = await fetch(server.url('/v2/models/busy/infer'), {
    method: 'POST',
    body: JSON.stringify({ inputs: [{ ...x(1)[0], name: 'z' }] }),
  });
  assert.equal(wrong.status, 400);
  await until('the client error is counted', async () => {
    return (await counted('switchyard_route_client_errors_total', 'busy')) === 1;
  });
});
