import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { SwitchyardError } from '../../shared/errors.ts';
import { decodeBytes, encodeBytes } from '../../tensor/bytes.ts';
import { checkTensor } from '../../tensor/check.ts';
import { typedView } from '../../tensor/views.ts';
import { decodeInferRequest } from './infer-decoder.ts';

const encoder = new TextEncoder();

function decode(text: string, jsonLength = -1) {
  return decodeInferRequest('m', '', encoder.encode(text), jsonLength);
}

function body(datatype: string, shape: number[], data: string, name = 'x'): string {
  return `{"inputs":[{"name":"${name}","shape":[${shape}],"datatype":"${datatype}","data":${data}}]}`;
}

function elements(datatype: string, shape: number[], data: string): ArrayLike<number | bigint> {
  const input = decode(body(datatype, shape, data)).inputs[0];
  checkTensor(input);
  return typedView(input.datatype, input.data);
}

function refuses(text: string, message: RegExp, code = 'invalid_argument', jsonLength = -1): void {
  assert.throws(() => decode(text, jsonLength), { code, message });
}

function withBinary(json: string, ...parts: Uint8Array[]): Uint8Array {
  return Buffer.concat([encoder.encode(json), ...parts]);
}

test('a whole request is read', () => {
  const request = decode(
    `{ "id" : "a\\u00e9\\n", "model_name":"ignored", "unknown":{"a":[1,{"b":null}],"c":"\\"]"},
      "parameters":{"sequence_id":18446744073709551615,"priority":2,"flag":true,"s":"x","f":1.5,"none":null},
      "inputs":[{"name":"a","shape":[2,2],"datatype":"FP32","data":[[1,2],[3.5,-4e2]],"parameters":{"content_type":"np"}},
                {"name":"b","shape":[1],"datatype":"BOOL","data":[true]}],
      "outputs":[{"name":"o","parameters":{"classification":3,"binary_data":false}},{"name":"p"}] } \n`,
  );
  assert.equal(request.id, 'aé\n');
  assert.deepEqual(
    { ...request.parameters },
    { sequence_id: 18446744073709551615n, priority: 2, flag: true, s: 'x', f: 1.5 },
  );
  assert.equal(Object.getPrototypeOf(request.parameters), null);
  assert.deepEqual([...typedView('FP32', request.inputs[0].data)], [1, 2, 3.5, -400]);
  assert.deepEqual(request.inputs[0].shape, [2, 2]);
  assert.deepEqual(Array.from(request.inputs[1].data), [1]);
  assert.deepEqual(request.outputs, [
    { name: 'o', binary: false, classification: 3 },
    { name: 'p', binary: false, classification: 0 },
  ]);
});

test('members may come in any order', () => {
  const members = [
    '"name":"x"',
    '"shape":[3]',
    '"datatype":"INT64"',
    '"data":[[9007199254740993,-1],[0]]',
    '"parameters":{}',
  ];
  fc.assert(
    fc.property(fc.shuffledSubarray(members, { minLength: 5 }), (order) => {
      const [input] = decode(`{"inputs":[{${order}}]}`).inputs;
      assert.deepEqual([...typedView('INT64', input.data)], [9007199254740993n, -1n, 0n]);
    }),
  );
});

test('64-bit integers are exact and range checked', () => {
  fc.assert(
    fc.property(fc.array(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })), (values) => {
      assert.deepEqual(Array.from(elements('INT64', [values.length], `[${values}]`)), values);
    }),
  );
  fc.assert(
    fc.property(fc.array(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n })), (values) => {
      assert.deepEqual(Array.from(elements('UINT64', [values.length], `[${values}]`)), values);
    }),
  );
  assert.deepEqual(Array.from(elements('INT64', [3], '[1.0, -2e3, -0]')), [1n, -2000n, 0n]);
  for (const [type, value] of [
    ['INT64', '9223372036854775808'],
    ['INT64', '-9223372036854775809'],
    ['INT64', '99999999999999999999999999999'],
    ['INT64', '1.5'],
    ['UINT64', '18446744073709551616'],
    ['UINT64', '-1'],
  ]) {
    refuses(body(type, [1], `[${value}]`), new RegExp(`'x': element 0 is ${value.replace('.', '\\.')}`));
  }
  refuses(body('INT64', [1], '["1"]'), /'x' is INT64/);
  refuses(body('INT64', [1], '[01]'), /leading zero/);
});

