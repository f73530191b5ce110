import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BackendModel } from '../backends/backend.ts';
import type { DataType, Tensor } from '../tensor/tensor.ts';
import { completeConfig } from './config/complete.ts';
import { normaliseConfig, plainContext } from './config/normalise.ts';
import { readModelConfig } from './config/read.ts';
import { checkModel, warmUpAside } from './preflight-check.ts';
import { filledTensor, warmupRequests } from './warmup.ts';

type Row = (rows: Float32Array[]) => number[][];

/** A model [-1, dim] → [-1, n] computed by `run` over all rows at once. */
function model(run: Row, calls: number[] = [], dim = 3): BackendModel {
  return {
    signature: {
      inputs: [{ name: 'x', datatype: 'FP32', dims: [-1, dim] }],
      outputs: [{ name: 'y', datatype: 'FP32', dims: [-1, -1] }],
    },
    concurrency: 1,
    memoryBytes: 0,
    execute(inputs: Tensor[]): Tensor[] {
      const [rows, width] = inputs[0].shape;
      calls.push(rows);
      const all = new Float32Array(inputs[0].data.slice().buffer);
      const result = run(Array.from({ length: rows }, (_, i) => all.subarray(i * width, (i + 1) * width)));
      const data = new Uint8Array(Float32Array.from(result.flat()).buffer);
      return [{ name: 'y', datatype: 'FP32', shape: [result.length, result[0].length], data }];
    },
    unload: () => Promise.resolve(),
  };
}

const config = (text = '') =>
  normaliseConfig(readModelConfig(text, 'm/config.pbtxt'), { ...plainContext('m'), files: ['model.onnx'] });
const sum = (row: Float32Array) => row.reduce((a, b) => a + b, 0);

test('a sound model is warmed at batch 1 and at its largest, and passes', async () => {
  const calls: number[] = [];
  const { warmupMs } = await checkModel(
    model((rows) => rows.map((row) => [sum(row), 1e6]), calls),
    config(),
  );
  assert.ok(warmupMs >= 0);
  assert.deepEqual(calls, [1, 64, 1, 1, 1, 1, 3]);
});

test('beside requests a model is warmed by rehearsals, where it has them', async () => {
  const [runs, rehearsals]: number[][] = [[], []];
  const plain = model((rows) => rows.map((row) => [sum(row)]), runs);
  const complete = completeConfig(config(), plain.signature);
  const rehearse = async ([{ shape }]: Tensor[]) => void rehearsals.push(shape[0]);
  await warmUpAside({ ...plain, rehearse }, complete);
  assert.deepEqual([runs, rehearsals], [[], [1, 64]]);
  await warmUpAside(plain, complete);
  assert.deepEqual(runs, [1, 64]);
});

test('small float noise between batch sizes is no difference', async () => {
  await checkModel(
    model((rows) => rows.map((row) => [sum(row) * (1 + rows.length * 1e-5)])),
    config(),
  );
});

test('models that mix rows are refused, with the remedy', async () => {
  const mean = model((rows) => rows.map((row) => [sum(row) / rows.length]));
  await assert.rejects(
    checkModel(mean, config()),
    /batch answers differently.*output "y".*max_batch_size: 0.*switchyard.preflight_compare/,
  );
  await checkModel(mean, config('max_batch_size: 0'));
  await checkModel(mean, config('parameters { key: "switchyard.preflight_compare" value { string_value: "off" } }'));
});

test('models that reduce the batch away, or fail on one, are refused', async () => {
  await assert.rejects(
    checkModel(
      model((rows) => [[rows.reduce((a, row) => a + sum(row), 0)]]),
      config(),
    ),
    /first dimension is not the batch/,
  );
  const single = model((rows) => {
    if (rows.length > 1) throw new Error('reshape to {1,3}');
    return [[sum(rows[0])]];
  });
  await assert.rejects(checkModel(single, config()), /runs single items but fails on a batch of 3: reshape/);
});

