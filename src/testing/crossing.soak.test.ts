import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { Client, credentials, Metadata, type ServiceError, status } from '@grpc/grpc-js';
import { INFERENCE_SERVICE, serviceDefinition } from '../protocol/grpc/schema.ts';
import { addVersion, scriptRepository, until } from './script-models.ts';
import { ServerProcess } from './server-process.ts';

/** Requests to answer, each with values of its own. Without the variable it ends after LIMIT_MS in any case. */
const REQUESTS = Number(process.env.SWITCHYARD_SOAK_REQUESTS ?? 30_000);
const LIMIT_MS = process.env.SWITCHYARD_SOAK_REQUESTS === undefined ? 15_000 : Number.POSITIVE_INFINITY;
/** Without an answer for so long, a client says so instead of waiting on. */
const SILENCE_MS = 60_000;
const TENANTS = ['red', 'green', 'blue'];
const HTTP_CLIENTS = 24;
const GRPC_CALLS_AT_ONCE = 24;
const RELOAD_MS = 2500;

const scratch = mkdtempSync(join(tmpdir(), 'switchyard-crossing-'));
after(() => rmSync(scratch, { recursive: true, force: true }));

const { ModelInfer } = serviceDefinition(INFERENCE_SERVICE);

/** Multiplies by its version, so that an answer tells which one computed it; a negative value fails whoever sent it. */
function source(version: number): string {
  return `export const execute = ({ x }) => {
  const bad = x.data.find((v) => v < 0);
  if (bad !== undefined) throw new Error('poisoned by ' + bad);
  return { y: { datatype: 'FP32', shape: x.shape, data: x.data.map((v) => v * ${version}) } };
};
`;
}

interface Asked {
  id: string;
  values: number[];
  poisoned: boolean;
  /** Milliseconds; 0: none. */
  deadline: number;
  gone: boolean;
}

interface Answer {
  id: string;
  version: string;
  values: number[];
}