test('small integers are range checked by input and value', () => {
  const ranges: [string, number, number][] = [
    ['INT8', -128, 127],
    ['UINT8', 0, 255],
    ['INT16', -32768, 32767],
    ['UINT16', 0, 65535],
    ['INT32', -2147483648, 2147483647],
    ['UINT32', 0, 4294967295],
  ];
  for (const [type, low, high] of ranges) {
    assert.deepEqual(Array.from(elements(type, [3], `[${low},0,${high}]`)), [low, 0, high]);
    refuses(body(type, [2], `[0,${high + 1}]`), new RegExp(`'x': element 1 is ${high + 1}, .*${type}`));
    refuses(body(type, [1], `[${low - 1}]`), new RegExp(`element 0 is ${low - 1}`));
    refuses(body(type, [1], '[0.5]'), /element 0 is 0\.5/);
    refuses(body(type, [1], '[NaN]'), /is [A-Z0-9]+, but its data holds "NaN/);
    refuses(body(type, [1], '[true]'), /holds "true/);
  }
  assert.deepEqual(Array.from(elements('BOOL', [4], '[true,false,1,0]')), [1, 0, 1, 0]);
  refuses(body('BOOL', [1], '[2]'), /element 0 is 2/);
});

test('floats: NaN and infinities bare, overflow refused', () => {
  assert.deepEqual(Array.from(elements('FP32', [3], '[NaN, Infinity,-Infinity]')), [NaN, Infinity, -Infinity]);
  assert.deepEqual(Array.from(elements('FP64', [3], '[NaN,Infinity , -Infinity]')), [NaN, Infinity, -Infinity]);
  assert.ok(Object.is(elements('FP32', [1], '[-0]')[0], -0));
  refuses(body('FP32', [1], '[1e400]'), /1e400 is beyond/);
  refuses(body('FP64', [1], '[-1e400]'), /-1e400 is beyond/);
  refuses(body('FP32', [1], '[1e39]'), /'x': element 0 is 1e\+39/);
  refuses(body('FP32', [1], '[Nan]'), /expected NaN/);
  refuses(body('FP32', [1], '[null]'), /'x' is FP32/);
  refuses(body('FP32', [1], '["1"]'), /'x' is FP32/);
  refuses(body('FP16', [1], '[1]'), /'x': FP16 has no JSON form/);
  refuses(body('BF16', [1], '[1]'), /binary_data_size/);
});

test('BYTES from JSON strings: escapes, surrogates, UTF-8', () => {
  fc.assert(
    fc.property(fc.array(fc.string({ unit: 'binary' })), fc.boolean(), (values, escaped) => {
      let json = JSON.stringify(values);
      if (escaped)
        json = json.replace(/[\u0080-\uffff]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
      const [input] = decode(body('BYTES', [values.length], json)).inputs;
      assert.deepEqual(input.data, encodeBytes(values));
    }),
  );
  const [input] = decode(body('BYTES', [2, 1], '[["a\\/\\b\\f\\n\\r\\t\\"\\\\"],["\\ud83d\\ude00"]]')).inputs;
  assert.deepEqual(
    decodeBytes(input.data).map((bytes) => Buffer.from(bytes).toString()),
    ['a/\b\f\n\r\t"\\', '😀'],
  );
  refuses(body('BYTES', [1], '["\\ud83d"]'), /surrogate/);
  refuses(body('BYTES', [1], '["\\ude00\\ud83d"]'), /surrogate/);
  refuses(body('BYTES', [1], '["\\x"]'), /escape/);
  refuses(body('BYTES', [1], '["\\u12"]'), /hexadecimal/);
  refuses(body('BYTES', [1], '["a\nb"]'), /control character/);
  refuses(body('BYTES', [1], '[5]'), /'x' is BYTES/);
  refuses(body('BYTES', [1], '[{"b64":"QQ=="}]'), /'x' is BYTES/);
  const broken = Buffer.from(body('BYTES', [1], '["?"]'));
  broken[broken.indexOf('?')] = 0xff;
  assert.throws(() => decodeInferRequest('m', '', broken, -1), { code: 'invalid_argument', message: /UTF-8/ });
});

test('numbers agree with JSON.parse, flat and nested', () => {
  const rows = fc.integer({ min: 1, max: 6 }).chain((width) =>
    fc.array(
      fc.array(
        fc.oneof(
          fc.double({ noNaN: true, noDefaultInfinity: true }),
          fc.integer(),
          fc.float({ noNaN: true, noDefaultInfinity: true }),
        ),
        {
          minLength: width,
          maxLength: width,
        },
      ),
      { minLength: 1, maxLength: 400 },
    ),
  );
  fc.assert(
    fc.property(rows, fc.constantFrom('', ' ', '\n\t'), (matrix, space) => {
      const nested = JSON.stringify(matrix).replaceAll(',', `,${space}`).replaceAll(']', `${space}]`);
      const flat = JSON.stringify(matrix.flat()).replaceAll(',', `${space},`).replaceAll('[', `[${space}`);
      const shape = [matrix.length, matrix[0].length];
      const expected = Float64Array.from(JSON.parse(flat));
      assert.deepEqual(elements('FP64', shape, nested), expected);
      assert.deepEqual(elements('FP64', shape, flat), expected);
    }),
    { numRuns: 200 },
  );
});

test('decimals of any length are the nearest double, alone and in runs', () => {
  const decimal = fc.stringMatching(/^-?(0|[1-9][0-9]{0,12})(\.0{0,6}[0-9]{1,18})?$/);
  fc.assert(
    fc.property(fc.array(decimal, { minLength: 1, maxLength: 40 }), (texts) => {
      const read = elements('FP64', [texts.length], `[${texts.join(', ')}]`);
      for (let i = 0; i < texts.length; i++) assert.ok(Object.is(read[i], Number(texts[i])), texts[i]);
    }),
    { numRuns: 1000 },
  );
});

test('large tensors cross the run boundaries', () => {
  for (const count of [1023, 1024, 1025, 5000]) {
    const values = Array.from({ length: count }, (_, i) => i / 8);
    assert.deepEqual(Array.from(elements('FP32', [count], JSON.stringify(values))), values);
  }
});

test('tensors of different requests never share bytes', () => {
  const kept = Array.from({ length: 3000 }, (_, i) => decode(body('INT32', [3], `[${i},${i + 1},${i + 2}]`)).inputs[0]);
  for (let i = 0; i < kept.length; i++) {
    assert.deepEqual([...typedView('INT32', kept[i].data)], [i, i + 1, i + 2]);
    assert.equal(kept[i].data.byteOffset % 8, 0);
  }
});

test('a failed decode leaves nothing of itself in the next tensor', () => {
  refuses(body('INT32', [3], '[1,2,x]'), /'x' is INT32/);
  assert.deepEqual(Array.from(elements('INT32', [2], '[7,8]')), [7, 8]);
});

test('zero elements', () => {
  assert.equal(elements('FP32', [0], '[]').length, 0);
  assert.equal(elements('FP32', [2, 0], '[[],[]]').length, 0);
  assert.equal(elements('BYTES', [0], '[]').length, 0);
  const json = '{"inputs":[{"name":"x","shape":[0],"datatype":"FP16","parameters":{"binary_data_size":0}}]}';
  assert.equal(decode(json, json.length).inputs[0].data.length, 0);
});

test('element count must match the shape', () => {
  refuses(body('FP32', [3], '[1,2]'), /'x': shape \[3\] takes 3 elements, 'data' holds 2/);
  refuses(body('FP32', [1], '[1,2]'), /holds 2/);
  refuses(body('INT64', [1], '[1,2,3]'), /holds 3/);
  refuses(body('FP32', [0], '[1]'), /takes 0 elements/);
  refuses(body('FP32', [1000000000, 1000], '[1]'), /'data' holds 1/);
  refuses(body('BYTES', [2], '["a"]'), /holds 1/);
});

test('shape bombs and bad shapes', () => {
  const bomb = '{"inputs":[{"name":"x","datatype":"FP32","shape":';
  refuses(`${bomb}[16,1152921504606846978],"data":[]}]}`, /1152921504606846978 is not allowed in 'shape'/);
  refuses(`${bomb}[2,-5],"data":[]}]}`, /'x': -5 is not allowed/);
  refuses(`${bomb}[1.5],"data":[]}]}`, /1\.5/);
  refuses(`${bomb}[9007199254740991,9007199254740991],"data":[]}]}`, /2\^53/);
  refuses(`${bomb}[${new Array(33).fill(1)}],"data":[1]}]}`, /more than 32/);
  refuses(`${bomb}[[1]],"data":[1]}]}`, /number/);
  refuses(`${bomb}"1","data":[1]}]}`, /expected '\['/);
});

test('brackets: 250,000 of them, and depth 100 exactly', () => {
  refuses(body('FP32', [1], '['.repeat(250000)), /nested deeper than 100/);
  refuses(`{"x":${'['.repeat(250000)}`, /does not end/);
  refuses(`{"x":${'['.repeat(250000)}}`, /nested deeper than 100/);
  refuses(`{"x":${'{"a":'.repeat(250000)}1${'}'.repeat(250001)}`, /nested deeper than 100/);
  assert.equal(elements('FP32', [1], `${'['.repeat(100)}1${']'.repeat(100)}`)[0], 1);
  refuses(body('FP32', [1], `${'['.repeat(101)}1${']'.repeat(101)}`), /deeper/);
});

test('names', () => {
  for (const name of ['__proto__', 'constructor', 'prototype', '\\u005f_proto__']) {
    refuses(body('FP32', [1], '[1]', name), /is not allowed as the name of an input/);
    refuses(`{"inputs":[],"outputs":[{"name":"${name}"}]}`, /name of an output/);
    refuses(`{"inputs":[],"parameters":{"${name}":1}}`, /not allowed/);
  }
  refuses(body('FP32', [1], '[1]', ''), /empty name/);
  const one = '{"name":"x","shape":[1],"datatype":"FP32","data":[1]}';
  refuses(`{"inputs":[${one},${one}]}`, /input 'x' appears twice/);
  refuses('{"inputs":[],"outputs":[{"name":"o"},{"name":"o"}]}', /output 'o' appears twice/);
  const many = Array.from({ length: 40 }, (_, i) => `{"name":"o${i % 39}"}`);
  refuses(`{"inputs":[],"outputs":[${many}]}`, /output 'o0' appears twice/);
  refuses('{"inputs":[],"parameters":{"a":1,"a":2}}', /'a' appears twice/);
  refuses('{"inputs":[],"inputs":[]}', /'inputs' appears twice/);
  refuses('{"inputs":[{"name":"x","data":[1],"data":[2],"shape":[1],"datatype":"FP32"}]}', /'data' appears twice/);
});

test('missing pieces name what is missing', () => {
  refuses('{}', /no 'inputs'/);
  refuses('', /empty/);
  refuses('[]', /expected '\{'/);
  refuses('{"inputs":[{"shape":[1],"datatype":"FP32","data":[1]}]}', /no 'name'/);
  refuses('{"inputs":[{"name":"x","datatype":"FP32","data":[1]}]}', /'x' has no 'shape'/);
  refuses('{"inputs":[{"name":"x","shape":[1],"data":[1]}]}', /'x' has no 'datatype'/);
  refuses('{"inputs":[{"name":"x","shape":[1],"datatype":"FP32"}]}', /'x' has no elements/);
  refuses(body('STRING', [1], '["a"]'), /datatype 'STRING' is unknown; allowed are BOOL/);
  refuses(body('constructor', [1], '["a"]'), /unknown/);
  refuses(body('FP32', [1], '1'), /'data' must be an array/);
});

test('malformed JSON is refused with a position', () => {
  const good = body('FP32', [2], '[1,2]');
  for (const data of ['[1,,2]', '[1,2,]', '[,1,2]', '[1 2]', '[1,2', '[[1],2]]', '[1;2]', '[1,2}', '[1]2', '[.5,1]']) {
    refuses(body('FP32', [2], data), /malformed JSON at byte \d+|'data' holds/);
  }
  refuses(`${good} x`, /does not end/);
  refuses(`${good}{}`, /follows the end/);
  refuses(`${good}}`, /follows the end/);
  refuses('{"inputs":[{}', /malformed|no 'name'/);
  refuses('{"inputs":[]', /malformed/);
  refuses('{"inputs" []}', /expected ':'/);
  refuses('{inputs:[]}', /double quotes/);
  refuses('{"inputs":[],}', /double quotes/);
  refuses('{"a":tru,"inputs":[]}', /expected true/);
  refuses('{"inputs":[],"id":5}', /expected a string/);
  refuses('{"inputs":[],"parameters":{"a":{}}}', /'a' must be a string, number or boolean/);
  for (let cut = 0; cut < good.length; cut++) refuses(good.slice(0, cut), /malformed|empty|no 'inputs'/);
});

test('binary tensors are cut in order and alias the body', () => {
  const json =
    '{"inputs":[{"name":"a","shape":[2],"datatype":"INT16","parameters":{"binary_data_size":4}},' +
    '{"name":"b","shape":[1],"datatype":"FP32","data":[1.5]},' +
    '{"name":"c","shape":[2],"datatype":"BYTES","parameters":{"binary_data_size":11}}]}';
  const bytes = encodeBytes(['abc', '']);
  const whole = withBinary(json, new Uint8Array([1, 0, 255, 255]), bytes);
  const request = decodeInferRequest('m', '3', whole, json.length);
  assert.deepEqual([...typedView('INT16', request.inputs[0].data)], [1, -1]);
  assert.equal(request.inputs[0].data.buffer, whole.buffer);
  assert.deepEqual([...typedView('FP32', request.inputs[1].data)], [1.5]);
  assert.deepEqual(request.inputs[2].data, bytes);
  assert.equal(request.version, '3');
  const fails = (part: Uint8Array, length: number, message: RegExp) =>
    assert.throws(() => decodeInferRequest('m', '', part, length), { code: 'invalid_argument', message });
  fails(withBinary(json, new Uint8Array([1, 0, 255, 255]), bytes, new Uint8Array(3)), json.length, /3 bytes follow/);
  fails(withBinary(json, new Uint8Array(14)), json.length, /'c': binary_data_size is 11, but only 10/);
  fails(withBinary(json, new Uint8Array(15)), json.length, /past the end/);
  fails(encoder.encode(json), -1, /Inference-Header-Content-Length is missing/);
  fails(encoder.encode(json), 99999999999, /is 99999999999, but the body has/);
  fails(encoder.encode(json), Number.NaN, /is NaN/);
  fails(withBinary(body('FP32', [1], '[1]'), new Uint8Array(2)), body('FP32', [1], '[1]').length, /2 bytes follow/);
  const past = '{"inputs":[{"name":"c","shape":[1],"datatype":"BYTES","parameters":{"binary_data_size":5}}]}';
  fails(withBinary(past, new Uint8Array([200, 0, 0, 0, 1])), past.length, /past the end/);
});

test('exactly one source of elements', () => {
  const both = '{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[1],"parameters":{"binary_data_size":4}}]}';
  refuses(both, /both 'data' and 'binary_data_size'/);
  const shared = '"parameters":{"shared_memory_region":"r","shared_memory_byte_size":4}';
  refuses(`{"inputs":[{"name":"x","shape":[1],"datatype":"FP32",${shared}}]}`, /shared memory/, 'unsupported');
  refuses(`{"inputs":[],"outputs":[{"name":"x",${shared}}]}`, /shared memory/, 'unsupported');
  refuses(
    '{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","parameters":{"binary_data_size":-1}}]}',
    /binary_data_size is -1/,
  );
});

test('binary_data_output sets the outputs that do not say otherwise, and stays in the parameters', () => {
  const request = decode(
    '{"inputs":[],"outputs":[{"name":"a"},{"name":"b","parameters":{"binary_data":false}}],' +
      '"parameters":{"binary_data_output":true}}',
  );
  assert.deepEqual(
    request.outputs.map((output) => output.binary),
    [true, false],
  );
  assert.equal(request.parameters?.binary_data_output, true);
});

test('whatever the bytes, only SwitchyardError is thrown', () => {
  const decodeAny = (bytes: Uint8Array, length: number) => {
    try {
      decodeInferRequest('m', '', bytes, length);
    } catch (error) {
      assert.ok(error instanceof SwitchyardError, String(error));
      assert.notEqual(error.code, 'internal');
    }
  };
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), fc.integer({ min: -1, max: 210 }), decodeAny), {
    numRuns: 2000,
  });
  const seed = encoder.encode(
    '{"id":"i","parameters":{"a":1},"inputs":[{"name":"x","shape":[2,2],"datatype":"FP32","data":[[1,2.5],[-3e2,NaN]]},' +
      '{"name":"y","data":["a\\u00e9","b"],"shape":[2],"datatype":"BYTES"},{"name":"z","datatype":"INT64","shape":[1],' +
      '"data":[9223372036854775807]}],"outputs":[{"name":"o","parameters":{"binary_data":true}}]}',
  );
  const edit = fc.record({
    at: fc.nat(seed.length - 1),
    byte: fc.oneof(fc.nat(255), fc.constantFrom(...Buffer.from('[]{},:"\\0-eNI '))),
  });
  fc.assert(
    fc.property(fc.array(edit, { minLength: 1, maxLength: 4 }), fc.nat(seed.length), (edits, cut) => {
      const bytes = seed.slice();
      for (const { at, byte } of edits) bytes[at] = byte;
      decodeAny(bytes, -1);
      decodeAny(bytes, cut);
    }),
    { numRuns: 5000 },
  );
});

test('plain JSON that JSON.parse refuses is refused', () => {
  const seed = body('FP64', [2, 2], '[[1,2.5],[-3e2,0.1]]');
  const edit = fc.tuple(fc.nat(seed.length - 1), fc.constantFrom(...'[]{},:"\\01-+.e aN\n'));
  fc.assert(
    fc.property(edit, ([at, character]) => {
      const text = seed.slice(0, at) + character + seed.slice(at + 1);
      let valid = true;
      try {
        JSON.parse(text);
      } catch {
        valid = false;
      }
      if (valid) return;
      assert.throws(() => decode(text), { code: 'invalid_argument' }, text);
    }),
    { numRuns: 3000 },
  );
});
