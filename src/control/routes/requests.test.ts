import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Metadata } from '@grpc/grpc-js';
import { INFERENCE_SERVICE, serviceDefinition } from '../../protocol/grpc/schema.ts';
import { inferRequest, TestClient } from '../../testing/grpc-client.ts';
import { scriptRepository, times, x } from '../../testing/script-models.ts';
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
