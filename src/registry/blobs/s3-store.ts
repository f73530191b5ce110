import { createReadStream } from 'node:fs';
import { rm } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import {
  AbortMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  type ListMultipartUploadsCommandOutput,
  ListObjectsV2Command,
  type MultipartUpload,
  type S3Client,
  S3ServiceException,
} from '@aws-sdk/client-s3';
import { Upload } from '@aws-sdk/lib-storage';
import { SwitchyardError } from '../../shared/errors.ts';
import { type S3Access, s3Client } from '../../shared/s3-client.ts';
import { type Digest, hexOf, isDigest } from './digest.ts';
import type { BlobInfo, BlobStore, ByteRange } from './store.ts';

/** Parts in flight times their size is what an upload to the bucket holds in memory. */
const PARTS_IN_FLIGHT = 3;
const PART_BYTES = 8 * 1024 * 1024;
const MAX_PARTS = 10_000;

export interface S3Options extends S3Access {
  bucket: string;
  /** Put before every key, e.g. `registry/`. */
  prefix: string;
}

/** Blobs as objects `<prefix>sha256/ab/ab…` of an S3-compatible store. */
export class S3BlobStore implements BlobStore {
  readonly kind = 's3';
  private readonly client: S3Client;
  private readonly bucket: string;
  private readonly prefix: string;

  constructor(options: S3Options) {
    this.bucket = options.bucket;
    this.prefix = `${options.prefix}sha256/`;
    this.client = s3Client(options);
  }

  async adopt(digest: Digest, stagedFile: string, size: number): Promise<void> {
    if ((await this.stat(digest))?.size !== size) {
      const body = createReadStream(stagedFile, { highWaterMark: 1024 * 1024 });
      try {
        await new Upload({
          client: this.client,
          params: { Bucket: this.bucket, Key: this.key(digest), Body: body, ContentLength: size },
          queueSize: PARTS_IN_FLIGHT,
          partSize: Math.max(PART_BYTES, Math.ceil(size / MAX_PARTS)),
        }).done();
      } catch (error) {
        throw s3Error(error);
      } finally {
        body.destroy();
      }
    }
    await rm(stagedFile, { force: true });
  }

  async stat(digest: Digest): Promise<BlobInfo | undefined> {
    try {
      const head = await this.client.send(new HeadObjectCommand({ Bucket: this.bucket, Key: this.key(digest) }));
      return { digest, size: head.ContentLength ?? 0, modifiedMs: head.LastModified?.getTime() ?? 0 };
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw s3Error(error);
    }
  }

  async open(digest: Digest, range?: ByteRange): Promise<Readable> {
    try {
      const { Body } = await this.client.send(
        new GetObjectCommand({
          Bucket: this.bucket,
          Key: this.key(digest),
          ...(range === undefined ? {} : { Range: `bytes=${range.start}-${range.end}` }),
        }),
      );
      return Body as Readable;
    } catch (error) {
      if (isMissing(error)) throw new SwitchyardError('not_found', `blob ${digest} is not stored`);
      throw s3Error(error);
    }
  }

  async remove(digest: Digest): Promise<void> {
    await this.client.send(new DeleteObjectCommand({ Bucket: this.bucket, Key: this.key(digest) })).catch((error) => {
      throw s3Error(error);
    });
  }

  async *list(): AsyncIterable<BlobInfo> {
    let token: string | undefined;
    do {
      const page = await this.client
        .send(new ListObjectsV2Command({ Bucket: this.bucket, Prefix: this.prefix, ContinuationToken: token }))
        .catch((error: unknown) => {
          throw s3Error(error);
        });
      for (const { Key, Size, LastModified } of page.Contents ?? []) {
        const digest = `sha256:${(Key ?? '').slice(this.prefix.length + 3)}`;
        if (isDigest(digest)) yield { digest, size: Size ?? 0, modifiedMs: LastModified?.getTime() ?? 0 };
      }
      token = page.NextContinuationToken;
    } while (token !== undefined);
  }

  async abortUploads(beforeMs: number): Promise<number> {
    let aborted = 0;
    try {
      for await (const { Key, UploadId, Initiated } of this.unfinished()) {
        if (Initiated === undefined || Initiated.getTime() >= beforeMs) continue;
        const command = new AbortMultipartUploadCommand({ Bucket: this.bucket, Key, UploadId });
        // Another node may be about it, too.
        const there = await this.client.send(command).then(() => true, whetherMissing);
        if (there) aborted++;
      }
    } catch (error) {
      // A store without this call, or rights that leave it out: then a rule of the bucket has to do it.
      if (!(error instanceof S3ServiceException && [403, 405, 501].includes(error.$metadata.httpStatusCode ?? 0)))
        throw s3Error(error);
    }
    return aborted;
  }

  /** Chosen here and not by the store: MinIO takes a prefix for a whole key. */
  private async *unfinished(): AsyncIterable<MultipartUpload> {
    let marker: { KeyMarker?: string | undefined; UploadIdMarker?: string | undefined } | undefined = {};
    while (marker !== undefined) {
      const page: ListMultipartUploadsCommandOutput = await this.client.send(
        new ListMultipartUploadsCommand({ Bucket: this.bucket, ...marker }),
      );
      for (const upload of page.Uploads ?? []) if (upload.Key?.startsWith(this.prefix)) yield upload;
      marker = page.IsTruncated
        ? { KeyMarker: page.NextKeyMarker, UploadIdMarker: page.NextUploadIdMarker }
        : undefined;
    }
  }

  close(): void {
    this.client.destroy();
  }

  private key(digest: Digest): string {
    const hex = hexOf(digest);
    return `${this.prefix}${hex.slice(0, 2)}/${hex}`;
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof S3ServiceException && error.$metadata.httpStatusCode === 404 && error.name !== 'NoSuchBucket';
}

function whetherMissing(error: unknown): false {
  if (isMissing(error)) return false;
  throw error;
}

/** The store's trouble is not the client's: what can be tried again is 503, a full store 507. */
function s3Error(error: unknown): unknown {
  if (error instanceof SwitchyardError) return error;
  const status = error instanceof S3ServiceException ? error.$metadata.httpStatusCode : undefined;
  const name = error instanceof Error ? error.name : 'unknown error';
  if (status === 507 || name === 'XMinioStorageFull') {
    return new SwitchyardError('insufficient_storage', 'the blob store has no room left', { cause: error });
  }
  if (status === undefined || status >= 500 || status === 429) {
    return new SwitchyardError('unavailable', `the blob store does not answer (${name}); try again`, {
      retryAfterMs: 1000,
      cause: error,
    });
  }
  return new SwitchyardError('internal', `the blob store refuses the registry (${name})`, { cause: error });
}
