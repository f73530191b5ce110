import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { access } from 'node:fs/promises';
import { test } from 'node:test';
import { receive } from '../registry/blobs/receive.ts';
import type { StagedBlob } from '../registry/blobs/staged-file.ts';
import type { Staging } from '../registry/blobs/staging.ts';
import type { BlobStore } from '../registry/blobs/store.ts';

/** A copy: what is stored is taken over. */
async function* once(bytes: Uint8Array): AsyncIterable<Uint8Array> {
  yield new Uint8Array(bytes);
}

export function stage(staging: Staging, bytes: Uint8Array): Promise<StagedBlob> {
  return receive(staging, once(bytes), { maxBytes: 2 ** 40 });
}

export async function readAll(source: AsyncIterable<unknown>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of source) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

/** What every blob store does. `open` is called once per test. */
export function blobStoreContract(open: () => Promise<{ store: BlobStore; staging: Staging }>): void {
  test('stores bytes under their digest and takes the staged file away', async () => {
    const { store, staging } = await open();
    const bytes = randomBytes(300_000);
    const staged = await stage(staging, bytes);
    assert.equal(staged.digest, `sha256:${createHash('sha256').update(bytes).digest('hex')}`);
    assert.equal(await store.stat(staged.digest), undefined);
    await store.adopt(staged.digest, staged.file, staged.size);
    assert.equal((await store.stat(staged.digest))?.size, bytes.length);
    assert.deepEqual(await readAll(await store.open(staged.digest)), bytes);
    await assert.rejects(access(staged.file));
  });

  test('stores the empty blob', async () => {
    const { store, staging } = await open();
    const staged = await stage(staging, new Uint8Array(0));
    await store.adopt(staged.digest, staged.file, 0);
    assert.equal((await store.stat(staged.digest))?.size, 0);
    assert.equal((await readAll(await store.open(staged.digest))).length, 0);
  });

  test('answers ranges', async () => {
    const { store, staging } = await open();
    const bytes = randomBytes(100_000);
    const { digest, file, size } = await stage(staging, bytes);
    await store.adopt(digest, file, size);
    for (const [start, end] of [
      [0, 0],
      [10, 99],
      [99_999, 99_999],
      [0, 99_999],
    ]) {
      assert.deepEqual(await readAll(await store.open(digest, { start, end })), bytes.subarray(start, end + 1));
    }
  });

  test('keeps one copy of equal bytes, and a second adoption changes nothing', async () => {
    const { store, staging } = await open();
    const bytes = randomBytes(5000);
    const [a, b] = [await stage(staging, bytes), await stage(staging, bytes)];
    await Promise.all([store.adopt(a.digest, a.file, a.size), store.adopt(b.digest, b.file, b.size)]);
    let found = 0;
    for await (const info of store.list()) if (info.digest === a.digest) found++;
    assert.equal(found, 1);
    assert.deepEqual(await readAll(await store.open(a.digest)), bytes);
    await assert.rejects(access(b.file));
  });

  test('lists what it holds and forgets what is removed; removing twice is no error', async () => {
    const { store, staging } = await open();
    const digests = new Set<string>();
    for (let i = 0; i < 5; i++) {
      const { digest, file, size } = await stage(staging, randomBytes(100));
      await store.adopt(digest, file, size);
      digests.add(digest);
    }
    const listed = async (): Promise<string[]> => {
      const found: string[] = [];
      for await (const info of store.list()) if (digests.has(info.digest)) found.push(info.digest);
      return found.sort();
    };
    assert.deepEqual(await listed(), [...digests].sort());
    const [first, ...rest] = [...digests] as `sha256:${string}`[];
    await store.remove(first);
    await store.remove(first);
    assert.deepEqual(await listed(), rest.sort());
    assert.equal(await store.stat(first), undefined);
    await assert.rejects(store.open(first), { code: 'not_found' });
  });

  test('takes no digest that is not one', async () => {
    const { store } = await open();
    for (const digest of ['sha256:../../etc/passwd', 'sha256:', `md5:${'0'.repeat(64)}`, `sha256:${'A'.repeat(64)}`]) {
      await assert.rejects(async () => store.stat(digest as `sha256:${string}`), { code: 'invalid_argument' });
      await assert.rejects(async () => store.open(digest as `sha256:${string}`), { code: 'invalid_argument' });
      await assert.rejects(async () => store.remove(digest as `sha256:${string}`), { code: 'invalid_argument' });
    }
  });
}
