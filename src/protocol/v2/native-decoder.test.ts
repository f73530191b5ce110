import assert from 'node:assert/strict';
import { test as nodeTest, type TestContext } from 'node:test';
import fc from 'fast-check';
import type { InferRequest } from '../../pipeline/types.ts';
import { native, nativeProblem } from '../../tensor/native.ts';
import { plainTensors } from '../../testing/plain-tensors.ts';
import { scanInferRequest } from './json-scanner.ts';
import { decodeNatively } from './native-decoder.ts';

const encoder = new TextEncoder();

/** Without the addon there is nothing to compare; SWITCHYARD_NATIVE=on makes that an error. */
function test(name: string, body: (t: TestContext) => void): void {
  nodeTest(name, { skip: native === undefined && (nativeProblem || 'SWITCHYARD_NATIVE=off') }, body);
}

function plain(request: InferRequest): unknown {
  // Bytes as hex: NaN bits and -0 count.
  return {
    ...request,
    inputs: plainTensors(request.inputs).map((input) => ({ ...input, data: Buffer.from(input.data).toString('hex') })),
  };
}

/** Whether the addon took the body. What it takes the twin takes, with the same result. */
function same(body: Uint8Array, jsonLength = -1): boolean {
  const before = Buffer.from(body);
  const request = decodeNatively(native!, 'm', '1', body, jsonLength);
  assert.ok(before.equals(body), 'the body is only read');
  if (request === undefined) return false;
  const shown = before.toString('latin1');
  let expected: InferRequest;
  try {
    expected = scanInferRequest('m', '1', body, jsonLength);
  } catch (error) {
    assert.fail(`the twin refuses ${shown}: ${(error as Error).message}`);
  }
  assert.deepEqual(plain(request), plain(expected), shown);
  return true;
}

function takes(text: string, jsonLength = -1): void {
  assert.ok(same(encoder.encode(text), jsonLength), `left to the twin: ${text.slice(0, 400)}`);
}

function leaves(text: string, jsonLength = -1): void {
  assert.ok(!same(encoder.encode(text), jsonLength), `taken: ${text.slice(0, 400)}`);
}

function body(datatype: string, shape: number[], data: string): string {
  return `{"inputs":[{"name":"x","shape":[${shape}],"datatype":"${datatype}","data":${data}}]}`;
}

const INTEGERS = {
  UINT8: [0n, 255n],
  UINT16: [0n, 65535n],
  UINT32: [0n, 4294967295n],
  UINT64: [0n, 2n ** 64n - 1n],
  INT8: [-128n, 127n],
  INT16: [-32768n, 32767n],
  INT32: [-(2n ** 31n), 2n ** 31n - 1n],
  INT64: [-(2n ** 63n), 2n ** 63n - 1n],
} as const;

const digits = (max: number) => fc.array(fc.nat(9), { minLength: 1, maxLength: max }).map((list) => list.join(''));

/** Decimals as any writer may spell them, of up to 45 digits, with or without exponent. */
const decimal = fc
  .tuple(
    fc.constantFrom('', '-'),
    fc.oneof(
      fc.constant('0'),
      digits(25).map((text) => text.replace(/^0+(?=\d)/, '')),
    ),
    fc.oneof(
      fc.constant(''),
      digits(20).map((text) => `.${text}`),
    ),
    fc.oneof(
      { weight: 4, arbitrary: fc.constant('') },
      fc.integer({ min: -30, max: 12 }).map((e) => `e${e}`),
    ),
  )
  .map((parts) => parts.join(''));

const float32 = fc.float({ noNaN: true, noDefaultInfinity: true });
const number = fc.oneof(
  decimal,
  float32.map((value) => (Object.is(value, -0) ? '-0' : String(value))),
  fc.double({ noNaN: true, noDefaultInfinity: true, min: -3.4e38, max: 3.4e38 }).map(String),
  fc.constantFrom('NaN', 'Infinity', '-Infinity', '0', '-0', '-0.0', '1e-45', '0.1', '5e-324'),
);

const gap = fc.constantFrom('', '', '', ' ', '\n  ', '\t');

/** The elements as nested arrays of the shape, or flat, with white space. */
function nest(texts: readonly string[], shape: readonly number[], flat: boolean, space: string): string {
  const comma = `,${space}`;
  if (flat || shape.length < 2) return `[${space}${texts.join(comma)}${space}]`;
  const [rows, ...rest] = shape;
  const each = rows === 0 ? 0 : texts.length / rows;
  const parts = Array.from({ length: rows }, (_, i) => nest(texts.slice(i * each, (i + 1) * each), rest, flat, space));
  return `[${parts.join(comma)}]`;
}

const shapes = fc.array(fc.nat(4), { maxLength: 3 });

