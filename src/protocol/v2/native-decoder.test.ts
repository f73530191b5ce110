import assert from 'node:assert/strict';
import { test as nodeTest, type TestContext } from 'node:test';
import fc from 'fast-check';
import type { InferRequest } from '../../pipeline/types.ts';
import { native, nativeProblem } from '../../tensor/native.ts';
import { gap, inferText, nest, number } from '../../testing/infer-texts.ts';
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

test('whatever the addon takes, the twin takes with the same result', () => {
  let taken = 0;
  const runs = 3000;
  fc.assert(
    fc.property(inferText, (text) => {
      if (same(encoder.encode(text))) taken++;
    }),
    { numRuns: runs },
  );
  // Drawn requests may lack a member, name one twice, or hold strings with escapes: those are the twin's.
  assert.ok(taken > runs / 8, `only ${taken} of ${runs} were taken`);
});

test('an id may be any text', () => {
  const request = (id: string): string => `{"id" : ${id} ,${body('FP32', [2], '[1,2]').slice(1)}`;
  for (const id of ['""', 'null', '"a"', '"café"', '"caf\\u00e9"', '"\\ud83d\\ude00 \\" \\\\"', '"日本"', '"a\\/b"']) {
    takes(request(id));
    takes(request(id).replace('{', '{"parameters":{"k":"é"},'));
  }
  for (const id of ['"a\\x"', '"\\u12"', '7', '{"a":1}', '["a"]', '"\n"', 'nul', '"a']) leaves(request(id));
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), fc.boolean(), (text, ascii) => {
      const json = JSON.stringify(text);
      takes(
        request(ascii ? json.replace(/[^ -~]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`) : json),
      );
    }),
  );
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

test('decimals next to the middle between two floats are rounded once', () => {
  // Three hundred float middles and their neighbours, of which the double alone does not tell the side.
  const texts: string[] = ['7.038531e-26', '-7.038531e-26', '16777217', '16777217.0000000000000000001'];
  for (let i = 0; i < 300; i++) {
    const middle = (2n ** 24n + BigInt((i * 0x9e3779b1) % 2 ** 24)) * 2n + 1n;
    const scaled = (middle * 5n ** BigInt(i % 30)).toString().padStart(31, '0');
    const cut = scaled.length - (i % 30);
    const text = `${scaled.slice(0, cut)}.${scaled.slice(cut)}`.replace(/^0+(?=\d)/, '');
    texts.push(`${text}0`, `${text}000000000001`, `-${text}1e-5`);
  }
  takes(body('FP32', [texts.length], `[${texts}]`));
  takes(body('FP64', [texts.length], `[${texts}]`));
});

test('a sweep of floats and doubles, in the texts that clients send', () => {
  let word = 1;
  const next = (): number => {
    word = Math.imul(word, 0x915f77f5) + 1;
    return word ^ (word >>> 15);
  };
  for (const [datatype, view] of [
    ['FP32', new Float32Array(50_000)],
    ['FP64', new Float64Array(50_000)],
  ] as const) {
    const words = new Uint32Array(view.buffer);
    for (let i = 0; i < words.length; i++) words[i] = next();
    const single = datatype === 'FP32';
    // Every exponent in turn, and most often those of ordinary data.
    for (let i = 0; i < view.length; i++) {
      const high = single ? i : 2 * i + 1;
      const exponent = single ? (i % 3 === 0 ? i % 255 : 100 + (i % 40)) : i % 3 === 0 ? i % 2047 : 1000 + (i % 60);
      words[high] = single
        ? (words[high] & 0x807fffff) | (exponent << 23)
        : (words[high] & 0x800fffff) | (exponent << 20);
    }
    const values = [...view];
    takes(body(datatype, [view.length], `[${values}]`));
    takes(body(datatype, [view.length], `[${values.map((value) => value.toPrecision(single ? 9 : 17))}]`));
    takes(body(datatype, [view.length], `[${values.map((value) => value.toExponential(8))}]`));
    if (single) takes(body(datatype, [view.length], `[${values.map((value) => Number(value.toPrecision(8)))}]`));
  }
});

test('plain decimals of many rows, with one here and there that is not', () => {
  let word = 7;
  const values = Float32Array.from({ length: 40_000 }, () => {
    word = Math.imul(word, 0x915f77f5) + 1;
    return ((word ^ (word >>> 15)) / 2 ** 31) * 10 ** (word & 7);
  });
  const texts: ((value: number, i: number) => string)[] = [
    (value) => `${value}`,
    (value) => `${Number(value.toPrecision(8))}`,
    (value) => value.toFixed(6),
    (value) => `${Math.round(value)}`,
    (value, i) => (i % 97 === 0 ? '1e-7' : `${value}`),
    (value, i) => (i % 50 === 0 ? '16777217.00000000000000000000001' : value.toFixed(i % 13)),
    (value, i) => (i % 9 === 0 ? '-0.0' : `${-value}`),
  ];
  for (const text of texts) {
    const printed = [...values].map(text);
    for (const row of [1, 7, 8, 9, 50, 40_000]) {
      for (const comma of [',', ', ', ' ,\n']) {
        const count = Math.floor(printed.length / row);
        const rows = Array.from({ length: count }, (_, r) => `[${printed.slice(r * row, r * row + row).join(comma)}]`);
        takes(body('FP32', [count, row], `[${rows.join(comma)}]`));
      }
    }
  }
});

test('damaged requests are left to the twin, or read as it reads them', () => {
  const edit = fc.record({
    at: fc.nat(),
    byte: fc.oneof(fc.nat(255), fc.constantFrom(...Buffer.from('[]{},:"\\0123456789-+.eENItf \n'))),
    mode: fc.constantFrom('replace', 'insert', 'remove'),
  });
  fc.assert(
    fc.property(inferText, fc.array(edit, { minLength: 1, maxLength: 3 }), fc.nat(), (text, edits, cut) => {
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
