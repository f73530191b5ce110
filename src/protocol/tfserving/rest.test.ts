import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { ModelSignature } from '../../config/model-config.ts';
import type { InferResponse } from '../../pipeline/types.ts';
import { SwitchyardError } from '../../shared/errors.ts';
import { encodeBytes } from '../../tensor/bytes.ts';
import type { DataType, Tensor } from '../../tensor/tensor.ts';
import { typedView } from '../../tensor/views.ts';
import {
  classesNeedSlices,
  encodeClassify,
  encodeClassifyInSlices,
  encodePredict,
  encodePredictInSlices,
  encodeRegress,
  encodeRegressInSlices,
  modelMetadataBody,
  modelStatusBody,
  predictNeedsSlices,
  TfServingBody,
} from './rest.ts';

function signature(...inputs: [string, DataType, number[]][]): ModelSignature {
  return { inputs: inputs.map(([name, datatype, dims]) => ({ name, datatype, dims })), outputs: [], maxBatchSize: 8 };
}

const one = signature(['x', 'FP32', [2]]);
const two = signature(['x', 'FP32', [2]], ['n', 'INT64', []]);
const strings = signature(['s', 'BYTES', []]);
const float32 = (...values: number[]) => new Uint8Array(Float32Array.from(values).buffer);
const text = (data: Uint8Array) => Buffer.from(data).toString();

function predict(json: string, model = one) {
  return new TfServingBody('m', '1', Buffer.from(json), model, false).decode();
}

function examples(json: string, model: ModelSignature) {
  return new TfServingBody('m', '', Buffer.from(json), model, true).decode().request;
}

function refuses(json: string, message: RegExp, model = one): void {
  assert.throws(() => predict(json, model), { code: 'invalid_argument', message });
}

function answer(...outputs: Tensor[]): InferResponse {
  return { model: 'm', version: '1', id: '', outputs, parameters: undefined, timings: undefined };
}

test('rows of the only input', () => {
  const { request, format } = predict('{"signature_name":"serving_default","instances":[[1,2],[3,NaN],[5,-Infinity]]}');
  assert.equal(format, 'row');
  assert.deepEqual(request.inputs[0].shape, [3, 2]);
  assert.deepEqual([...typedView('FP32', request.inputs[0].data)], [1, 2, 3, NaN, 5, -Infinity]);
  assert.deepEqual(predict('{"instances":[1,2,3]}').request.inputs[0].shape, [3]);
});

test('named rows and columns agree', () => {
  const rows = predict('{"instances":[{"x":[1,2],"n":"9007199254740993"},{"n":-4,"x":[3,4]}]}', two);
  const columns = predict('{"inputs":{"n":[9007199254740993,"-4"],"x":[[1,2],[3,4]]}}', two);
  assert.equal(columns.format, 'column');
  assert.deepEqual(rows.request.inputs, columns.request.inputs.toReversed());
  assert.deepEqual([...typedView('INT64', rows.request.inputs[1].data)], [9007199254740993n, -4n]);
  assert.deepEqual(rows.request.inputs[1].shape, [2]);
});

test('strings, plain and base64', () => {
  const { request } = predict('{"instances":["a",{"b64":"/+8="},{"b64":"_-8"}]}', strings);
  const bytes = new Uint8Array([255, 239]);
  assert.deepEqual(request.inputs[0], {
    name: 's',
    datatype: 'BYTES',
    shape: [3],
    data: encodeBytes(['a', bytes, bytes]),
  });
  assert.deepEqual(predict('{"instances":[{"s":{"b64":"QQ=="}}]}', strings).request.inputs[0].data, encodeBytes(['A']));
  assert.deepEqual(predict('{"inputs":{"b64":"QQ=="}}', strings).request.inputs[0].shape, []);
  refuses('{"instances":[{"b64":"!"}]}', /'s': element 0 is not valid base64/, strings);
  refuses('{"instances":[{"b64":"QQ==","x":1}]}', /malformed JSON/, strings);
});