const input = fc
  .tuple(shapes, fc.boolean(), gap, fc.constantFrom(...Object.keys(INTEGERS), 'FP32', 'FP64', 'BOOL', 'BYTES'))
  .chain(([shape, flat, space, datatype]) => {
    const count = shape.reduce((product, dim) => product * dim, 1);
    let element: fc.Arbitrary<string> = number;
    if (datatype in INTEGERS) {
      const [min, max] = INTEGERS[datatype as keyof typeof INTEGERS];
      element = fc.oneof(fc.bigInt({ min, max }).map(String), fc.constant('0'), fc.nat(100).map(String));
    } else if (datatype === 'BOOL') {
      element = fc.constantFrom('true', 'false', '0', '1');
    } else if (datatype === 'BYTES') {
      element = fc.string().map((text) => JSON.stringify(text));
    }
    const members = fc.shuffledSubarray(['shape', 'datatype', 'data', 'extra', 'parameters'], { minLength: 3 });
    return fc.tuple(fc.array(element, { minLength: count, maxLength: count }), members).map(([texts, order]) => ({
      shape: `"shape":${space}[${shape.join(`,${space}`)}]`,
      datatype: `"datatype":${space}"${datatype}"`,
      data: `"data":${space}${nest(texts, shape, flat, space)}`,
      extra: '"extra":{"a":[1,{"b":null}],"c":"\\u00e9"}',
      parameters: '"parameters":{"of":"no interest"}',
      order,
      space,
    }));
  });

const request = fc
  .record({
    inputs: fc.array(input, { minLength: 1, maxLength: 3 }),
    rest: fc.shuffledSubarray([
      '"id":"some id"',
      '"id":null',
      '"outputs":[{"name":"y"},{"name":"z","parameters":{"binary_data":true}}]',
      '"outputs":[]',
      '"parameters":{"timeout":5,"binary_data_output":true}',
      '"other":[[],{}]',
    ]),
    first: fc.boolean(),
  })
  .map(({ inputs, rest, first }) => {
    const list = inputs.map(({ order, space, ...members }, i) => {
      const chosen = order.map((name) => members[name as keyof typeof members]);
      return `{${[`"name":"x${i}"`, ...chosen].join(`,${space}`)}}`;
    });
    const section = `"inputs":[${list.join(',')}]`;
    return `{${(first ? [section, ...rest] : [...rest, section]).join(',')}}`;
  });

test('whatever the addon takes, the twin takes with the same result', () => {
  let taken = 0;
  const runs = 3000;
  fc.assert(
    fc.property(request, (text) => {
      if (same(encoder.encode(text))) taken++;
    }),
    { numRuns: runs },
  );
  // Drawn requests may lack a member, name one twice, or hold strings with escapes: those are the twin's.
  assert.ok(taken > runs / 8, `only ${taken} of ${runs} were taken`);
});

test('numbers come out bit for bit as from the twin', () => {
  for (const datatype of ['FP32', 'FP64']) {
    fc.assert(
      fc.property(fc.array(number, { minLength: 1, maxLength: 40 }), gap, (texts, space) => {
        const text = body(datatype, [texts.length], nest(texts, [texts.length], true, space));
        same(encoder.encode(text));
      }),
      { numRuns: 3000 },
    );
  }
});

test('decimals next to the middle between two doubles round as they should', () => {
  const middle = fc.tuple(fc.bigInt({ min: 2n ** 53n, max: 2n ** 54n - 1n }), fc.nat(8)).map(([odd, shift]) => {
    // (odd + ½) · 2^-shift, exactly, and its neighbours of the same length.
    const scaled = (odd * 2n + 1n) * 5n ** BigInt(shift + 1) * 10n;
    const text = scaled.toString().padStart(shift + 3, '0');
    const cut = text.length - shift - 2;
    return `${text.slice(0, cut)}.${text.slice(cut)}`;
  });
  const long = fc.tuple(fc.bigInt({ min: 2n ** 53n, max: 2n ** 64n - 1n }), fc.nat(20)).map(([mantissa, fraction]) => {
    const text = mantissa.toString().padStart(fraction + 1, '0');
    return `${text.slice(0, text.length - fraction)}.${text.slice(text.length - fraction) || '0'}`;
  });
  fc.assert(
    fc.property(fc.array(fc.oneof(middle, long), { minLength: 10, maxLength: 10 }), (texts) => {
      takes(body('FP64', [10], `[${texts}]`));
      takes(body('FP32', [10], `[${texts}]`));
    }),
    { numRuns: 3000 },
  );
});

test('damaged requests are left to the twin, or read as it reads them', () => {
  const edit = fc.record({
    at: fc.nat(),
    byte: fc.oneof(fc.nat(255), fc.constantFrom(...Buffer.from('[]{},:"\\0123456789-+.eENItf \n'))),
    mode: fc.constantFrom('replace', 'insert', 'remove'),
  });
  fc.assert(
    fc.property(request, fc.array(edit, { minLength: 1, maxLength: 3 }), fc.nat(), (text, edits, cut) => {
      let bytes = [...encoder.encode(text)];
      for (const { at, byte, mode } of edits) {
        bytes.splice(at % bytes.length, mode === 'insert' ? 0 : 1, ...(mode === 'remove' ? [] : [byte]));
      }
      same(Uint8Array.from(bytes));
      same(Uint8Array.from(bytes), cut % (bytes.length + 1));
      bytes = bytes.slice(0, cut % (bytes.length + 1));
      same(Uint8Array.from(bytes));
    }),
    { numRuns: 10000 },
  );
});

