import assert from 'node:assert/strict';
import { test as nodeTest } from 'node:test';
import fc from 'fast-check';
import type { ModelSignature, TensorSpec } from '../../config/model-config.ts';
import { native, nativeProblem } from '../../tensor/native.ts';
import { DATA_TYPES, type DataType } from '../../tensor/tensor.ts';
import { plainTensors } from '../../testing/plain-tensors.ts';
import { decodeNatively, decodePredict, decodePredictAside, isPredictForAside } from './native-predict.ts';
import { type PredictRequest, scanPredict } from './predict-request.ts';

const encoder = new TextEncoder();

/** Without the addon there is nothing to compare; SWITCHYARD_NATIVE=on makes that an error. */
function test(name: string, body: () => void | Promise<void>): void {
  nodeTest(name, { skip: native === undefined && (nativeProblem || 'SWITCHYARD_NATIVE=off') }, body);
}

const spec = (datatype: DataType): TensorSpec => ({ name: 'x', datatype, dims: [-1] });

function signature(...inputs: TensorSpec[]): ModelSignature {
  return { inputs, outputs: [], maxBatchSize: 0 };
}

/** Bytes as hex: NaN bits and -0 count. */
function plain({ request, format }: PredictRequest): unknown {
  const inputs = plainTensors(request.inputs);
  return {
    ...request,
    format,
    inputs: inputs.map((input) => ({ ...input, data: Buffer.from(input.data).toString('hex') })),
  };
}

/** Whether the addon took the body. What it takes the twin takes, with the same result. */
function same(text: string, datatype: DataType): boolean {
  const body = encoder.encode(text);
  const before = Buffer.from(body);
  const taken = decodeNatively(native!, 'm', '1', body, spec(datatype));
  assert.ok(before.equals(body), 'the body is only read');
  if (taken === undefined) return false;
  let expected: PredictRequest;
  try {
    expected = scanPredict('m', '1', body, signature(spec(datatype)));
  } catch (error) {
    assert.fail(`the twin refuses ${text}: ${(error as Error).message}`);
  }
  assert.deepEqual(plain(taken), plain(expected), text.slice(0, 2000));
  return true;
}

const number = fc.oneof(
  fc.integer({ min: -3, max: 300 }).map(String),
  fc.double({ noNaN: true }).map(String),
  fc.constantFrom(
    'NaN',
    '-Infinity',
    'true',
    'false',
    '"5"',
    '1e400',
    '-0',
    '01',
    '',
    '{"b64":"AA=="}',
    'null',
    '9007199254740993',
  ),
);
const nested = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.array(fc.integer({ min: 0, max: 1 }).map(String), { minLength: 2, maxLength: 2 }).map((items) => `[${items}]`),
    fc.array(number, { maxLength: 12 }).map((items) => `[${items.join(', ')}]`),
    fc.array(tie('value'), { maxLength: 3 }).map((items) => `[${items}]`),
    fc.tuple(tie('value'), fc.integer({ min: 1, max: 4 })).map(([item, count]) => `[${Array(count).fill(item)}]`),
  ),
})).value as fc.Arbitrary<string>;
const member = fc.oneof(
  nested.map((value) => `"instances":${value}`),
  nested.map((value) => `"inputs" : ${value}`),
  fc.constantFrom(
    '"signature_name":"serving_default"',
    '"signature_name":5',
    '"other":[{"a":[1]}]',
    '"inputs":{"x":[1]}',
  ),
);
const predictText = fc.array(member, { minLength: 1, maxLength: 3 }).map((members) => `{${members.join(' ,')}}`);

test('whatever the addon takes, the twin takes with the same result', () => {
  fc.assert(
    fc.property(predictText, fc.constantFrom(...DATA_TYPES), (text, datatype) => {
      same(text, datatype);
    }),
    { numRuns: 20000 },
  );
});

test('ordinary requests are taken, others are left to the twin', () => {
  for (const [text, datatype] of [
    ['{"instances":[[1.5,2],[3,4]]}', 'FP32'],
    ['{"signature_name":"serving_default", "instances" : [ [ [1, 2] , [3, 4] ] ]\n}', 'INT64'],
    ['{"inputs":[1,2,3],"more":{"a":[]}}', 'UINT8'],
    ['{"instances":[true,false]}', 'BOOL'],
    [`{"instances":[[${Array.from({ length: 5000 }, (_, i) => i / 7)}]]}`, 'FP64'],
  ] as const) {
    assert.ok(same(text, datatype), text.slice(0, 100));
  }
  for (const [text, datatype] of [
    ['{"instances":[[1,2],[3]]}', 'FP32'],
    ['{"instances":[[1,2],3]}', 'FP32'],
    ['{"instances":[[1,[2]]]}', 'FP32'],
    ['{"instances":[]}', 'FP32'],
    ['{"instances":[[]]}', 'FP32'],
    ['{"instances":[{"x":[1]}]}', 'FP32'],
    ['{"instances":["5"]}', 'INT64'],
    ['{"instances":[1],"inputs":[1]}', 'FP32'],
    ['{"inputs":5}', 'FP32'],
    ['{}', 'FP32'],
    ['{"instances":[300]}', 'UINT8'],
    ['{"instances":[1]}', 'FP16'],
    [`{"instances":${'['.repeat(33)}1${']'.repeat(33)}}`, 'FP32'],
  ] as const) {
    assert.ok(!same(text, datatype), text);
  }
});

function aside(text: string, ...inputs: TensorSpec[]): Promise<unknown> {
  return new Promise((resolve) => {
    decodePredictAside('m', '1', encoder.encode(text), signature(...inputs), {
      wanted: () => true,
      onDecoded: (decoded) => resolve(plain(decoded)),
      onRefused: (error) => resolve(String(error)),
    });
  });
}

function onLoop(text: string, ...inputs: TensorSpec[]): unknown {
  try {
    return plain(decodePredict('m', '1', encoder.encode(text), signature(...inputs)));
  } catch (error) {
    return String(error);
  }
}

test('beside the loop comes out what comes out on it, error for error', async () => {
  await fc.assert(
    fc.asyncProperty(predictText, fc.constantFrom('FP32', 'INT32', 'BOOL'), async (text, datatype) => {
      assert.deepEqual(await aside(text, spec(datatype)), onLoop(text, spec(datatype)), text);
    }),
    { numRuns: 2000 },
  );
  const rows = Array.from({ length: 300 }, (_, i) => `[${Array.from({ length: 100 }, (_, k) => Math.sin(i * k))}]`);
  for (const text of [
    `{"instances":[${rows}]}`,
    `{"inputs":[${rows}],"signature_name":"s"}`,
    `{"instances":[${rows},[1]]}`,
    `{"instances":[${rows}]`,
    `{"instances":[${rows}],"inputs":[1]}`,
    `{"instances":[${rows.map((row) => `{"x":${row}}`)}]}`,
  ]) {
    assert.ok(isPredictForAside(encoder.encode(text), signature(spec('FP32'))));
    assert.deepEqual(await aside(text, spec('FP32')), onLoop(text, spec('FP32')), text.slice(0, 100));
  }
});

test('bodies that the addon surely leaves to the twin, and small ones, stay on the loop', () => {
  const large = new Uint8Array(1 << 20);
  assert.ok(isPredictForAside(large, signature(spec('FP32'))));
  assert.ok(!isPredictForAside(large.subarray(0, 1000), signature(spec('FP32'))));
  assert.ok(!isPredictForAside(large, signature(spec('BYTES'))));
  assert.ok(!isPredictForAside(large, signature(spec('FP32'), spec('INT64'))));
});
