import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { monotonicMs } from '../../shared/clock.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { modelConfig } from '../../testing/load-spec.ts';
import { until } from '../../testing/script-models.ts';
import { freeTritonPorts, startTriton, stopTriton, sweepTriton, type TritonPorts } from '../../testing/triton.ts';
import type { BackendModel, LoadSpec } from '../backend.ts';
import { V2GrpcBackend } from './backend.ts';
import { discoverModels } from './discover.ts';

/** gRPC address of a Triton over .ci/services/triton/models; .ci/services/triton.sh runs one. */
const url = process.env.SWITCHYARD_TEST_TRITON_URL ?? '';
assert.notEqual(url, '', 'SWITCHYARD_TEST_TRITON_URL must name a Triton, as .ci/services/triton.sh run starts one');

const NEVER = Number.POSITIVE_INFINITY;
const backend = new V2GrpcBackend('triton');
const loaded: BackendModel[] = [];

async function load(remote: string, parameters: Record<string, string> = {}): Promise<BackendModel> {
  const config = modelConfig('ours', 'triton', { parameters: { url, remote_model: remote, ...parameters } });
  const spec: LoadSpec = { model: 'ours', version: '1', config, directory: '', modelDirectory: '', device: -1 };
  const model = await backend.load(spec);
  loaded.push(model);
  return model;
}

after(async () => {
  for (const model of loaded) await model.unload();
});

function int32(name: string, shape: number[], values: number[]): Tensor {
  return { name, datatype: 'INT32', shape, data: new Uint8Array(Int32Array.from(values).buffer) };
}

function values(tensor: Tensor): number[] {
  assert.equal(tensor.data.byteLength, tensor.data.buffer.byteLength, 'the output owns its memory');
  return [...new Int32Array(tensor.data.buffer as ArrayBuffer)];
}

function pair(rows: number): Tensor[] {
  const row = Array.from({ length: 16 * rows }, (_, i) => i);
  return [
    int32('INPUT0', [rows, 16], row),
    int32(
      'INPUT1',
      [rows, 16],
      row.map((value) => value * 2),
    ),
  ];
}

async function sum(model: BackendModel, deadline = NEVER): Promise<number> {
  const [output] = await model.execute(pair(1), { outputs: ['OUTPUT0'], deadline });
  return values(output)[1];
}

test('a batch is added and subtracted, and only the outputs asked for come back', async () => {
  const model = await load('add_sub');
  assert.deepEqual(model.signature, {
    inputs: [
      { name: 'INPUT0', datatype: 'INT32', dims: [-1, 16] },
      { name: 'INPUT1', datatype: 'INT32', dims: [-1, 16] },
    ],
    outputs: [
      { name: 'OUTPUT0', datatype: 'INT32', dims: [-1, 16] },
      { name: 'OUTPUT1', datatype: 'INT32', dims: [-1, 16] },
    ],
    maxBatchSize: 8,
    decoupled: false,
  });
  const all = await model.execute(pair(8), { outputs: [], deadline: NEVER });
  const row = Array.from({ length: 128 }, (_, i) => i);
  assert.deepEqual(
    new Map(all.map((output) => [output.name, values(output)])),
    new Map([
      ['OUTPUT0', row.map((value) => value * 3)],
      ['OUTPUT1', row.map((value) => 0 - value)],
    ]),
  );
  assert.deepEqual(all[0].shape, [8, 16]);
  const one = await model.execute(pair(1), { outputs: ['OUTPUT1'], deadline: NEVER });
  assert.deepEqual(
    one.map((output) => output.name),
    ['OUTPUT1'],
  );
});

test('many batches at once each get their own answer', async () => {
  const model = await load('add_sub', { channels: '3' });
  const answers = await Promise.all(
    Array.from({ length: 64 }, async (_, i) => {
      const input = (name: string) => int32(name, [1, 16], new Array(16).fill(i));
      const [output] = await model.execute([input('INPUT0'), input('INPUT1')], {
        outputs: ['OUTPUT0'],
        deadline: NEVER,
      });
      return values(output)[0];
    }),
  );
  assert.deepEqual(
    answers,
    Array.from({ length: 64 }, (_, i) => i * 2),
  );
});

test('strings of any bytes and tensors of no elements come back as they went in', async () => {
  const strings = await load('identity_string');
  const data = Uint8Array.from([2, 0, 0, 0, 97, 98, 0, 0, 0, 0, 3, 0, 0, 0, 255, 0, 99]);
  const [text] = await strings.execute([{ name: 'INPUT', datatype: 'BYTES', shape: [1, 3], data }], {
    outputs: [],
    deadline: NEVER,
  });
  assert.deepEqual(text, { name: 'OUTPUT', datatype: 'BYTES', shape: [1, 3], data });
  const floats = await load('identity_fp32');
  const wide = new Uint8Array(Float32Array.from({ length: 100_000 }, (_, i) => i / 3).buffer);
  for (const bytes of [new Uint8Array(0), wide]) {
    const input: Tensor = { name: 'INPUT', datatype: 'FP32', shape: [bytes.length / 4], data: bytes };
    const [output] = await floats.execute([input], { outputs: [], deadline: NEVER });
    assert.deepEqual(output, { ...input, name: 'OUTPUT' });
  }
});

