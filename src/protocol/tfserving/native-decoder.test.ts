import assert from 'node:assert/strict';
import { test as nodeTest } from 'node:test';
import fc from 'fast-check';
import type { ModelSignature, TensorSpec } from '../../config/model-config.ts';
import { native, nativeProblem } from '../../tensor/native.ts';
import { DATA_TYPES, type DataType } from '../../tensor/tensor.ts';
import { plainTensors } from '../../testing/plain-tensors.ts';
import { TfServingBody } from './native-decoder.ts';
import type { PredictRequest } from './predict-request.ts';

const encoder = new TextEncoder();

/** Without the addon there is nothing to compare; SWITCHYARD_NATIVE=on makes that an error. */
function test(name: string, body: () => void | Promise<void>): void {
  nodeTest(name, { skip: native === undefined && (nativeProblem || 'SWITCHYARD_NATIVE=off') }, body);
}

function signature(types: Record<string, DataType>, ...scalars: string[]): ModelSignature {
  const inputs: TensorSpec[] = [];
  for (const [name, datatype] of Object.entries(types)) {
    inputs.push({ name, datatype, dims: scalars.includes(name) ? [] : [-1] });
  }
  return { inputs, outputs: [], maxBatchSize: 0 };
}

const one = (datatype: DataType) => signature({ x: datatype });

