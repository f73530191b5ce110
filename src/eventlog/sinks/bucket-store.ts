import type { S3Client } from '@aws-sdk/client-s3';
import { Upload } from '@aws-sdk/lib-storage';
import type { BucketConfig } from '../../config/event-log-schema.ts';
import { s3Client } from '../../shared/s3-client.ts';
import type { ObjectStore } from './store.ts';

const CONNECT_MS = 5000;
/** Without a byte moving. */
const IDLE_MS = 30_000;
/** Parts in flight times their size is what an upload copies. */
const PARTS_IN_FLIGHT = 2;

/** Objects of an S3-compatible bucket. */
export class BucketStore implements ObjectStore {
  private readonly client: S3Client;
  private readonly config: BucketConfig;

  constructor(config: BucketConfig) {
    this.config = config;
    // The sink's own pauses come between attempts: they give way, and are counted.
    const requestHandler = { connectionTimeout: CONNECT_MS, socketTimeout: IDLE_MS };
    this.client = s3Client(config, { maxAttempts: 1, requestHandler });
  }

  async put(key: string, bytes: Uint8Array, mediaType: string): Promise<void> {
    const { bucket, prefix } = this.config;
    const params = { Bucket: bucket, Key: prefix + key, Body: bytes, ContentType: mediaType };
    try {
      await new Upload({ client: this.client, params, queueSize: PARTS_IN_FLIGHT }).done();
    } catch (error) {
      const { name, message } = error as Error;
      const reason = message === '' || message === name ? name : `${name}: ${message}`;
      throw new Error(`s3://${bucket}/${prefix}${key} cannot be written: ${reason}`, { cause: error });
    }
  }

  async close(): Promise<void> {
    this.client.destroy();
  }
}