test('no answer crosses requests or tenants, over HTTP and gRPC, with batches, reloads, deadlines, cancels and poison', async () => {
  const model = { versions: { 1: source(1) }, config: 'instance_group [{ count: 2 }]\n' };
  const root = scriptRepository(scratch, { scale: model });
  const config = join(scratch, 'switchyard.yaml');
  const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');
  const keys = TENANTS.map((tenant) => `{tenant: ${tenant}, sha256: ${sha256(tenant)}}`);
  writeFileSync(
    config,
    `models: {repositories: [${root}], pollSeconds: 0.2}\nthreads: {gateways: 2, executors: 2}\n` +
      `admission: {anonymous: deny, apiKeys: [${keys.join(', ')}]}\n`,
  );
  const server = await ServerProcess.start(['--config', config]);
  after(() => server.stop());

  const counts = { checked: 0, poisoned: 0, late: 0, gone: 0, versions: new Set<string>() };
  const end = performance.now() + LIMIT_MS;
  let asked = 0;
  const goesOn = (): boolean => asked < REQUESTS && performance.now() < end;
  /** The next request: one to four rows of values that no other has, a few of them poisoned, in a hurry, or given up. */
  const next = (): Asked => {
    const n = asked++;
    const poisoned = n % 97 === 5;
    const rows = 1 + (n % 4);
    // Whole numbers below 2^24 and halves: exact as FP32, whatever version multiplies them.
    const values = Array.from({ length: rows }, (_, row) => ((n % 1_000_000) * 4 + row + 1) * 0.5);
    if (poisoned) values[rows - 1] *= -1;
    return { id: `r${n}`, values, poisoned, deadline: n % 31 === 7 ? 1 + (n % 3) : 0, gone: n % 53 === 11 };
  };
  const check = ({ id, values, poisoned }: Asked, answer: Answer): void => {
    const version = Number(answer.version);
    assert.equal(answer.id, id, 'the answer is that of the request');
    assert.ok(!poisoned, `${id} was poisoned and got an answer`);
    assert.deepEqual(
      // Text has the fewest digits that name an FP32.
      answer.values.map(Math.fround),
      values.map((value) => Math.fround(value * version)),
      `${id} by version ${version}`,
    );
    counts.checked++;
    counts.versions.add(answer.version);
  };
  /** `late`: the failure is that of a deadline. */
  const checkFailure = ({ id, values, poisoned, deadline }: Asked, late: boolean, message: string): void => {
    if (late && deadline > 0) counts.late++;
    else {
      assert.ok(poisoned, `${id} failed: ${message}`);
      assert.ok(message.includes(`poisoned by ${values.at(-1)}`), `${id} failed for another's value: ${message}`);
      counts.poisoned++;
    }
  };

  async function httpClient(k: number): Promise<void> {
    const tenant = TENANTS[k % TENANTS.length];
    let socket: net.Socket | undefined;
    try {
      while (goesOn()) {
        const request = next();
        socket ??= net.connect(server.ports.http, '127.0.0.1').setNoDelay(true);
        const binary = k % 2 === 0;
        const { head, body } = httpBody(request, binary);
        const timeout = request.deadline > 0 ? `X-Request-Timeout-Ms: ${request.deadline}\r\n` : '';
        socket.write(
          Buffer.concat([
            Buffer.from(
              `POST /v2/models/scale/infer HTTP/1.1\r\nHost: x\r\nX-Api-Key: ${tenant}\r\n${timeout}${head}Content-Length: ${body.length}\r\n\r\n`,
            ),
            body,
          ]),
        );
        if (request.gone) {
          await new Promise((resolve) => setTimeout(resolve, Number(request.id.slice(1)) % 3));
          socket.on('error', () => {}).destroy();
          socket = undefined;
          counts.gone++;
          continue;
        }
        const { code, answer, error } = parseHttp(await readHttp(socket, request.id));
        if (answer !== undefined) check(request, answer);
        else checkFailure(request, code === 504, error);
      }
    } finally {
      socket?.destroy();
    }
  }

  async function grpcClient(k: number): Promise<void> {
    const client = new Client(`127.0.0.1:${server.ports.grpc}`, credentials.createInsecure(), {
      'grpc.use_local_subchannel_pool': 1,
    });
    const metadata = new Metadata();
    metadata.set('x-api-key', TENANTS[k % TENANTS.length]);
    const one = (request: Asked): Promise<void> =>
      new Promise((resolve, reject) => {
        const { values, id } = request;
        const message = {
          model_name: 'scale',
          id,
          inputs: [{ name: 'x', datatype: 'FP32', shape: [values.length, 1] }],
          raw_input_contents: [bytesOf(values)],
        };
        const deadline = new Date(Date.now() + (request.deadline > 0 ? request.deadline : SILENCE_MS));
        const call = client.makeUnaryRequest(
          ModelInfer.path,
          ModelInfer.requestSerialize as (value: object) => Buffer,
          ModelInfer.responseDeserialize as unknown as (bytes: Buffer) => GrpcAnswer,
          message,
          metadata,
          { deadline },
          (error: ServiceError | null, answer?: GrpcAnswer) => {
            try {
              if (request.gone && error?.code === status.CANCELLED) counts.gone++;
              else if (error !== null)
                checkFailure(request, error.code === status.DEADLINE_EXCEEDED, `${error.code} ${error.details}`);
              else {
                const { id: answered, model_version, raw_output_contents } = answer as GrpcAnswer;
                check(request, { id: answered, version: model_version, values: floatsOf(raw_output_contents[0]) });
              }
              resolve();
            } catch (failure) {
              reject(failure);
            }
          },
        );
        if (request.gone) setTimeout(() => call.cancel(), Number(id.slice(1)) % 3);
      });
    try {
      await Promise.all(
        Array.from({ length: GRPC_CALLS_AT_ONCE / TENANTS.length }, async () => {
          while (goesOn()) await one(next());
        }),
      );
    } finally {
      client.close();
    }
  }

  let newest = 1;
  const clients = Promise.all([
    ...Array.from({ length: HTTP_CLIENTS }, (_, k) => httpClient(k)),
    ...TENANTS.map((_, k) => grpcClient(k)),
  ]);
  let running = true;
  const reloads = (async () => {
    while (running) {
      newest++;
      addVersion(root, 'scale', String(newest), source(newest));
      await new Promise((resolve) => setTimeout(resolve, RELOAD_MS));
    }
  })();
  try {
    await clients;
  } finally {
    running = false;
    await reloads;
  }
  const { checked, poisoned, late, gone, versions } = counts;
  console.log(
    `${asked} requests: ${checked} answers checked, ${poisoned} poisoned, ${late} late, ${gone} given up; versions ${[...versions].join(' ')}`,
  );
  assert.equal(checked + poisoned + late + gone, asked, 'each request ended in one way');
  assert.ok(checked > asked / 2 && poisoned > 0 && gone > 0, 'all kinds of requests were there');
  await until('nothing is pending', async () => {
    const text = await (await fetch(`http://127.0.0.1:${server.ports.metrics}/metrics`)).text();
    return [...text.matchAll(/^nv_inference_pending_request_count\{[^}]*\} (\d+)/gm)].every(([, n]) => n === '0');
  });
  assert.ok(!server.log.some(({ level }) => Number(level) >= 60), 'nothing fatal was logged');
});

