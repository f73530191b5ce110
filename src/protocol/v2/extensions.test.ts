import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ModelConfig, ModelSignature } from '../../config/model-config.ts';
import type { InferResponse, ModelStatistics, ServingVersion } from '../../pipeline/types.ts';
import { decodeBytes, encodeBytes } from '../../tensor/bytes.ts';
import type { DataType, Tensor } from '../../tensor/tensor.ts';
import { applyClassification } from './classification.ts';
import {
  decodeGenerateRequest,
  encodeGenerateErrorEvent,
  encodeGenerateEvent,
  encodeGenerateResponse,
} from './generate.ts';
import { modelMetadata, repositoryIndexBody, serverMetadata, statisticsBody } from './metadata.ts';
import { decodeRawBody } from './raw-body.ts';

const text = (data: Uint8Array) => Buffer.from(data).toString();
const float32 = (...values: number[]) => new Uint8Array(Float32Array.from(values).buffer);

function signature(maxBatchSize: number, ...inputs: [string, DataType, number[]][]): ModelSignature {
  return {
    inputs: inputs.map(([name, datatype, dims]) => ({ name, datatype, dims })),
    outputs: [{ name: 'y', datatype: 'FP32', dims: [3] }],
    maxBatchSize,
  };
}

function classes(tensor: Tensor): string[] {
  return decodeBytes(tensor.data).map(text);
}

test('classification: top k per item, with labels, printed with six decimals', () => {
  const output: Tensor = { name: 'y', datatype: 'FP32', shape: [2, 3], data: float32(0.5, 2, -1, NaN, 0.25, 0.25) };
  const labelled = applyClassification(output, 2, ['cat', 'dog'], true);
  assert.deepEqual(labelled.shape, [2, 2]);
  assert.equal(labelled.datatype, 'BYTES');
  assert.deepEqual(classes(labelled), ['2.000000:1:dog', '0.500000:0:cat', '0.250000:1:dog', '0.250000:2']);
  assert.deepEqual(classes(applyClassification({ ...output, shape: [6] }, 1, undefined, false)), ['2.000000:1']);
  const whole = {
    name: 'y',
    datatype: 'INT64' as const,
    shape: [2],
    data: new Uint8Array(BigInt64Array.of(-5n, 2n ** 60n).buffer),
  };
  assert.deepEqual(classes(applyClassification(whole, 9, undefined, false)), ['1152921504606846976:1', '-5:0']);
  assert.throws(() => applyClassification({ ...output, datatype: 'BYTES' }, 1, undefined, true), /needs numbers/);
});

test('a raw body is the only input, for a batch of one', () => {
  const body = new Uint8Array(24);
  const request = decodeRawBody('m', '2', body, signature(8, ['x', 'FP32', [-1, 3]]));
  assert.deepEqual(request.inputs, [{ name: 'x', datatype: 'FP32', shape: [1, 2, 3], data: body }]);
  assert.equal(request.parameters?.binary_data_output, true);
  const bytes = decodeRawBody('m', '', Buffer.from('abc'), signature(0, ['x', 'BYTES', [1]])).inputs[0];
  assert.deepEqual(bytes, { name: 'x', datatype: 'BYTES', shape: [1], data: encodeBytes(['abc']) });
  const refuses = (size: number, model: ModelSignature, message: RegExp) =>
    assert.throws(() => decodeRawBody('m', '', new Uint8Array(size), model), { code: 'invalid_argument', message });
  refuses(25, signature(8, ['x', 'FP32', [-1, 3]]), /25 bytes is no multiple of the 12/);
  refuses(8, signature(8, ['x', 'FP32', [3]]), /takes 12 bytes, got 8/);
  refuses(8, signature(8, ['x', 'FP32', [-1, -1]]), /more than one variable dimension/);
  refuses(8, signature(8, ['x', 'FP32', [2]], ['z', 'FP32', [2]]), /exactly one input; 'm' has 2/);
  refuses(8, signature(0, ['x', 'BYTES', [2]]), /takes 2 elements, got 1/);
});

