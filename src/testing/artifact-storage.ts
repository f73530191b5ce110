import { randomUUID } from 'node:crypto';
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';
import { DEFAULT_STORAGE, type StorageSettings } from '../registry/artifacts/storage.ts';
import type { S3Options } from '../registry/blobs/s3-store.ts';

/** An empty bucket on the S3-compatible server that .ci/run started. */
export async function freshBucket(): Promise<S3Options> {
  // http://user:password@host:port
  const address = process.env.SWITCHYARD_TEST_S3_URL;
  if (address === undefined)
    throw new Error('SWITCHYARD_TEST_S3_URL is not set; start a server with .ci/services/minio.sh start');
  const url = new URL(address);
  const options: S3Options = {
    endpoint: url.origin,
    region: 'us-east-1',
    bucket: `test-${randomUUID()}`,
    prefix: 'registry/',
    accessKeyId: url.username,
    secretAccessKey: url.password,
    pathStyle: true,
  };
  const client = new S3Client({
    endpoint: url.origin,
    region: options.region,
    forcePathStyle: true,
    credentials: { accessKeyId: url.username, secretAccessKey: url.password },
  });
  await client.send(new CreateBucketCommand({ Bucket: options.bucket }));
  client.destroy();
  return options;
}

/** Of suites that run on PostgreSQL and an S3-compatible server too: a bucket where both are named, else files. */
export async function storageUnderTest(): Promise<StorageSettings> {
  const { SWITCHYARD_TEST_POSTGRES_URL: postgres, SWITCHYARD_TEST_S3_URL: s3 } = process.env;
  return testStorage(postgres && s3 ? { s3: await freshBucket() } : {});
}

/** No collection by itself. */
export function testStorage(changes: Partial<StorageSettings> = {}): StorageSettings {
  return { ...DEFAULT_STORAGE, collect: { graceHours: 24, deletedDays: 30, everyHours: 0 }, ...changes };
}
