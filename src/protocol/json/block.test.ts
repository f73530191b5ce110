import assert from 'node:assert/strict';
import { test } from 'node:test';
import { copyShared, SHARED_LIMIT, sharedBlock, sharedOffset } from './block.ts';

test('copies are their own, aligned, and never overlap, over many slabs', () => {
  const source = new Uint8Array(SHARED_LIMIT);
  const copies: Uint8Array[] = [];
  for (let i = 0; i < 200; i++) {
    source.fill(i);
    copies.push(copyShared(source.subarray(0, 1 + ((i * 97) % SHARED_LIMIT))));
  }
  source.fill(255);
  for (const [i, copy] of copies.entries()) {
    assert.equal(copy.length, 1 + ((i * 97) % SHARED_LIMIT));
    assert.equal(copy.byteOffset % 8, 0);
    assert.ok(copy.every((byte) => byte === i));
  }
});

test('what is decoded next lies behind a copy', () => {
  const copy = copyShared(Uint8Array.of(1, 2, 3));
  const block = sharedBlock();
  if (block.u8.buffer === copy.buffer) assert.ok(sharedOffset() >= copy.byteOffset + copy.length);
  block.u8.fill(9, sharedOffset(), sharedOffset() + SHARED_LIMIT);
  assert.deepEqual([...copy], [1, 2, 3]);
});
