import type { S3Client } from '@aws-sdk/client-s3';
import { Upload } from '@aws-sdk/lib-storage';
import type { BucketConfig } from '../../config/event-log-schema.ts';
import { bucketClient, bucketReason } from '../bucket.ts';
import type { ObjectStore } from './store.ts';

/** Parts in flight times their size is what an upload copies. */
const PARTS_IN_FLIGHT = 2;

/** Objects of an S3-compatible bucket. */
export class BucketStore implements ObjectStore {
  private readonly client: S3Client;
  private readonly config: BucketConfig;

  constructor(config: BucketConfig) {
    this.config = config;
    // The sink's own pauses come between attempts: they give way, and are counted.
    this.client = bucketClient(config, 1);
  }

  async put(key: string, bytes: Uint8Array, mediaType: string): Promise<void> {
    const { bucket, prefix } = this.config;
    const params = { Bucket: bucket, Key: prefix + key, Body: bytes, ContentType: mediaType };
    try {
      await new Upload({ client: this.client, params, queueSize: PARTS_IN_FLIGHT }).done();
    } catch (error) {
      throw new Error(`s3://${bucket}/${prefix}${key} cannot be written: ${bucketReason(error)}`, { cause: error });
    }
  }

  async close(): Promise<void> {
    this.client.destroy();
  }
}