test('nothing is said of a model that answers at random or refuses synthetic data', async () => {
  // As at random, but never by chance the same again: steps of the golden ratio.
  let last = 0;
  const next = (): number => {
    last = (last + 0.618) % 1;
    return last;
  };
  await checkModel(
    model((rows) => rows.map(() => [next()])),
    config(),
  );
  const picky = model(() => {
    throw new Error('only real data');
  });
  await checkModel(picky, config());
});

test('variable dims grow until the model takes them', async () => {
  const convolution = model(
    (rows) => {
      if (rows[0].length < 16) throw new Error('kernel is larger than the input');
      return rows.map((row) => [row[0] / rows.length]);
    },
    [],
    -1,
  );
  await assert.rejects(checkModel(convolution, config()), /answers differently/);
});

test('a configured warm-up must succeed and must fit the model', async () => {
  const warm = (name: string, type: string, batch = 2) =>
    config(`max_batch_size: 8 model_warmup { name: "w" batch_size: ${batch} count: 3
      inputs { key: "${name}" value { data_type: ${type} dims: 3 random_data: true } } }`);
  const calls: number[] = [];
  await checkModel(
    model((rows) => rows.map((row) => [sum(row)]), calls),
    warm('x', 'TYPE_FP32'),
  );
  assert.deepEqual(calls.slice(0, 3), [2, 2, 2]);
  const failing = model(() => {
    throw new Error('boom');
  });
  await assert.rejects(checkModel(failing, warm('x', 'TYPE_FP32')), /warm-up request "w" failed: boom/);
  await assert.rejects(checkModel(failing, warm('q', 'TYPE_FP32')), /names input "q", which the model does not have/);
  await assert.rejects(checkModel(failing, warm('x', 'TYPE_INT8')), /gives input "x" as INT8; the model takes FP32/);
  await assert.rejects(checkModel(failing, warm('x', 'TYPE_FP32', 9)), /batch_size 9; allowed: up to max_batch_size 8/);
});

test('warm-up files are repeated for each row, and must have the right size', () => {
  const signature = { inputs: [{ name: 'x', datatype: 'INT16' as DataType, dims: [2] }], outputs: [], maxBatchSize: 4 };
  const spec = {
    name: 'w',
    batchSize: 2,
    count: 1,
    inputs: { x: { datatype: 'INT16' as DataType, dims: [2], source: { file: 'f' } } },
  };
  const [{ inputs }] = warmupRequests([spec], signature, () => Uint8Array.of(1, 0, 2, 0));
  assert.deepEqual(
    [inputs[0].shape, [...inputs[0].data]],
    [
      [2, 2],
      [1, 0, 2, 0, 1, 0, 2, 0],
    ],
  );
  assert.throws(
    () => warmupRequests([spec], signature, () => new Uint8Array(3)),
    /has 3 bytes in its file; .* needs 4/,
  );
});

test('filled tensors are valid and reproducible for every type', () => {
  const types: DataType[] = ['BOOL', 'UINT8', 'INT64', 'FP16', 'BF16', 'FP32', 'FP64', 'BYTES'];
  for (const datatype of types) {
    const spec = { name: 'x', datatype, dims: [-1, 2] };
    const a = filledTensor(spec, 3, 5, 'random', 1);
    assert.deepEqual(a.shape, [3, 5, 2]);
    assert.deepEqual(a.data, filledTensor(spec, 3, 5, 'random', 1).data);
    assert.notDeepEqual(a.data, filledTensor(spec, 3, 5, 'random', 2).data);
    assert.ok(filledTensor(spec, 3, 5, 'zero', 1).data.every((byte) => byte === 0));
  }
  assert.throws(() => filledTensor({ name: 'x', datatype: 'FP32', dims: [1e9, 1e9] }, 1, 1, 'zero', 0), /larger than/);
});
