import assert from 'node:assert/strict';
import { randomBytes, randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import {
  CreateMultipartUploadCommand,
  ListMultipartUploadsCommand,
  S3Client,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import { freshBucket } from '../../testing/artifact-storage.ts';
import { blobStoreContract, readAll, stage } from '../../testing/blob-store-contract.ts';
import { S3BlobStore, type S3Options } from './s3-store.ts';
import { Staging } from './staging.ts';

const options = await freshBucket();

const folder = await mkdtemp(join(tmpdir(), 's3-'));
const staging = await Staging.open(folder);
const store = new S3BlobStore(options);
after(async () => {
  store.close();
  await rm(folder, { recursive: true, force: true });
});
blobStoreContract(async () => ({ store, staging }));

test('uploads in several parts', async () => {
  const bytes = randomBytes(20 * 1024 * 1024 + 1);
  const { digest, file, size } = await stage(staging, bytes);
  await store.adopt(digest, file, size);
  assert.ok(bytes.equals(await readAll(await store.open(digest))));
});

test('ends uploads in parts that a killed process left, its own and old ones only', async () => {
  const { endpoint, region, bucket, accessKeyId, secretAccessKey } = options;
  const credentials = { accessKeyId: accessKeyId ?? '', secretAccessKey: secretAccessKey ?? '' };
  const client = new S3Client({ endpoint: endpoint ?? '', region, forcePathStyle: true, credentials });
  const begin = async (Key: string): Promise<void> => {
    const { UploadId } = await client.send(new CreateMultipartUploadCommand({ Bucket: bucket, Key }));
    await client.send(new UploadPartCommand({ Bucket: bucket, Key, UploadId, PartNumber: 1, Body: randomBytes(10) }));
  };
  const left = async (): Promise<(string | undefined)[]> => {
    const { Uploads } = await client.send(new ListMultipartUploadsCommand({ Bucket: bucket }));
    return (Uploads ?? []).map(({ Key }) => Key).sort();
  };
  const keys = [1, 2, 3].map((i) => `registry/sha256/0${i}/${'0'.repeat(62)}0${i}`);
  for (const key of [...keys, 'other/sha256/01/x']) await begin(key);
  assert.equal(await store.abortUploads(Date.now() - 3_600_000), 0);
  assert.equal((await left()).length, 4);
  assert.equal(await store.abortUploads(Date.now() + 3_600_000), 3);
  assert.deepEqual(await left(), ['other/sha256/01/x']);
  client.destroy();
});

test('wrong keys, a missing bucket and an absent server are told apart from missing blobs', async () => {
  const staged = await stage(staging, randomBytes(10));
  const cases: [Partial<S3Options>, string][] = [
    [{ secretAccessKey: 'wrong-secret' }, 'internal'],
    [{ bucket: `absent-${randomUUID()}` }, 'internal'],
    [{ endpoint: 'http://127.0.0.1:9' }, 'unavailable'],
  ];
  for (const [change, code] of cases) {
    const other = new S3BlobStore({ ...options, ...change });
    await assert.rejects(other.adopt(staged.digest, staged.file, staged.size), { code }, JSON.stringify(change));
    await assert.rejects(other.open(staged.digest), { code }, JSON.stringify(change));
    other.close();
  }
});
