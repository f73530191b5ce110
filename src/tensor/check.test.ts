import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { countBytesElements, decodeBytes, encodeBytes } from './bytes.ts';
import { checkTensor } from './check.ts';
import type { DataType } from './tensor.ts';
import { float32View, typedView } from './views.ts';

function tensor(datatype: string, shape: number[], data: Uint8Array) {
  return { name: 'x', datatype: datatype as DataType, shape, data };
}

function refuses(datatype: string, shape: number[], data: Uint8Array, message: RegExp): void {
  assert.throws(() => checkTensor(tensor(datatype, shape, data)), { code: 'invalid_argument', message });
}

test('checkTensor accepts exact sizes, scalars and empty tensors', () => {
  checkTensor(tensor('FP32', [2, 3], new Uint8Array(24)));
  checkTensor(tensor('INT64', [], new Uint8Array(8)));
  checkTensor(tensor('FP16', [0, 5], new Uint8Array(0)));
  checkTensor(tensor('BYTES', [2], encodeBytes(['', 'ab'])));
  checkTensor(tensor('BYTES', [3, 0], new Uint8Array(0)));
});

test('checkTensor refuses shape bombs, negative dims, wrong sizes and unknown types', () => {
  refuses('FP32', [2 ** 4, 2 ** 60 + 2], new Uint8Array(0), /'x': shape/);
  refuses('FP32', [2 ** 40, 2 ** 40], new Uint8Array(0), /2\^53/);
  refuses('FP32', [2, -5], new Uint8Array(40), /\[2,-5\]/);
  refuses('FP32', [1.5], new Uint8Array(6), /1\.5/);
  refuses('FP32', new Array(33).fill(1), new Uint8Array(4), /rank 33/);
  refuses('FP32', [2], new Uint8Array(7), /takes 8 bytes, got 7/);
  refuses('STRING', [1], new Uint8Array(1), /'STRING' is unknown/);
  refuses('constructor', [1], new Uint8Array(1), /unknown/);
});

test('checkTensor refuses BYTES with a length past the end and with another number of elements', () => {
  refuses('BYTES', [1], new Uint8Array([255, 255, 255, 255]), /past the end/);
  refuses('BYTES', [1], new Uint8Array([1, 0, 0]), /past the end/);
  refuses('BYTES', [1], encodeBytes(['a', 'b']), /takes 1 elements, got 2/);
  refuses('BYTES', [0], encodeBytes(['']), /got 1/);
});

test('BYTES round trip', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array()), (elements) => {
      const data = encodeBytes(elements);
      assert.equal(countBytesElements(data), elements.length);
      assert.deepEqual(decodeBytes(data), elements);
    }),
  );
  assert.throws(() => decodeBytes(new Uint8Array([9, 0, 0, 0, 1])), /element 0 at byte 0/);
});

test('views alias aligned bytes and copy misaligned ones', () => {
  const bytes = new Uint8Array(16);
  new DataView(bytes.buffer).setFloat32(4, 1.5, true);
  const aligned = float32View(bytes.subarray(4, 12));
  assert.equal(aligned[0], 1.5);
  assert.equal(aligned.buffer, bytes.buffer);
  const shifted = new Uint8Array(17);
  shifted.set(bytes, 1);
  const copied = float32View(shifted.subarray(5, 13));
  assert.equal(copied[0], 1.5);
  assert.notEqual(copied.buffer, shifted.buffer);
  assert.equal(typedView('INT64', new Uint8Array(8).fill(255))[0], -1n);
});