test('generate: fields become inputs of the declared types, the rest parameters', () => {
  const model = signature(4, ['text_input', 'BYTES', [1]], ['k', 'INT32', [-1]]);
  const body =
    '{"id":"7","text_input":"h\\u00e9","k":[1,2],"stream":false,"parameters":{"temperature":0.5,"seed":null}}';
  const request = decodeGenerateRequest('m', '', Buffer.from(body), model);
  assert.equal(request.id, '7');
  assert.deepEqual(request.inputs, [
    { name: 'text_input', datatype: 'BYTES', shape: [1, 1], data: encodeBytes(['hé']) },
    { name: 'k', datatype: 'INT32', shape: [1, 2], data: new Uint8Array(Int32Array.of(1, 2).buffer) },
  ]);
  assert.deepEqual({ ...request.parameters }, { stream: false, temperature: 0.5 });
  const unbatched = decodeGenerateRequest('m', '', Buffer.from('{"k":5}'), signature(0, ['k', 'INT32', [1]]));
  assert.deepEqual(unbatched.inputs[0].shape, [1]);
  const refuses = (json: string, message: RegExp) =>
    assert.throws(() => decodeGenerateRequest('m', '', Buffer.from(json), model), {
      code: 'invalid_argument',
      message,
    });
  refuses('{"k":"a"}', /'k' is INT32/);
  refuses('{"k":1,"k":2}', /'k' appears twice/);
  refuses('{"other":[1]}', /'other' is no input of the model \(text_input, k\)/);
  refuses('{"__proto__":1}', /not allowed/);
  refuses('{"k":[[1],[2,3]]}', /not of equal length/);
});

test('generate: responses are flat, single elements are scalars, events are framed', () => {
  const response: InferResponse = {
    model: 'm',
    version: '1',
    id: 'i',
    outputs: [
      { name: 'text_output', datatype: 'BYTES', shape: [1, 1], data: encodeBytes(['a"b']) },
      { name: 'scores', datatype: 'FP32', shape: [1, 2], data: float32(0.5, 1) },
    ],
    parameters: Object.assign(Object.create(null), { done: true, model_name: 'shadowed' }),
    timings: undefined,
  };
  const flat = '{"model_name":"m","model_version":"1","id":"i","done":true,"text_output":"a\\"b","scores":[0.5,1.0]}';
  assert.equal(text(encodeGenerateResponse(response)), flat);
  assert.equal(text(encodeGenerateEvent(response)), `data: ${flat}\n\n`);
  assert.equal(text(encodeGenerateErrorEvent('a\nb')), 'data: {"error":"a\\nb"}\n\n');
});

test('metadata: shapes have a batch dimension where the model batches, versions are strings', () => {
  const served = (version: string): ServingVersion => ({ version }) as ServingVersion;
  const config = (platform: string, maxBatchSize: number): ModelConfig =>
    ({ platform, backend: 'onnxruntime', signature: signature(maxBatchSize, ['x', 'FP32', [-1, 4]]) }) as ModelConfig;
  assert.deepEqual(modelMetadata({ name: 'm', versions: [served('3'), served('1')] }, config('', 8)), {
    name: 'm',
    versions: ['1', '3'],
    platform: 'onnxruntime',
    inputs: [{ name: 'x', datatype: 'FP32', shape: [-1, -1, 4] }],
    outputs: [{ name: 'y', datatype: 'FP32', shape: [-1, 3] }],
  });
  const plain = modelMetadata({ name: 'm', versions: [] }, config('onnxruntime_onnx', 0));
  assert.equal(plain.platform, 'onnxruntime_onnx');
  assert.deepEqual(plain.outputs, [{ name: 'y', datatype: 'FP32', shape: [3] }]);
  const server = serverMetadata({ name: 'switchyard', version: '1' });
  assert.ok((server.extensions as string[]).includes('binary_tensor_data'));
  assert.ok(!(server.extensions as string[]).some((name) => name.includes('shared_memory')));
});

test('statistics and repository index', () => {
  const zero = { count: 0, ns: 0 };
  const stats: ModelStatistics = {
    name: 'm',
    version: '1',
    lastInference: 5,
    inferenceCount: 4,
    executionCount: 2,
    inferenceStats: {
      success: { count: 4, ns: 10.4 },
      fail: zero,
      queue: zero,
      compute_input: zero,
      compute_infer: zero,
      compute_output: zero,
      cache_hit: zero,
      cache_miss: zero,
    },
    batchStats: [{ batchSize: 2, computeInput: zero, computeInfer: { count: 2, ns: 7 }, computeOutput: zero }],
  };
  const { model_stats } = statisticsBody([stats]) as { model_stats: Record<string, unknown>[] };
  assert.deepEqual(model_stats[0].inference_stats, { ...stats.inferenceStats, success: { count: 4, ns: 10 } });
  assert.deepEqual(model_stats[0].batch_stats, [
    { batch_size: 2, compute_input: zero, compute_infer: { count: 2, ns: 7 }, compute_output: zero },
  ]);
  assert.deepEqual(
    [model_stats[0].last_inference, model_stats[0].inference_count, model_stats[0].execution_count],
    [5, 4, 2],
  );
  assert.deepEqual(
    repositoryIndexBody([
      { name: 'a', versions: [{ version: '1', state: 'UNAVAILABLE', reason: 'unloaded' }] },
      { name: 'b', versions: [] },
    ]),
    [{ name: 'a', version: '1', state: 'UNAVAILABLE', reason: 'unloaded' }, { name: 'b' }],
  );
});
