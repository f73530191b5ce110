import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { S3Client } from '@aws-sdk/client-s3';
import type { BucketConfig } from '../config/event-log-schema.ts';
import { invalidArgument, SwitchyardError } from '../shared/errors.ts';
import { readContainer } from './encode/container-reader.ts';
import { readRecord } from './encode/record-decoder.ts';
import { payloadKey, payloadPath } from './payloads.ts';
import type { LogRecord } from './record.ts';

const ATTEMPTS = 3;

/** Reads whole records whose values were kept by reference: from this server's disk, then from the bucket, if there is one. */
export class PayloadReader {
  private readonly dir: string;
  private readonly bucket: BucketConfig | undefined;
  private client: S3Client | undefined;

  /** @param dir of the payloads */
  constructor(dir: string, bucket: BucketConfig | undefined) {
    this.dir = dir;
    this.bucket = bucket;
  }

  /**
   * Rejects with invalid_argument for what is no SHA-256, with not_found where it is in neither place, or not any more, with
   * unavailable where the bucket cannot be asked, and with internal for bytes of another digest.
   */
  async read(sha256: string): Promise<LogRecord> {
    const hex = sha256.replace(/^sha256:/, '');
    if (!/^[0-9a-f]{64}$/.test(hex))
      throw invalidArgument(`${JSON.stringify(sha256.slice(0, 100))} is no SHA-256 of 64 hexadecimal digits`);
    const bytes = await readFile(payloadPath(this.dir, hex)).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error;
      return this.fromBucket(hex);
    });
    const found = createHash('sha256').update(bytes).digest('hex');
    if (found !== hex)
      throw new SwitchyardError('internal', `payload ${hex} is damaged: its bytes have SHA-256 ${found}`);
    const [record] = readContainer(bytes, (reader) => readRecord(reader));
    return record;
  }

  private async fromBucket(hex: string): Promise<Uint8Array> {
    if (this.bucket === undefined) {
      const message = `this server keeps no payload ${hex}; another gateway may, or eventLog.payloads.maxBytes took it`;
      throw new SwitchyardError('not_found', message);
    }
    const { bucket: Bucket, prefix } = this.bucket;
    const Key = prefix + payloadKey(hex);
    const [{ GetObjectCommand, NoSuchKey }, { bucketClient, bucketReason }] = await Promise.all([
      import('@aws-sdk/client-s3'),
      import('./bucket.ts'),
    ]);
    this.client ??= bucketClient(this.bucket, ATTEMPTS);
    try {
      const { Body } = await this.client.send(new GetObjectCommand({ Bucket, Key }));
      return (await Body?.transformToByteArray()) ?? new Uint8Array();
    } catch (error) {
      if (error instanceof NoSuchKey) {
        const message = `neither this server nor s3://${Bucket}/${prefix} keeps payload ${hex}; it may wait on another gateway's disk, or is gone`;
        throw new SwitchyardError('not_found', message);
      }
      const message = `s3://${Bucket}/${Key} cannot be read: ${bucketReason(error)}`;
      throw new SwitchyardError('unavailable', message, { cause: error });
    }
  }
}
