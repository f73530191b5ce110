import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { bf16ToNumber, fp16ToNumber, numberToBf16, numberToFp16 } from './half.ts';

test('every FP16 and BF16 pattern but NaN survives the way to a number and back', () => {
  for (let bits = 0; bits < 65536; bits++) {
    const half = fp16ToNumber(bits);
    if (Number.isNaN(half)) assert.equal(numberToFp16(half), 0x7e00);
    else assert.equal(numberToFp16(half), bits);
    const brain = bf16ToNumber(bits);
    if (Number.isNaN(brain)) assert.equal(numberToBf16(brain), 0x7fc0);
    else assert.equal(numberToBf16(brain), bits);
  }
});

test('known FP16 and BF16 values', () => {
  assert.equal(fp16ToNumber(0x3c00), 1);
  assert.equal(fp16ToNumber(0x0001), 2 ** -24);
  assert.equal(fp16ToNumber(0x7bff), 65504);
  assert.equal(fp16ToNumber(0xfc00), -Infinity);
  assert.equal(numberToFp16(65519.99), 0x7bff);
  assert.equal(numberToFp16(65520), 0x7c00);
  assert.equal(numberToFp16(-0), 0x8000);
  assert.equal(numberToFp16(2 ** -25), 0);
  assert.equal(numberToFp16(1 + 2 ** -11), 0x3c00, 'a tie goes to the even mantissa');
  assert.equal(numberToFp16(1 + 3 * 2 ** -11), 0x3c02);
  assert.equal(bf16ToNumber(0x3f80), 1);
  assert.equal(numberToBf16(1 + 2 ** -8), 0x3f80);
  assert.equal(numberToBf16(3.4e38), 0x7f80);
});

test('numberToFp16 finds the nearest value', () => {
  fc.assert(
    fc.property(fc.double({ min: -65519, max: 65519, noNaN: true }), (value) => {
      const bits = numberToFp16(value);
      const error = Math.abs(fp16ToNumber(bits) - value);
      for (const neighbour of [bits - 1, bits + 1]) {
        const other = fp16ToNumber(neighbour & 0xffff);
        if (Number.isFinite(other)) assert.ok(error <= Math.abs(other - value));
      }
    }),
  );
});