test('a decoupled model answers as often as it likes; an error ends the stream with its words', async () => {
  const model = await load('repeat');
  assert.equal(model.signature.decoupled, true);
  const stream = async (list: number[], into: number[]) => {
    const options = { outputs: [], deadline: NEVER };
    for await (const [output] of model.executeStream!([int32('VALUES', [list.length], list)], options)) {
      into.push(values(output)[0]);
    }
  };
  const seen: number[] = [];
  await stream([4, 5, 6], seen);
  await stream([], seen);
  assert.deepEqual(seen, [4, 5, 6]);
  const partial: number[] = [];
  await assert.rejects(stream([7, -1, 8], partial), { code: 'internal', message: /-1 is negative/ });
  assert.deepEqual(partial, [7]);
  const cancelled = new AbortController();
  cancelled.abort();
  const iterator = model.executeStream!([int32('VALUES', [1], [1])], {
    outputs: [],
    deadline: NEVER,
    signal: cancelled.signal,
  });
  await assert.rejects(async () => iterator[Symbol.asyncIterator]().next(), { code: 'cancelled' });
});

test('errors of the model, of the caller and of the deadline keep their meaning', async () => {
  const model = await load('slow');
  const sleepFor = (ms: number, deadline = NEVER, signal?: AbortSignal) =>
    model.execute([int32('MILLISECONDS', [1], [ms])], { outputs: [], deadline, signal });
  await assert.rejects(async () => sleepFor(-1), { code: 'internal', message: /nobody sleeps backwards/ });
  await assert.rejects(async () => sleepFor(5000, monotonicMs() + 300), { code: 'deadline_exceeded' });
  await assert.rejects(async () => sleepFor(5000, monotonicMs() - 1), { code: 'deadline_exceeded', message: /before/ });
  const controller = new AbortController();
  const aborted = sleepFor(5000, NEVER, controller.signal);
  setTimeout(() => controller.abort(), 50);
  await assert.rejects(async () => aborted, { code: 'cancelled' });
  const wrong = int32('MILLISECONDS', [2], [1, 2]);
  await assert.rejects(async () => model.execute([wrong], { outputs: [], deadline: NEVER }), {
    code: 'invalid_argument',
    message: /INVALID_ARGUMENT without a message|MILLISECONDS/,
  });
  await assert.rejects(load('no_such_model'), { code: 'unavailable', message: /no_such_model/ });
});

test("a server's models appear as ours", async () => {
  const models = new Map((await discoverModels(url)).map((model) => [model.name, model]));
  assert.deepEqual([...models.keys()].sort(), ['add_sub', 'identity_fp32', 'identity_string', 'repeat', 'slow']);
  assert.deepEqual(models.get('add_sub'), {
    name: 'add_sub',
    versions: ['1'],
    signature: {
      inputs: [
        { name: 'INPUT0', datatype: 'INT32', dims: [16] },
        { name: 'INPUT1', datatype: 'INT32', dims: [16] },
      ],
      outputs: [
        { name: 'OUTPUT0', datatype: 'INT32', dims: [16] },
        { name: 'OUTPUT1', datatype: 'INT32', dims: [16] },
      ],
      maxBatchSize: 8,
    },
    maxBatchSize: 8,
    decoupled: false,
  });
  assert.equal(models.get('repeat')?.decoupled, true);
  assert.deepEqual(models.get('identity_fp32')?.signature.inputs[0].dims, [-1]);
  await assert.rejects(discoverModels('127.0.0.1:1'), { code: 'unavailable', message: /cannot be reached/ });
});

/** Inferences a Triton has run of add_sub since it started. */
async function inferences(ports: TritonPorts): Promise<number> {
  const response = await fetch(`http://127.0.0.1:${ports.http}/v2/models/add_sub/stats`);
  const body = (await response.json()) as { model_stats: { inference_count: number }[] };
  return body.model_stats[0].inference_count;
}

test('kill -9 of one replica costs no request, and it serves again after its restart', async () => {
  const ports = await freeTritonPorts();
  let triton = await startTriton(ports);
  try {
    const model = await load('add_sub', { url: `${url},127.0.0.1:${ports.grpc}`, probe_interval_ms: '200' });
    for (let i = 0; i < 40; i++) assert.equal(await sum(model), 3);
    assert.ok((await inferences(ports)) > 0, 'both replicas are asked');
    await stopTriton(triton, 'SIGKILL');
    for (let i = 0; i < 200; i++) assert.equal(await sum(model), 3);
    assert.equal(model.absence!(), '');
    triton = await startTriton(ports);
    await until('the replica is back', async () => {
      assert.equal(await sum(model), 3);
      return (await inferences(ports)) > 0;
    });
  } finally {
    await stopTriton(triton, 'SIGKILL');
    await sweepTriton(ports);
  }
});

test('while the only replica is away requests fail at once and the model is not ready; then both recover', async () => {
  const ports = await freeTritonPorts();
  let triton = await startTriton(ports);
  try {
    const model = await load('add_sub', { url: `127.0.0.1:${ports.grpc}`, probe_interval_ms: '200' });
    assert.equal(await sum(model), 3);
    await stopTriton(triton, 'SIGKILL');
    for (let i = 0; i < 10; i++) await assert.rejects(sum(model, monotonicMs() + 20_000), { code: 'unavailable' });
    await until('the model is not ready', () => model.absence!() !== '');
    assert.match(model.absence!(), /none of its servers is ready: 127/);
    triton = await startTriton(ports);
    await until('the model is ready', () => model.absence!() === '');
    assert.equal(await sum(model), 3);
  } finally {
    await stopTriton(triton, 'SIGKILL');
    await sweepTriton(ports);
  }
});