interface GrpcAnswer {
  id: string;
  model_version: string;
  raw_output_contents: Buffer[];
}

function bytesOf(values: number[]): Buffer {
  return Buffer.from(Float32Array.from(values).buffer);
}

function floatsOf(bytes: Buffer): number[] {
  return Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readFloatLE(i * 4));
}

function httpBody({ id, values }: Asked, binary: boolean): { head: string; body: Buffer } {
  const tensor = { name: 'x', datatype: 'FP32', shape: [values.length, 1] };
  if (!binary) return { head: '', body: Buffer.from(JSON.stringify({ id, inputs: [{ ...tensor, data: values }] })) };
  const data = bytesOf(values);
  const json = Buffer.from(
    JSON.stringify({
      id,
      inputs: [{ ...tensor, parameters: { binary_data_size: data.length } }],
      parameters: { binary_data_output: true },
    }),
  );
  return { head: `Inference-Header-Content-Length: ${json.length}\r\n`, body: Buffer.concat([json, data]) };
}

/** One whole response. Rejects when it does not come, naming the request. */
function readHttp(socket: net.Socket, id: string): Promise<{ head: string; body: Buffer }> {
  return new Promise((resolve, reject) => {
    let got: Buffer = Buffer.alloc(0);
    const settle = (act: () => void): void => {
      clearTimeout(timer);
      socket.off('data', onData).off('close', onClose).off('error', onClose);
      act();
    };
    const onClose = (): void => settle(() => reject(new Error(`the connection closed before ${id} was answered`)));
    const onData = (chunk: Buffer): void => {
      got = got.length === 0 ? chunk : Buffer.concat([got, chunk]);
      const start = got.indexOf('\r\n\r\n') + 4;
      if (start < 4) return;
      const head = got.toString('latin1', 0, start);
      const length = Number(/\r\ncontent-length: (\d+)/i.exec(head)?.[1]);
      if (got.length < start + length) return;
      const body = got.subarray(start);
      settle(() => {
        if (body.length === length) resolve({ head, body });
        else reject(new Error(`${body.length - length} bytes behind the answer to ${id}`));
      });
    };
    const timer = setTimeout(
      () => settle(() => reject(new Error(`${id} was not answered for ${SILENCE_MS} ms`))),
      SILENCE_MS,
    );
    socket.on('data', onData).on('close', onClose).on('error', onClose);
  });
}

function parseHttp({ head, body }: { head: string; body: Buffer }): { code: number; answer?: Answer; error: string } {
  const code = Number(head.slice(9, 12));
  const json = Number(/\r\ninference-header-content-length: (\d+)/i.exec(head)?.[1] ?? body.length);
  const parsed = JSON.parse(body.toString('utf8', 0, json)) as {
    id: string;
    model_version: string;
    outputs: { data?: number[] }[];
    error?: string;
  };
  if (code !== 200) return { code, error: `${code} ${parsed.error}` };
  const values = parsed.outputs[0].data ?? floatsOf(body.subarray(json));
  return { code, answer: { id: parsed.id, version: parsed.model_version, values }, error: '' };
}
