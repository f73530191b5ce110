import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { JsonCursor } from './cursor.ts';
import { parseNumber } from './number.ts';
import { printFloat32, printFloat64, printInteger, printInteger64 } from './number-print.ts';

const encoder = new TextEncoder();
const buf = new Uint8Array(64);

function parse(text: string): number {
  const bytes = encoder.encode(`${text}]`);
  const cursor = new JsonCursor(bytes, bytes.length);
  const value = parseNumber(cursor);
  assert.equal(cursor.pos, text.length);
  return value;
}

function printed(print: (buf: Uint8Array, pos: number, value: number) => number, value: number): string {
  return Buffer.from(buf.subarray(0, print(buf, 0, value))).toString();
}

const digits = (max: number) => fc.stringMatching(new RegExp(`^[0-9]{1,${max}}$`));

test('numbers parse to the nearest double, whatever their length', () => {
  const decimals = fc
    .tuple(fc.boolean(), digits(22), fc.option(digits(24)), fc.option(fc.integer({ min: -60, max: 60 })))
    .map(([negative, whole, fraction, exponent]) => {
      const head = `${negative ? '-' : ''}${whole.replace(/^0+(?=\d)/, '')}`;
      return `${head}${fraction === null ? '' : `.${fraction}`}${exponent === null ? '' : `e${exponent}`}`;
    });
  fc.assert(
    fc.property(decimals, (text) => {
      assert.ok(Object.is(parse(text), Number(text)), text);
    }),
    { numRuns: 5000 },
  );
});

test('shortest prints of doubles parse back, near halfway cases included', () => {
  fc.assert(
    fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (value) => {
      assert.equal(parse(String(value)) + 0, value + 0);
    }),
    { numRuns: 5000 },
  );
  for (const text of [
    '9007199254740993',
    '9007199254740992.5',
    '0.50000000000000005',
    '1.00000000000000011102',
    '5e-324',
  ]) {
    assert.equal(parse(text), Number(text), text);
  }
});

test('malformed and overlarge numbers are refused', () => {
  for (const text of ['-', '01', '-01', '1.', '.5', '1e', '1e+', '1e400', '-1e400', '+1', '00']) {
    assert.throws(() => parse(text), { code: 'invalid_argument' }, text);
  }
  assert.equal(parse('1e-400'), 0);
  assert.ok(Object.is(parse('-0'), -0));
});

/** The fewest digits that read back, by trying them all. */
function fewestDigits(value: number): number {
  for (let n = 1; n < 9; n++) {
    const scaled = value.toExponential(n - 1);
    if (Math.fround(Number(scaled)) === value) return n;
  }
  return 9;
}

function significant(text: string): number {
  return text.replace(/e.*$/, '').replace(/[-.]/g, '').replace(/^0+/, '').replace(/0+$/, '').length;
}

test('float32 prints read back as the same float32, in as few digits as possible', () => {
  const words = new Uint32Array(1);
  const floats = new Float32Array(words.buffer);
  const check = (bits: number) => {
    words[0] = bits;
    const value = floats[0];
    if (!Number.isFinite(value)) return;
    const text = printed(printFloat32, value);
    assert.ok(Object.is(Math.fround(Number(text)), value), `${value} → ${text}`);
    assert.ok(Object.is(JSON.parse(text), Number(text)));
    assert.match(text, /[.e]/);
    if (value !== 0) assert.ok(significant(text) <= fewestDigits(Math.abs(value)), `${value} → ${text}`);
  };
  fc.assert(fc.property(fc.nat(0xffffffff), check), { numRuns: 20000 });
  // Powers of two have unequal neighbours; subnormals fewer digits.
  for (let exponent = 0; exponent < 255; exponent++) {
    for (const low of [0, 1, 2, 0x7fffff]) check((exponent << 23) | low);
  }
});

test('float32 prints as people write it', () => {
  const cases: [number, string][] = [
    [0.1, '0.1'],
    [0, '0.0'],
    [-0, '-0.0'],
    [5, '5.0'],
    [-2.5, '-2.5'],
    [16777216, '16777216.0'],
    [1e10, '10000000000.0'],
    [3.4028234663852886e38, '3.4028235e38'],
    [1e-5, '0.00001'],
    [1e-10, '1e-10'],
    [Infinity, 'Infinity'],
    [-Infinity, '-Infinity'],
    [NaN, 'NaN'],
    [1 / 3, '0.33333334'],
  ];
  for (const [value, text] of cases) assert.equal(printed(printFloat32, Math.fround(value)), text);
});

test('float64 and integers print exactly', () => {
  fc.assert(
    fc.property(fc.double(), (value) => {
      const text = printed(printFloat64, value);
      assert.ok(Object.is(Number(text), value), text);
      if (Number.isFinite(value)) assert.match(text, /[.e]/);
    }),
  );
  fc.assert(
    fc.property(fc.maxSafeInteger(), (value) => {
      assert.equal(printed(printInteger, value), String(value));
    }),
  );
  fc.assert(
    fc.property(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), (value) => {
      const end = printInteger64(buf, 0, Number(value >> 32n), Number(value & 0xffffffffn));
      assert.equal(Buffer.from(buf.subarray(0, end)).toString(), String(value));
    }),
  );
});
