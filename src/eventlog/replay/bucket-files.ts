import { GetObjectCommand, NoSuchKey, paginateListObjectsV2, type S3Client } from '@aws-sdk/client-s3';
import type { BucketConfig } from '../../config/event-log-schema.ts';
import { SwitchyardError } from '../../shared/errors.ts';
import { bucketClient, bucketReason } from '../bucket.ts';
import { type KeptFile, type KeptFiles, KINDS, keptFile } from './kept-files.ts';

/** With the SDK's pauses between them about a minute: a replay should outlive a store that is being restarted. */
const ATTEMPTS = 8;

/** Objects that sinks wrote to a bucket, of all servers that share it. */
export class BucketFiles implements KeptFiles {
  readonly format: KeptFiles['format'];
  private readonly config: BucketConfig;
  private readonly client: S3Client;

  constructor(config: BucketConfig, format: KeptFiles['format'], maxAttempts: number = ATTEMPTS) {
    this.config = config;
    this.format = format;
    this.client = bucketClient(config, maxAttempts);
  }

  async list(): Promise<KeptFile[]> {
    const { bucket: Bucket, prefix } = this.config;
    const files: KeptFile[] = [];
    for (const kind of KINDS) {
      const Prefix = `${prefix}${kind}/`;
      try {
        for await (const { Contents = [] } of paginateListObjectsV2({ client: this.client }, { Bucket, Prefix }))
          for (const { Key: key = '', Size: size = 0, LastModified } of Contents) {
            const file = keptFile({ key, size, writtenAt: LastModified?.getTime() ?? Date.now() }, this.format);
            if (file !== undefined) files.push(file);
          }
      } catch (error) {
        throw this.failure(Prefix, error);
      }
    }
    return files;
  }

  async read({ key }: KeptFile, start: number, end: number): Promise<Uint8Array | undefined> {
    try {
      const { Body } = await this.client.send(
        new GetObjectCommand({ Bucket: this.config.bucket, Key: key, Range: `bytes=${start}-${end - 1}` }),
      );
      return await Body?.transformToByteArray();
    } catch (error) {
      if (error instanceof NoSuchKey) return undefined;
      throw this.failure(key, error);
    }
  }

  close(): void {
    this.client.destroy();
  }

  private failure(key: string, error: unknown): SwitchyardError {
    const text = `s3://${this.config.bucket}/${key} cannot be read: ${bucketReason(error)}`;
    return new SwitchyardError('unavailable', text, { cause: error });
  }
}
