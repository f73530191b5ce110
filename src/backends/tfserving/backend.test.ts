import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, test } from 'node:test';
import type { Tensor } from '../../tensor/tensor.ts';
import { grpcError, startGrpcServer } from '../../testing/grpc-server.ts';
import { FIXTURES, modelConfig } from '../../testing/load-spec.ts';
import type { LoadSpec } from '../backend.ts';
import { ProcessBackend } from '../process/backend.ts';
import { TfServingBackend } from './backend.ts';
import {
  decodeAvailable,
  decodePredict,
  decodeSignature,
  encodeMetadataRequest,
  encodePredict,
  encodeStatusRequest,
} from './messages.ts';

/** Encoded by TensorFlow Serving's own classes; see make_tfserving.py. */
const golden = JSON.parse(readFileSync(`${FIXTURES}/tfserving.json`, 'utf8'));
const bytesOf = (name: string): Buffer => Buffer.from(golden[name], 'base64');

const TWIN = { name: 'twin', version: '7', label: '', signature: 'serving_default' };

const TEXT = Uint8Array.from([2, 0, 0, 0, 97, 98, 3, 0, 0, 0, 255, 0, 99]);

function inputs(): Tensor[] {
  const x = new Uint8Array(Float32Array.from({ length: 600 }, (_, i) => i).buffer);
  return [
    { name: 'text', datatype: 'BYTES', shape: [1, 2], data: TEXT },
    { name: 'x', datatype: 'FP32', shape: [2, 300], data: x },
  ];
}

test('requests are byte for byte what its own classes encode', () => {
  assert.deepEqual(encodePredict(TWIN, inputs(), ['sum', 'text']), bytesOf('predictRequest'));
  assert.deepEqual(encodeMetadataRequest(TWIN), bytesOf('metadataRequest'));
  assert.deepEqual(encodeStatusRequest(TWIN), bytesOf('statusRequest'));
});

test('outputs of every type are read, as value lists and as content, short lists repeated', () => {
  const outputs = new Map(decodePredict(bytesOf('predictResponse')).map((output) => [output.name, output]));
  for (const [name, raw] of Object.entries(golden.predictResponseRaw as Record<string, string>)) {
    const expected = new Uint8Array(Buffer.from(raw, 'base64'));
    for (const form of ['list', 'content']) {
      const output = outputs.get(`${name}_${form}`)!;
      assert.deepEqual(output.data, expected, `${name} ${form}`);
      assert.deepEqual(output.shape, [1, 2]);
      assert.equal(output.data.byteLength, output.data.buffer.byteLength, 'owns its memory');
    }
  }
  assert.deepEqual(outputs.get('short')!.data, new Uint8Array(Int32Array.of(9, 9, 9).buffer));
  assert.deepEqual(outputs.get('none')!.data, new Uint8Array(8));
  assert.deepEqual(outputs.get('text'), { name: 'text', datatype: 'BYTES', shape: [2], data: TEXT });
});

test('the signature and the status are read', () => {
  assert.deepEqual(decodeSignature(bytesOf('metadataResponse'), 'serving_default'), {
    inputs: [
      { name: 'text', datatype: 'BYTES', dims: [-1, 2] },
      { name: 'x', datatype: 'FP32', dims: [-1, 300] },
    ],
    outputs: [{ name: 'sum', datatype: 'INT64', dims: [-1] }],
  });
  assert.throws(() => decodeSignature(bytesOf('metadataResponse'), 'nope'), {
    code: 'failed_precondition',
    message: /no signature "nope"; it has other, serving_default|serving_default, other/,
  });
  assert.equal(decodeAvailable(bytesOf('statusAvailable')), true);
  assert.equal(decodeAvailable(bytesOf('statusLoading')), false);
});

test('a truncated answer is an error, not a crash', () => {
  const whole = bytesOf('predictResponse');
  for (let length = 1; length < whole.length; length += 7) {
    try {
      decodePredict(whole.subarray(0, length));
    } catch (error) {
      assert.match((error as Error).message, /malformed|the remote server sent|TensorFlow type/);
    }
  }
});

const asked: Buffer[] = [];
let available = true;
let answer: () => Buffer = () => bytesOf('predictResponse');
const fake = await startGrpcServer({
  '/tensorflow.serving.PredictionService/Predict': (request) => {
    asked.push(request);
    return answer();
  },
  '/tensorflow.serving.PredictionService/GetModelMetadata': () => bytesOf('metadataResponse'),
  '/tensorflow.serving.ModelService/GetModelStatus': () => bytesOf(available ? 'statusAvailable' : 'statusLoading'),
});
after(() => fake.server.forceShutdown());

function spec(parameters: Record<string, string>): LoadSpec {
  const config = modelConfig('ours', 'tfserving', { parameters });
  return { model: 'ours', version: '1', config, directory: '', modelDirectory: '', device: -1 };
}

test('a model is loaded, asked and refused over gRPC', async () => {
  const parameters = { url: `127.0.0.1:${fake.port}`, remote_model: 'twin', remote_version: '7' };
  const model = await new TfServingBackend().load(spec(parameters));
  try {
    assert.deepEqual(model.signature.outputs, [{ name: 'sum', datatype: 'INT64', dims: [-1] }]);
    const options = { outputs: ['sum', 'text'], deadline: Number.POSITIVE_INFINITY };
    const outputs = await model.execute(inputs(), options);
    assert.deepEqual(asked.at(-1), bytesOf('predictRequest'));
    assert.equal(outputs.length, 27);
    answer = () => {
      throw grpcError('INVALID_ARGUMENT', 'input size does not match signature');
    };
    await assert.rejects(async () => model.execute(inputs(), options), {
      code: 'invalid_argument',
      message: 'the remote server answered: input size does not match signature',
    });
  } finally {
    await model.unload();
  }
});

test('a model is absent while its server says that it has none, also when a child process asks it', async () => {
  const parameters = { url: `127.0.0.1:${fake.port}`, probe_interval_ms: '20' };
  for (const backend of [new TfServingBackend(), new ProcessBackend('tfserving')]) {
    const model = await backend.load(spec(parameters));
    const absences: string[] = [];
    let heard = (): void => {};
    model.watchAbsence?.(() => {
      absences.push(model.absence?.() ?? 'no answer');
      heard();
    });
    const change = (to: boolean): Promise<void> =>
      new Promise((resolve) => {
        heard = resolve;
        available = to;
      });
    try {
      await change(false);
      await change(true);
      assert.deepEqual(absences, [`none of its servers is ready: 127.0.0.1:${fake.port}`, ''], backend.name);
    } finally {
      available = true;
      await model.unload();
    }
  }
});

test('parameters that make no sense are refused before anything is asked', async () => {
  const load = (parameters: Record<string, string>) => new TfServingBackend().load(spec(parameters));
  await assert.rejects(load({}), { code: 'invalid_argument', message: /needs the parameter "url"/ });
  await assert.rejects(load({ url: 'http://x:1' }), { code: 'invalid_argument', message: /"http:\/\/x:1"/ });
  await assert.rejects(load({ url: 'x:99999' }), { code: 'invalid_argument' });
  const url = `127.0.0.1:${fake.port}`;
  await assert.rejects(load({ url, remote_version: 'new' }), { code: 'invalid_argument', message: /"new"/ });
  await assert.rejects(load({ url, remote_version: '1', version_label: 'stable' }), { code: 'invalid_argument' });
  await assert.rejects(load({ url, signature_name: 'nope' }), { code: 'failed_precondition' });
});
