import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { releaseMemory } from './release-memory.ts';

const MIB = 2 ** 20;

/** Bytes that are held more after so many buffers were released. */
function grown(buffers: number): number {
  const before = process.memoryUsage().arrayBuffers;
  for (let i = 0; i < buffers; i++) {
    const bytes = new Uint8Array(MIB);
    releaseMemory(bytes);
    assert.equal(bytes.length, 0);
  }
  return process.memoryUsage().arrayBuffers - before;
}

test('frees at once what has a buffer of its own', async () => {
  // The port is closed some turns after the module was loaded.
  while (grown(1) >= MIB) await sleep(1);
  const more = grown(200);
  assert.ok(more < 50 * MIB, `${more} bytes more`);
});

test('leaves parts of a buffer and shared memory alone', () => {
  const part = new Uint8Array(100).subarray(1);
  const shared = new Uint8Array(new SharedArrayBuffer(100));
  for (const bytes of [part, shared]) releaseMemory(bytes);
  assert.deepEqual([part.length, shared.length], [99, 100]);
});
