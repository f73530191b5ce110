import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { chmod, mkdtemp, readdir, rm, stat, truncate, utimes } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { blobStoreContract, readAll, stage } from '../../testing/blob-store-contract.ts';
import { FileBlobStore } from './file-store.ts';
import { Staging } from './staging.ts';

const folder = await mkdtemp(join(tmpdir(), 'blobs-'));
after(() => rm(folder, { recursive: true, force: true }));

const staging = await Staging.open(join(folder, 'staging'));
const store = await FileBlobStore.open(folder);
blobStoreContract(async () => ({ store, staging }));

test('a blob cut short on the disk is replaced by the next good upload of it', async () => {
  const bytes = randomBytes(10_000);
  const first = await stage(staging, bytes);
  await store.adopt(first.digest, first.file, first.size);
  const hex = first.digest.slice(7);
  const path = join(folder, 'sha256', hex.slice(0, 2), hex);
  await chmod(path, 0o600);
  await truncate(path, 100);
  const second = await stage(staging, bytes);
  await store.adopt(second.digest, second.file, second.size);
  assert.deepEqual(await readAll(await store.open(first.digest)), bytes);
});

test('giving a stored blob again makes it young, so that garbage collection spares it', async () => {
  const bytes = randomBytes(100);
  const first = await stage(staging, bytes);
  await store.adopt(first.digest, first.file, first.size);
  const hex = first.digest.slice(7);
  await utimes(join(folder, 'sha256', hex.slice(0, 2), hex), 1000, 1000);
  assert.equal((await store.stat(first.digest))?.modifiedMs, 1_000_000);
  const second = await stage(staging, bytes);
  await store.adopt(second.digest, second.file, second.size);
  assert.ok((await store.stat(first.digest))!.modifiedMs > 1_000_000);
});

test('blobs cannot be written in place', async () => {
  const { digest, file, size } = await stage(staging, randomBytes(10));
  await store.adopt(digest, file, size);
  const hex = digest.slice(7);
  assert.equal((await stat(join(folder, 'sha256', hex.slice(0, 2), hex))).mode & 0o777, 0o400);
});

test('nothing is left in the staging folder', async () => {
  assert.deepEqual(await readdir(staging.folder), []);
});
