import type { S3Client } from '@aws-sdk/client-s3';
import type { BucketConfig } from '../config/event-log-schema.ts';
import { s3Client } from '../shared/s3-client.ts';

const CONNECT_MS = 5000;
/** Without a byte moving. */
const IDLE_MS = 30_000;

/** For the bucket of a sink. */
export function bucketClient(config: BucketConfig, maxAttempts: number): S3Client {
  const requestHandler = { connectionTimeout: CONNECT_MS, socketTimeout: IDLE_MS };
  return s3Client(config, { maxAttempts, requestHandler });
}

/** Why a command failed: some errors have a name and no message. */
export function bucketReason(error: unknown): string {
  const { name, message } = error as Error;
  return message === '' || message === name ? name : `${name}: ${message}`;
}
