import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { JsonCursor } from './cursor.ts';
import { parseNumber } from './number.ts';
import { parseSingle } from './single.ts';

const encoder = new TextEncoder();
const single = new Float32Array(1);
const bits = new Uint32Array(single.buffer);

const cursor = (text: string): JsonCursor => new JsonCursor(encoder.encode(`${text}]`), text.length + 1);
const read = (text: string): number => Math.fround(parseSingle(cursor(text)));

function floatOf(word: number): number {
  bits[0] = word;
  return single[0];
}

/** A multiple of 2^-150, exactly, in digits. */
function decimalOf(units: bigint): string {
  const text = (units * 5n ** 150n).toString().padStart(151, '0');
  return `${text.slice(0, -150)}.${text.slice(-150)}`;
}

/** The float with these bits as a multiple of 2^-150. */
function unitsOf(word: number): bigint {
  const exponent = word >>> 23;
  return BigInt((word & 0x7fffff) + (exponent > 0 ? 0x800000 : 0)) << BigInt(Math.max(exponent, 1));
}

test('next to the middle between two floats, the one nearer to the decimal; of two as near, the even one', () => {
  const word = fc.oneof(fc.nat(0x7f7ffffe), fc.nat(0x800010), fc.integer({ min: 0x3f800000, max: 0x40000000 }));
  fc.assert(
    fc.property(word, fc.boolean(), (low, negative) => {
      const [below, above] = [floatOf(low), floatOf(low + 1)];
      const middle = decimalOf((unitsOf(low) + unitsOf(low + 1)) / 2n);
      const sign = negative ? '-' : '';
      const signed = (value: number): number => (negative ? -value : value);
      assert.equal(read(sign + middle), signed(low % 2 === 0 ? below : above), middle);
      assert.equal(read(`${sign}${middle}${'0'.repeat(300)}1`), signed(above), middle);
      const digit = middle.search(/[1-9][0.]*$/);
      const smaller =
        middle.slice(0, digit) + (Number(middle[digit]) - 1) + middle.slice(digit + 1).replaceAll('0', '9');
      assert.equal(read(`${sign}${smaller}9`), signed(below), middle);
      assert.equal(read(`${sign}${middle}e0`), read(sign + middle));
    }),
    { numRuns: 2000 },
  );
});

test('a short decimal that a double puts in the middle', () => {
  assert.equal(Math.fround(parseNumber(cursor('7.038531e-26'))), floatOf(0x15ae43fe));
  assert.equal(read('7.038531e-26'), floatOf(0x15ae43fd));
  assert.equal(read('-7.038531E-26'), -floatOf(0x15ae43fd));
});

test('other numbers are as parseNumber reads them', () => {
  for (const text of ['0', '-0', '0.1', '16777217', '3.5e38', '1e-60', '-1e-320', '123456789.123456789']) {
    assert.ok(Object.is(parseSingle(cursor(text)), parseNumber(cursor(text))), text);
  }
});