test('the ordinary request is taken', () => {
  takes(body('FP32', [1, 3], '[[1,2.5,-3e2]]'));
  takes(body('FP32', [3], '[NaN, -Infinity, Infinity]'));
  takes(body('FP64', [2, 0], '[[],[]]'));
  takes(body('FP32', [], '[1]'));
  takes(body('INT64', [2], '[-9223372036854775808,9223372036854775807]'));
  takes(body('UINT64', [2], '[18446744073709551615,-0]'));
  takes(body('INT32', [2], '[1.0,1e3]'));
  takes(body('BOOL', [4], '[true,false,1,0.0]'));
  takes(body('BYTES', [2], '["a",""]'));
  takes('{"inputs":[]}');
  takes('{"id":"7","inputs":[{"name":"x","data":[1],"shape":[1],"datatype":"FP32"}],"outputs":[{"name":"y"}]} \n');
  takes(`{"inputs":[{"name":"${'long'.repeat(40)}","shape":[1],"datatype":"FP32","data":[1]}]}`);
});

test('large tensors get a buffer of their own, small ones share one', () => {
  for (const count of [1000, 1024, 1026, 5000, 40000]) {
    const values = Array.from({ length: count }, (_, i) => Math.fround(Math.sin(i) * 10 ** (i % 12)));
    takes(body('FP32', [count], JSON.stringify(values)));
    takes(body('FP32', [2, count / 2], JSON.stringify(values)).replaceAll(',', ',  '));
    takes(body('BYTES', [count], JSON.stringify(values.map(String))));
  }
  const many = Array.from({ length: 60 }, (_, i) => {
    return `{"name":"i${i}","shape":[200],"datatype":"INT32","data":[${Array.from({ length: 200 }, (_, j) => i * j)}]}`;
  });
  takes(`{"inputs":[${many}]}`);
});

test('binary tensors are cut in order', () => {
  const json =
    '{"inputs":[{"name":"a","shape":[2],"datatype":"FP16","parameters":{"binary_data_size":4}},' +
    '{"name":"b","shape":[1],"datatype":"FP32","data":[1.5]},' +
    '{"name":"c","shape":[2],"datatype":"BYTES","parameters":{"binary_data_size":11}}],' +
    '"parameters":{"binary_data_output":true}}';
  const tail = '\x01\0\xff\xff\x03\0\0\0abc\0\0\0\0';
  const whole = Buffer.from(json + tail, 'latin1');
  assert.ok(same(whole, json.length));
  assert.ok(same(whole.subarray(0), json.length));
  const shifted = new Uint8Array(whole.length + 3);
  shifted.set(whole, 3);
  assert.ok(same(shifted.subarray(3), json.length));
  for (let cut = 1; cut < tail.length; cut++) assert.ok(!same(whole.subarray(0, whole.length - cut), json.length));
  assert.ok(!same(Buffer.concat([whole, Buffer.alloc(1)]), json.length));
  assert.ok(!same(Buffer.from(json), -1));
  for (let cut = 0; cut <= whole.length; cut++) same(whole, cut);
});

test('what is wrong or out of the ordinary is left to the twin', () => {
  for (const value of [
    '1e400',
    '-1e400',
    '3.5e38',
    '01',
    '1.',
    '.5',
    '+1',
    '1e',
    '0x1',
    'nan',
    'null',
    '"1"',
    '1 2',
    '',
  ]) {
    leaves(body('FP32', [1], `[${value}]`));
  }
  leaves(body('INT64', [1], '[9223372036854775808]'));
  leaves(body('INT64', [1], '[999999999999999999999]'));
  leaves(body('UINT64', [1], '[-1]'));
  leaves(body('UINT8', [1], '[256]'));
  leaves(body('INT32', [1], '[0.5]'));
  leaves(body('INT32', [1], '[NaN]'));
  leaves(body('FP32', [2], '[true,1]'));
  leaves(body('FP16', [1], '[1]'));
  leaves(body('FP32', [2], '[1]'));
  leaves(body('FP32', [1], '[1,2]'));
  leaves(body('FP32', [9007199254740991], '[1]'));
  leaves(body('FP32', [1], '[1,]'));
  leaves(body('FP32', [1], `${'['.repeat(101)}1${']'.repeat(101)}`));
  takes(body('FP32', [1], `${'['.repeat(100)}1${']'.repeat(100)}`));
  leaves('{"inputs":[{"name":"constructor","shape":[1],"datatype":"FP32","data":[1]}]}');
  leaves(body('FP32', [1], '[1]').replace('"name"', '"name":"y","name"'));
  leaves(`{"a":1e999,${body('FP32', [1], '[1]').slice(1)}`);
  const twice = '{"name":"x","shape":[1],"datatype":"FP32","data":[1]}';
  leaves(`{"inputs":[${twice},${twice}]}`);
});