test('bad predict bodies', () => {
  refuses('{}', /neither 'instances' nor 'inputs'/);
  refuses('{"instances":[[1,2]],"inputs":[[1,2]]}', /exactly one/);
  refuses('{"instances":[]}', /empty/);
  refuses('{"instances":[{}]}', /instance 0 is an empty object/);
  refuses('{"instances":[[1,2],[3]]}', /'x': instance 1 has shape \[1\], those before it have \[2\]/);
  refuses('{"instances":[[1,[2]]]}', /not of equal length/);
  refuses('{"inputs":[[1,2],[3]]}', /not of equal length and depth/);
  refuses('{"inputs":[[1],[[2]]]}', /not of equal length and depth/);
  refuses('{"instances":[{"x":[1,2]}]}', /do not all have|named|input/, signature(['y', 'FP32', [2]]));
  refuses('{"instances":[{"z":[1,2]}]}', /no input 'z'; it has x, n/, two);
  refuses(
    '{"instances":[{"x":[1,2],"n":1},{"x":[1,2]}]}',
    /instance 1 and those before it do not all have the input 'n'/,
    two,
  );
  refuses('{"instances":[{"x":[1,2]},{"x":[1,2],"n":1}]}', /do not all have the input 'n'/, two);
  refuses('{"instances":[{"x":[1,2],"x":[1,2]}]}', /'x' appears twice in instance 0/);
  refuses('{"instances":[[1,2]]}', /2 inputs; name each value: x, n/, two);
  refuses('{"instances":[["a","b"]]}', /'x' is FP32/);
  refuses(`{"instances":${'['.repeat(250000)}}`, /malformed|nested/);
  refuses('{"inputs":{"x":[[1,2]],"x":[[1,2]]}}', /'x' appears twice/);
});

test('predictions by row and outputs by column', () => {
  const y: Tensor = { name: 'y', datatype: 'FP32', shape: [2, 1, 2], data: float32(1, 0.5, NaN, -Infinity) };
  const n: Tensor = {
    name: 'n',
    datatype: 'INT64',
    shape: [2],
    data: new Uint8Array(BigInt64Array.of(-1n, 2n ** 62n).buffer),
  };
  assert.equal(text(encodePredict(answer(y), 'row')), '{"predictions":[[[1.0,0.5]],[[NaN,-Infinity]]]}');
  assert.equal(text(encodePredict(answer(y), 'column')), '{"outputs":[[[1.0,0.5]],[[NaN,-Infinity]]]}');
  assert.equal(
    text(encodePredict(answer(y, n), 'row')),
    '{"predictions":[{"y":[[1.0,0.5]],"n":-1},{"y":[[NaN,-Infinity]],"n":4611686018427387904}]}',
  );
  assert.equal(
    text(encodePredict(answer(n, y), 'column')),
    '{"outputs":{"n":[-1,4611686018427387904],"y":[[[1.0,0.5]],[[NaN,-Infinity]]]}}',
  );
  const raw: Tensor = {
    name: 'image_bytes',
    datatype: 'BYTES',
    shape: [1],
    data: encodeBytes([new Uint8Array([255])]),
  };
  assert.equal(text(encodePredict(answer(raw), 'row')), '{"predictions":[{"b64":"/w=="}]}');
  assert.throws(() => encodePredict(answer(y, { ...n, shape: [1, 2] }), 'row'), /'n' of shape \[1,2\]/);
  const none: Tensor = { name: 'y', datatype: 'FP32', shape: [2, 0, 3], data: new Uint8Array(0) };
  assert.equal(text(encodePredict(answer(none), 'row')), '{"predictions":[[],[]]}');
});

test('examples: scalars are lists of one, the context fills in', () => {
  const model = signature(['x', 'FP32', [1]], ['n', 'INT64', []]);
  const body = '{"context":{"n":7},"examples":[{"x":0.5},{"x":[1.5],"n":[8]},{"x":2}]}';
  const { inputs } = examples(body, model);
  assert.deepEqual(inputs[0].shape, [3, 1]);
  assert.deepEqual([...typedView('FP32', inputs[0].data)], [0.5, 1.5, 2]);
  assert.deepEqual(inputs[1].shape, [3]);
  assert.deepEqual([...typedView('INT64', inputs[1].data)], [7n, 8n, 7n]);
  const refused = (json: string, message: RegExp) =>
    assert.throws(() => examples(json, model), { code: 'invalid_argument', message });
  refused('{"examples":[]}', /empty/);
  refused('{}', /no 'examples'/);
  refused('{"examples":[{"x":1},{}]}', /do not all have the input 'x'/);
  refused('{"examples":[{}]}', /no features/);
  refused('{"context":{"q":1},"examples":[{"x":1}]}', /no input 'q', which 'context' names/);
  const blank = `"${' '.repeat(600000)}"`;
  refused(`{"context":{"q":${blank}},"examples":[${new Array(200).fill('{"x":1}')}]}`, /no input 'q'|beyond/);
});

