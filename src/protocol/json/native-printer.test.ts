import assert from 'node:assert/strict';
import { test as nodeTest } from 'node:test';
import fc from 'fast-check';
import { native, nativeProblem } from '../../tensor/native.ts';
import { DATA_TYPES, type DataType, ELEMENT_BYTES, type Tensor } from '../../tensor/tensor.ts';
import { NativePrinter, printNatively, printsNatively } from './native-printer.ts';
import { JsonOutput } from './output.ts';
import { scriptPrinter } from './tensor-print.ts';

/** Without the addon there is nothing to compare; SWITCHYARD_NATIVE=on makes that an error. */
function test(name: string, body: () => void): void {
  nodeTest(name, { skip: native === undefined && (nativeProblem || 'SWITCHYARD_NATIVE=off') }, body);
}

const PRINTED = DATA_TYPES.filter((type) => type !== 'BYTES' && type !== 'FP16' && type !== 'BF16');

function tensor(datatype: DataType, data: Uint8Array): Tensor {
  return { name: 'y', datatype, shape: [data.length / ELEMENT_BYTES[datatype]], data };
}

function same(drawn: Tensor, from = 0, to = drawn.shape[0]): string {
  const [byAddon, byTwin] = [new JsonOutput(), new JsonOutput()];
  new NativePrinter(native!, drawn).print(byAddon, from, to);
  scriptPrinter(drawn).print(byTwin, from, to);
  const text = Buffer.from(byTwin.view()).toString();
  assert.equal(Buffer.from(byAddon.view()).toString(), text);
  return text;
}

const floats = (...values: number[]) => same(tensor('FP32', new Uint8Array(Float32Array.from(values).buffer)));
const doubles = (...values: number[]) => same(tensor('FP64', new Uint8Array(Float64Array.from(values).buffer)));

test('any bytes of any type print as the twin prints them, aligned or not, whole or in part', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...PRINTED),
      fc.uint8Array({ maxLength: 400 }),
      fc.nat(7),
      fc.nat(50),
      fc.nat(50),
      (datatype, bytes, shift, from, length) => {
        const count = Math.floor(bytes.length / ELEMENT_BYTES[datatype]);
        const data = new Uint8Array(bytes.length + shift).subarray(shift, shift + count * ELEMENT_BYTES[datatype]);
        data.set(bytes.subarray(0, data.length));
        const drawn = tensor(datatype, data);
        same(drawn);
        const first = Math.min(from, count);
        same(drawn, first, Math.min(count, first + length));
      },
    ),
    { numRuns: 5000 },
  );
});

test('floats of every exponent, their neighbours, and short decimals', () => {
  const bits: number[] = [];
  for (let exponent = 0; exponent <= 255; exponent++) {
    for (const fraction of [0, 1, 2, 0x7ffffe, 0x7fffff, 0x400000, (exponent * 7919 * 613) & 0x7fffff]) {
      bits.push(((exponent << 23) | fraction) >>> 0, (0x80000000 | (exponent << 23) | fraction) >>> 0);
    }
  }
  same(tensor('FP32', new Uint8Array(Uint32Array.from(bits).buffer)));
  const words = bits.flatMap((word, i) => [i * 0x9e3779b1, word]);
  same(tensor('FP64', new Uint8Array(Uint32Array.from(words).buffer)));
  const decimal = fc.tuple(fc.nat(99999), fc.integer({ min: -50, max: 40 })).map(([m, e]) => Number(`${m}e${e}`));
  fc.assert(
    fc.property(fc.array(decimal, { minLength: 1, maxLength: 20 }), (values) => {
      floats(...values);
      doubles(...values, ...values.map((value) => value * 1e200));
    }),
    { numRuns: 2000 },
  );
});

