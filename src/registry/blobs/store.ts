import type { Readable } from 'node:stream';
import type { Digest } from './digest.ts';

/** Bytes `start` to `end`, both inclusive. */
export interface ByteRange {
  start: number;
  end: number;
}

export interface BlobInfo {
  digest: Digest;
  size: number;
  /** Milliseconds since the epoch: when the bytes were stored, or given again. */
  modifiedMs: number;
}

/**
 * Where blobs lie. A blob is named by its bytes, so writing one twice changes nothing, and nothing ever changes one.
 * Who may delete is not decided here (see gc.ts).
 */
export interface BlobStore {
  readonly kind: 'files' | 's3';
  /**
   * Makes the staged file the blob `digest`, which it must be. Afterwards the staged file is gone and the blob survives
   * a power cut. Already stored: only its age starts anew.
   */
  adopt(digest: Digest, stagedFile: string, size: number): Promise<void>;
  /** Undefined: no such blob. */
  stat(digest: Digest): Promise<BlobInfo | undefined>;
  /** Throws not_found. The caller destroys the stream when it has had enough. */
  open(digest: Digest, range?: ByteRange): Promise<Readable>;
  /** Removing a missing blob is no error. */
  remove(digest: Digest): Promise<void>;
  list(): AsyncIterable<BlobInfo>;
  /** Ends what began before that time to be stored in parts and was not ended, by a process that died. Returns how many. */
  abortUploads(beforeMs: number): Promise<number>;
}