test('a large context is not multiplied by many small examples', () => {
  const model = signature(['s', 'BYTES', []], ['x', 'FP32', []]);
  const body = `{"context":{"s":"${'a'.repeat(1 << 20)}"},"examples":[${new Array(100).fill('{"x":1}')}]}`;
  assert.throws(() => examples(body, model), {
    code: 'invalid_argument',
    message: /beyond/,
  });
});

test('classify and regress results', () => {
  const scores: Tensor = { name: 'scores', datatype: 'FP32', shape: [2, 2], data: float32(0.25, 0.75, 1, 0) };
  const classes: Tensor = {
    name: 'classes',
    datatype: 'BYTES',
    shape: [2, 2],
    data: encodeBytes(['a', 'b', 'c', 'd']),
  };
  assert.equal(
    text(encodeClassify(answer(classes, scores), one)),
    '{"results":[[["a",0.25],["b",0.75]],[["c",1.0],["d",0.0]]]}',
  );
  const labelled: ModelSignature = {
    ...one,
    outputs: [{ name: 'scores', datatype: 'FP32', dims: [2], labels: ['cat', 'dog'] }],
  };
  assert.equal(
    text(encodeClassify(answer(scores), labelled)),
    '{"results":[[["cat",0.25],["dog",0.75]],[["cat",1.0],["dog",0.0]]]}',
  );
  assert.equal(text(encodeRegress(answer({ ...scores, shape: [4, 1] }))), '{"results":[0.25,0.75,1.0,0.0]}');
  assert.throws(() => encodeRegress(answer(scores)), { code: 'failed_precondition', message: /more than one value/ });
  assert.throws(() => encodeClassify(answer(classes), one), {
    code: 'failed_precondition',
    message: /no float output/,
  });
});

test('large results are printed in slices, of which none is large', () => {
  const values = float32(...Array.from({ length: 40_000 }, (_, i) => i / 8));
  const scores: Tensor = { name: 'scores', datatype: 'FP32', shape: [8, 5000], data: values };
  const labels = Array.from({ length: 40_000 }, (_, i) => `label ${i}`);
  const classes: Tensor = { name: 'classes', datatype: 'BYTES', shape: [8, 5000], data: encodeBytes(labels) };
  const small = answer({ ...scores, shape: [1], data: float32(1) });
  const sliced = (slices: Generator<undefined, Uint8Array, undefined>) => {
    let count = 1;
    for (let slice = slices.next(); ; slice = slices.next()) {
      if (slice.done) return { count, told: text(slice.value) };
      encodeRegress(small);
      count++;
    }
  };
  for (const outputs of [[scores], [classes, scores]]) {
    assert.ok(classesNeedSlices(answer(...outputs)));
    const { count, told } = sliced(encodeClassifyInSlices(answer(...outputs), one));
    assert.ok(count > 30, `${count} slices`);
    assert.equal(told, text(encodeClassify(answer(...outputs), one)));
    assert.equal(JSON.parse(told).results[7][4999][1], 39_999 / 8);
  }
  const column = answer({ ...scores, shape: [40_000, 1] });
  const { count, told } = sliced(encodeRegressInSlices(column));
  assert.equal(count, 3);
  assert.equal(told, text(encodeRegress(column)));
  assert.equal(JSON.parse(told).results[39_999], 39_999 / 8);
  assert.ok(!classesNeedSlices(small));
});