function bodyOf(text: string | Uint8Array, model: ModelSignature, examples: boolean): TfServingBody {
  return new TfServingBody('m', '1', typeof text === 'string' ? encoder.encode(text) : text, model, examples);
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
function same(text: string, model: ModelSignature, examples = false): boolean {
  const request = bodyOf(text, model, examples);
  const before = Buffer.from(request.body);
  const taken = request.decodeNatively(native!);
  assert.ok(before.equals(request.body), 'the body is only read');
  if (taken === undefined) return false;
  let expected: PredictRequest;
  try {
    expected = request.scan();
  } catch (error) {
    assert.fail(`the twin refuses ${text}: ${(error as Error).message}`);
  }
  assert.deepEqual(plain(taken), plain(expected), text.slice(0, 2000));
  return true;
}

const number = fc.oneof(
  { arbitrary: fc.integer({ min: -3, max: 300 }).map(String), weight: 4 },
  fc.double({ noNaN: true }).map(String),
  fc.constantFrom('NaN', '-Infinity', 'true', 'false', '"5"', '1e400', '-0', '01', '', '{"b64":"AA=="}', 'null'),
  fc.constantFrom('9007199254740993', '"]"', '"[1,2]"'),
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

const named = signature({ a: 'FP32', b: 'INT64', 'long name': 'UINT8', b64: 'FP64' }, 'a', 'b');
const name = fc.oneof(
  { arbitrary: fc.constantFrom('a', 'b', 'long name'), weight: 8 },
  fc.constantFrom('b64', 'none', '\\u0061', ''),
);
/** Values of three inputs, mostly as numbers of this row: so that several rows are of one shape. */
const values = fc.constantFrom('%', '[%]', '[%,1]', '[ [%,2],[3, %]]', '[[%]]');
const row = (members: readonly (readonly [string, string])[], i: number): string =>
  `{${members.map(([key, value]) => `"${key}":${value.replaceAll('%', String(i))}`)}}`;
const regularRows = fc
  .tuple(fc.array(fc.tuple(name, values), { minLength: 1, maxLength: 3 }), fc.integer({ min: 1, max: 5 }), fc.boolean())
  .map(([members, count, turned]) =>
    Array.from({ length: count }, (_, i) => row(turned && i % 2 === 1 ? members.toReversed() : members, i)),
  );
const otherRow = fc
  .array(fc.tuple(name, fc.oneof(number, nested, values)), { maxLength: 3 })
  .map((members) => row(members, 1));
const rows = fc
  .oneof(
    { arbitrary: regularRows, weight: 4 },
    fc.tuple(regularRows, fc.oneof(otherRow, nested, number)).map(([regular, other]) => [...regular, other]),
    fc.array(fc.oneof(otherRow, number), { maxLength: 3 }),
  )
  .map((items) => `[${items.join(' ,')}]`);
const value = fc.oneof(nested, rows, otherRow, number);
const member = fc.oneof(
  value.map((text) => `"instances":${text}`),
  value.map((text) => `"inputs" : ${text}`),
  { arbitrary: rows.map((text) => `"examples" : ${text}`), weight: 2 },
  fc.constantFrom(
    '"signature_name":"serving_default"',
    '"signature_name":5',
    '"other":[{"a":[1]}]',
    '"inputs":{"x":[1]}',
    '"context":{"a":7}',
  ),
);
const requestText = fc.oneof(
  fc.array(member, { minLength: 1, maxLength: 3 }).map((members) => `{${members.join(' ,')}}`),
  rows.map((text) => `{"instances":${text}}`),
  rows.map((text) => `{"examples":${text}}`),
  otherRow.map((text) => `{"inputs":${text}}`),
);
const model = fc.oneof(
  fc.constantFrom(...DATA_TYPES).map((datatype) => one(datatype)),
  { arbitrary: fc.constant(named), weight: 2 },
);

test('whatever the addon takes, the twin takes with the same result', () => {
  const taken = { predict: 0, named: 0, examples: 0 };
  fc.assert(
    fc.property(requestText, model, fc.boolean(), (text, asked, examples) => {
      if (same(text, asked, examples)) taken[examples ? 'examples' : asked === named ? 'named' : 'predict']++;
    }),
    { numRuns: 40000 },
  );
  for (const [what, count] of Object.entries(taken)) assert.ok(count > 50, `${what}: ${count} taken`);
});

test('ordinary requests are taken, others are left to the twin', () => {
  for (const [text, datatype] of [
    ['{"instances":[[1.5,2],[3,4]]}', 'FP32'],
    ['{"signature_name":"serving_default", "instances" : [ [ [1, 2] , [3, 4] ] ]\n}', 'INT64'],
    ['{"inputs":[1,2,3],"more":{"a":[]}}', 'UINT8'],
    ['{"instances":[true,false]}', 'BOOL'],
    ['{"instances":[{"x":true},{"x":false}]}', 'BOOL'],
    ['{"instances":[{"x":[1]}]}', 'FP32'],
    ['{"inputs":{"x":5}}', 'FP64'],
    ['{"inputs":{"x":NaN}}', 'FP64'],
    [`{"instances":[[${Array.from({ length: 5000 }, (_, i) => i / 7)}]]}`, 'FP64'],
    [`{"instances":[${Array.from({ length: 5000 }, (_, i) => `{"x":${i / 7}}`)}]}`, 'FP64'],
  ] as const) {
    assert.ok(same(text, one(datatype)), text.slice(0, 100));
  }
  for (const [text, datatype] of [
    ['{"instances":[[1,2],[3]]}', 'FP32'],
    ['{"instances":[[1,2],3]}', 'FP32'],
    ['{"instances":[[1,[2]]]}', 'FP32'],
    ['{"instances":[]}', 'FP32'],
    ['{"instances":[[]]}', 'FP32'],
    ['{"instances":[{"x":[1]},[1]]}', 'FP32'],
    ['{"instances":[{"x":[1]},{"x":[1,2]}]}', 'FP32'],
    ['{"instances":[{"x":[1],"x":[1]}]}', 'FP32'],
    ['{"instances":[{"y":[1]}]}', 'FP32'],
    ['{"instances":[{}]}', 'FP32'],
    ['{"instances":{"x":[1]}}', 'FP32'],
    ['{"instances":["5"]}', 'INT64'],
    ['{"instances":[1],"inputs":[1]}', 'FP32'],
    ['{"inputs":5}', 'FP32'],
    ['{}', 'FP32'],
    ['{"instances":[300]}', 'UINT8'],
    ['{"instances":[{"x":300}]}', 'UINT8'],
    ['{"instances":[1]}', 'FP16'],
    ['{"instances":["s"]}', 'BYTES'],
    [`{"instances":${'['.repeat(33)}1${']'.repeat(33)}}`, 'FP32'],
    [`{"instances":[{"x":${'['.repeat(32)}1${']'.repeat(32)}}]}`, 'FP32'],
  ] as const) {
    assert.ok(!same(text, one(datatype)), text);
  }
});

test('inputs are told apart by their names, in the order of the first row', () => {
  const text = '{"instances":[{"b":[5,6],"a":1.5},{"a":2,"b":[7,8]}]}';
  assert.ok(same(text, named));
  const { inputs } = bodyOf(text, named, false).decodeNatively(native!)!.request;
  assert.deepEqual(
    inputs.map(({ name, shape }) => ({ name, shape })),
    [
      { name: 'b', shape: [2, 2] },
      { name: 'a', shape: [2] },
    ],
  );
  assert.ok(same('{"inputs":{"a":[1,2],"long name":[[1]]}}', named));
  assert.ok(same('{"examples":[{"a":1.5,"b":[5],"long name":7},{"a":[2],"b":6,"long name":[8]}]}', named, true));
  assert.ok(!same('{"examples":[{"a":1.5},{}],"context":{"a":1}}', named, true));
  assert.ok(!same('{"inputs":[1]}', named), 'which of them it is');
});

function aside(text: string, asked: ModelSignature, examples: boolean): Promise<unknown> {
  return new Promise((resolve) => {
    bodyOf(text, asked, examples).decodeAside({
      wanted: () => true,
      onDecoded: (decoded) => resolve(plain(decoded)),
      onRefused: (error) => resolve(String(error)),
    });
  });
}

function onLoop(text: string, asked: ModelSignature, examples: boolean): unknown {
  try {
    return plain(bodyOf(text, asked, examples).decode());
  } catch (error) {
    return String(error);
  }
}

test('beside the loop comes out what comes out on it, error for error', async () => {
  await fc.assert(
    fc.asyncProperty(requestText, model, fc.boolean(), async (text, asked, examples) => {
      assert.deepEqual(await aside(text, asked, examples), onLoop(text, asked, examples), text);
    }),
    { numRuns: 3000 },
  );
  const lists = Array.from({ length: 300 }, (_, i) => `[${Array.from({ length: 100 }, (_, k) => Math.sin(i * k))}]`);
  for (const text of [
    `{"instances":[${lists}]}`,
    `{"inputs":[${lists}],"signature_name":"s"}`,
    `{"instances":[${lists},[1]]}`,
    `{"instances":[${lists}]`,
    `{"instances":[${lists}],"inputs":[1]}`,
    `{"instances":[${lists.map((list) => `{"x":${list}}`)}]}`,
  ]) {
    assert.ok(bodyOf(text, one('FP32'), false).isForAside());
    assert.deepEqual(await aside(text, one('FP32'), false), onLoop(text, one('FP32'), false), text.slice(0, 100));
  }
  // Two tensors with a buffer of their own, and one in the slab.
  const rows = lists.map(
    (list, i) => `{"a":${list},"b":[${list.replaceAll(/[^,]+/g, String(i))}],"long name":${i % 256}}`,
  );
  for (const text of [`{"instances":[${rows}]}`, `{"examples":[${rows}]}`, `{"examples":[${rows},{"a":1}]}`]) {
    const examples = text.startsWith('{"e');
    assert.ok(bodyOf(text, named, examples).isForAside());
    assert.deepEqual(await aside(text, named, examples), onLoop(text, named, examples), text.slice(0, 100));
  }
});

test('bodies that the addon surely leaves to the twin, and small ones, stay on the loop', () => {
  const large = new Uint8Array(1 << 20);
  assert.ok(bodyOf(large, one('FP32'), false).isForAside());
  assert.ok(bodyOf(large, signature({ x: 'FP32', y: 'INT64' }), true).isForAside());
  assert.ok(!bodyOf(large.subarray(0, 1000), one('FP32'), false).isForAside());
  assert.ok(!bodyOf(large, one('BYTES'), false).isForAside());
  assert.ok(!bodyOf(large, signature({ x: 'FP32', y: 'FP16' }), false).isForAside());
  assert.ok(!bodyOf(large, { inputs: [], outputs: [], maxBatchSize: 0 }, false).isForAside());
});
