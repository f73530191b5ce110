import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Metadata } from '@grpc/grpc-js';
import { hashApiKey } from '../../admission/api-keys.ts';
import { INFERENCE_SERVICE, serviceDefinition } from '../../protocol/grpc/schema.ts';
import { inferRequest, type StreamResponse, status, TestClient } from '../../testing/grpc-client.ts';
import { scriptRepository, times, until, x } from '../../testing/script-models.ts';
import { ServerProcess } from '../../testing/server-process.ts';

const VARIANTS = 'variants: {one: {model: m, version: "1"}, two: {model: m, version: "2"}}';
const BANDIT =
  'arms: [one, two], mode: online, refresh: 200ms, floor: 0.05, context: {inputs: [x], dim: 2}, reward: {wait: 4s, default: 0}';
const ROUTES = [
  `metadata: {name: for-acme}
spec:
  match: [{model: m, tenant: acme}]
  ${VARIANTS}
  strategy: {weighted: {one: 0, two: 100}}`,
  `metadata: {name: m}
spec:
  ${VARIANTS}
  strategy: {weighted: {one: 100, two: 0}}`,
  `metadata: {name: unary}
spec:
  ${VARIANTS}
  strategy: {bandit: {policy: linUCB, exploration: 0.5, ${BANDIT}}}`,
  `metadata: {name: stream}
spec:
  ${VARIANTS}
  strategy: {bandit: {policy: linThompson, ${BANDIT}}}`,
].map((body) => `apiVersion: switchyard/v1\nkind: Route\n${body}\n`);

const { ModelInfer, ModelStreamInfer } = serviceDefinition(INFERENCE_SERVICE);
const scratch = mkdtempSync(join(tmpdir(), 'switchyard-grpc-learning-'));
let server: ServerProcess;
let grpc: TestClient;
before(async () => {
  const all = 'version_policy: { all: {} }\n';
  const root = scriptRepository(scratch, { m: { versions: { 1: times(2), 2: times(3) }, config: all } });
  writeFileSync(join(scratch, 'routes.yaml'), ROUTES.join('---\n'));
  const keys = ['acme', 'other'].map((tenant) => ({ tenant, sha256: hashApiKey(`key of ${tenant}`) }));
  const config = join(scratch, 'switchyard.yaml');
  writeFileSync(
    config,
    `models: {repositories: [${root}]}\nroutes: {files: [routes.yaml]}\nthreads: {gateways: 1, executors: 1}\nadmission: ${JSON.stringify({ apiKeys: keys })}\n`,
  );
  server = await ServerProcess.start(['--config', config, '--no-supervise']);
  grpc = new TestClient(server.ports.grpc, serviceDefinition(INFERENCE_SERVICE));
});
after(async () => {
  grpc.close();
  await server.stop();
  rmSync(scratch, { recursive: true, force: true });
});

interface Answer {
  id: string;
  variant: string;
}

function keyOf(tenant: string): Metadata {
  const metadata = new Metadata();
  metadata.set('x-api-key', `key of ${tenant}`);
  return metadata;
}

async function overHttp(tenant: string): Promise<string> {
  const response = await fetch(server.url('/v2/models/m/infer'), {
    method: 'POST',
    headers: { 'x-api-key': `key of ${tenant}` },
    body: JSON.stringify({ inputs: x(1) }),
  });
  await response.arrayBuffer();
  return response.status === 200 ? String(response.headers.get('x-switchyard-variant')) : String(response.status);
}

function unary(model: string, value: number, tenant = 'other'): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const call = grpc.client.makeUnaryRequest(
      ModelInfer.path,
      ModelInfer.requestSerialize as (value: object) => Buffer,
      ModelInfer.responseDeserialize,
      inferRequest(model, [value]),
      keyOf(tenant),
      (error) => error !== null && reject(error),
    );
    call.on('metadata', (metadata: Metadata) => {
      const told = (name: string): string => String(metadata.get(name)[0] ?? '');
      resolve({ id: told('x-switchyard-id'), variant: told('x-switchyard-variant') });
    });
  });
}

/** One stream, an answer for each value in their order. */
async function stream(model: string, values: readonly number[], tenant = 'other'): Promise<Answer[]> {
  const call = grpc.client.makeBidiStreamRequest(
    ModelStreamInfer.path,
    ModelStreamInfer.requestSerialize as (value: object) => Buffer,
    ModelStreamInfer.responseDeserialize as unknown as (bytes: Buffer) => StreamResponse,
    keyOf(tenant),
  );
  const answers = new Map<string, Answer>();
  call.on('data', ({ infer_response: { id, parameters } }: StreamResponse) => {
    const told = (name: string): string => String(parameters[name]?.string_param ?? '');
    answers.set(id, { id: told('switchyard_id'), variant: told('switchyard_variant') });
  });
  const ended = new Promise((resolve, reject) => call.on('end', resolve).on('error', reject));
  values.forEach((value, i) => {
    call.write(inferRequest(model, [value], { id: String(i) }));
  });
  await until('all are answered', () => answers.size === values.length);
  call.end();
  await ended;
  return values.map((_, i) => answers.get(String(i)) as Answer);
}

test("a route matches the tenant that a client's key stands for, over HTTP, gRPC and its streams", async () => {
  assert.deepEqual([await overHttp('acme'), await overHttp('other'), await overHttp('nobody')], ['two', 'one', '401']);
  assert.deepEqual([(await unary('m', 1, 'acme')).variant, (await unary('m', 1, 'other')).variant], ['two', 'one']);
  assert.equal((await status(unary('m', 1, 'nobody'))).code, 16);
  for (const [tenant, variant] of [
    ['acme', 'two'],
    ['other', 'one'],
  ])
    assert.deepEqual(
      (await stream('m', [1, 2], tenant)).map((answer) => answer.variant),
      [variant, variant],
    );
});

test('contextual bandits learn by the input over gRPC and its streams', async () => {
  // Two is right for inputs above 0.
  const values = Array.from({ length: 24 }, (_, i) => (i % 2 === 0 ? 3 : -3));
  const round = async (route: string): Promise<number> => {
    const answers =
      route === 'stream' ? await stream(route, values) : await Promise.all(values.map((value) => unary(route, value)));
    const events = answers.map(({ id, variant }, i) => ({
      id,
      reward: Number((variant === 'two') === values[i] > 0),
    }));
    const response = await fetch(server.url('/switchyard/v1/feedback'), {
      method: 'POST',
      headers: { 'x-api-key': 'key of other' },
      body: JSON.stringify({ events }),
    });
    const { results } = (await response.json()) as { results: { result: string }[] };
    // On a slow machine their time may be over.
    for (const { result } of results) assert.ok(['accepted', 'expired'].includes(result), result);
    return events.filter(({ reward }) => reward === 1).length;
  };
  for (const route of ['unary', 'stream'])
    await until(`${route} finds what is right`, async () => (await round(route)) >= 20);
});