test('status and metadata', () => {
  assert.deepEqual(
    modelStatusBody([
      { version: '1', state: 'UNAVAILABLE', reason: 'bad graph' },
      { version: '2', state: 'READY', reason: '' },
    ]),
    {
      model_version_status: [
        { version: '2', state: 'AVAILABLE', status: { error_code: 'OK', error_message: '' } },
        { version: '1', state: 'END', status: { error_code: 'INTERNAL', error_message: 'bad graph' } },
      ],
    },
  );
  const json = JSON.parse(JSON.stringify(modelMetadataBody('m', '2', one)));
  assert.deepEqual(json.metadata.signature_def.signature_def.serving_default.inputs, {
    x: {
      dtype: 'DT_FLOAT',
      tensor_shape: {
        dim: [
          { size: '-1', name: '' },
          { size: '2', name: '' },
        ],
        unknown_rank: false,
      },
      name: 'x:0',
    },
  });
});

/** The values 0, 1, 2, … as nested lists. */
function nestedLists(shape: readonly number[], from = 0): unknown {
  const [length, ...inner] = shape;
  if (length === undefined) return from;
  const step = inner.reduce((product, dim) => product * dim, 1);
  return Array.from({ length }, (_, i) => nestedLists(inner, from + i * step));
}

test('large answers are printed in slices, of which none is large', () => {
  const tensor = (name: string, ...shape: number[]): Tensor => {
    const count = shape.reduce((product, dim) => product * dim, 1);
    return {
      name,
      datatype: 'INT32',
      shape,
      data: new Uint8Array(Int32Array.from({ length: count }, (_, i) => i).buffer),
    };
  };
  const sliced = (response: InferResponse, format: 'row' | 'column') => {
    const slices = encodePredictInSlices(response, format);
    let count = 1;
    for (let slice = slices.next(); ; slice = slices.next()) {
      if (slice.done) return { count, told: JSON.parse(text(slice.value)) };
      encodePredict(answer(tensor('other', 1, 1)), 'row');
      count++;
    }
  };
  for (const [shape, slices] of [
    [[1, 100_000], 8],
    [[3, 20_000], 9],
    [[50_000, 1], 4],
    [[40_000], 3],
    [[2, 2, 5, 4000], 4],
    [[16385, 0], 1],
  ] as const) {
    const large = answer(tensor('y', ...shape));
    assert.equal(predictNeedsSlices(large), shape[1] !== 0);
    const row = sliced(large, 'row');
    assert.deepEqual(row.told, { predictions: nestedLists(shape) }, String(shape));
    assert.ok(row.count >= slices, `${row.count} slices of [${shape}]`);
    assert.deepEqual(sliced(large, 'column').told, { outputs: nestedLists(shape) }, String(shape));
    assert.deepEqual(JSON.parse(text(encodePredict(large, 'row'))), row.told);
  }
  const two = answer(tensor('a', 3, 20_000), tensor('b', 3));
  const [a, b] = [nestedLists([3, 20_000]), nestedLists([3])] as unknown[][];
  assert.deepEqual(sliced(two, 'row').told, { predictions: a.map((value, i) => ({ a: value, b: b[i] })) });
  assert.deepEqual(sliced(two, 'column').told, { outputs: { a, b } });
});

test('whatever the bytes, only SwitchyardError is thrown', () => {
  const seeds = [
    '{"instances":[{"x":[1,2],"n":"5"},{"n":-4,"x":[3,4]}]}',
    '{"inputs":{"n":[9007199254740993,"-4"],"x":[[1,2],[3,4]]}}',
    '{"context":{"n":7},"examples":[{"x":[0.5]},{"x":[1.5],"n":[8]}]}',
  ];
  const edits = fc.array(fc.tuple(fc.nat(70), fc.constantFrom(...Buffer.from('[]{},:"\\0-eNb '))), {
    minLength: 1,
    maxLength: 4,
  });
  fc.assert(
    fc.property(fc.constantFrom(...seeds), edits, (seed, changes) => {
      const bytes = Buffer.from(seed);
      for (const [at, byte] of changes) if (at < bytes.length) bytes[at] = byte;
      for (const given of [false, true]) {
        try {
          new TfServingBody('m', '', bytes, two, given).decode();
        } catch (error) {
          assert.ok(error instanceof SwitchyardError, String(error));
          assert.notEqual(error.code, 'internal');
        }
      }
    }),
    { numRuns: 3000 },
  );
});