test('a sweep of bits: a million floats, a quarter of a million doubles', () => {
  let word = 1;
  const words = Uint32Array.from({ length: 1 << 20 }, () => {
    word = Math.imul(word, 0x915f77f5) + 1;
    return word ^ (word >>> 15);
  });
  same(tensor('FP32', new Uint8Array(words.buffer)));
  same(tensor('FP64', new Uint8Array(words.buffer, 0, 1 << 21)));
  // Most of those floats have an exponent in their text; these have none, but for one here and there.
  const plain = words.map((bits, i) => (bits & 0x807fffff) | ((i % 1000 === 0 ? 90 : 104 + (bits % 73)) << 23));
  same(tensor('FP32', new Uint8Array(plain.buffer)));
});

test('zeros, infinities and NaNs among others, in batches of every length', () => {
  const values = Float32Array.from({ length: 200 }, (_, i) => [i / 7, 0, NaN, -0, -Infinity, 1e-40, -i][i % 7]);
  for (let length = 0; length <= 100; length++) {
    same(tensor('FP32', new Uint8Array(values.slice(0, length).buffer)));
    same(tensor('FP64', new Uint8Array(Float64Array.from(values.slice(0, length)).buffer)));
  }
});

test('exact texts', () => {
  assert.equal(
    floats(0, -0, 0.1, -2, 1e15, 1e16, 1e-7, 1e-8),
    '0.0,-0.0,0.1,-2.0,1000000000000000.0,1e16,0.0000001,1e-8',
  );
  assert.equal(floats(NaN, Infinity, -Infinity, 2 ** -149, 16777216), 'NaN,Infinity,-Infinity,1e-45,16777216.0');
  assert.equal(floats(1.5e38, -1.25e-38, 3.4028234663852886e38), '1.5e38,-1.25e-38,3.4028235e38');
  assert.equal(
    doubles(0.1, 1e20, 1e21, 1e-6, 1e-7, 2 ** -1074, -0),
    '0.1,100000000000000000000.0,1e+21,0.000001,1e-7,5e-324,-0.0',
  );
  assert.equal(floats(2097152.25, 2097152.75), '2097152.2,2097152.8', 'of two that are equally near, the even one');
  assert.equal(doubles(2 ** 50 + 0.25), '1125899906842624.2');
  // Next to the middle between two floats.
  assert.equal(floats(1.993243929935078e-38, 8.278142540822524e-34), '1.993244e-38,8.278143e-34');
  assert.equal(floats(1.019460665e-16, 6.20382045e29, 5.229032806571874e32), '1.01946067e-16,6.2038205e29,5.229033e32');
  assert.equal(floats(7.038530691851209e-26, 7.038531308148791e-26), '7.0385307e-26,7.0385313e-26');
  assert.equal(same(tensor('INT64', new Uint8Array(BigInt64Array.of(-(2n ** 63n), 2n ** 63n - 1n).buffer))).length, 40);
  assert.equal(same(tensor('BOOL', new Uint8Array([0, 1, 2]))), 'false,true,true');
});

test('a head of any length comes first, and the output grows as needed', () => {
  const drawn = tensor(
    'FP64',
    new Uint8Array(Float64Array.from({ length: 30000 }, (_, i) => -Math.sin(i) * 1e-7).buffer),
  );
  const plain = same(drawn);
  for (const length of [0, 1, 65530, 65536, 200000]) {
    const out = new JsonOutput();
    printNatively(native!, out, new Uint8Array(length).fill(0x20), drawn, 0, drawn.shape[0]);
    assert.ok(Buffer.from(out.view()).toString() === ' '.repeat(length) + plain);
  }
  const empty = new JsonOutput();
  printNatively(native!, empty, Buffer.from('head'), tensor('FP32', new Uint8Array(0)), 0, 0);
  assert.equal(Buffer.from(empty.view()).toString(), 'head');
});

test('a tensor shorter than its shape never reads past its end', () => {
  const short = { ...tensor('FP32', new Uint8Array(8)), shape: [3] };
  assert.throws(() => new NativePrinter(native!, short).print(new JsonOutput(), 0, 3), /shorter than its shape/);
  assert.equal(printsNatively(tensor('BYTES', new Uint8Array(0))), false);
});
