import { createHash, type Hash } from 'node:crypto';
import { type FileHandle, rm } from 'node:fs/promises';
import { SwitchyardError } from '../../shared/errors.ts';
import { releaseMemory } from '../../shared/release-memory.ts';
import { type Digest, digestOf } from './digest.ts';
import { type AlignedBuffers, BLOCK_BYTES, cutAfter, DirectFile } from './direct-file.ts';
import { diskError } from './disk.ts';

/** Chunks of a body are gathered to writes of this size. */
const WRITE_BYTES = 1024 * 1024;
/** So often the disk is told to go on writing, so that the sync at the end finds little left to do. */
const SYNC_EVERY = 32 * 1024 * 1024;

/** A complete, durable file in the staging folder, and what it holds. */
export interface StagedBlob {
  file: string;
  digest: Digest;
  size: number;
}

/**
 * A file being written and hashed at once. Writes go to the thread pool, one at a time, while the next chunks are
 * gathered and hashed: memory stays at two writes whatever the file's size. What is gathered goes past the page cache
 * where it can; what does not fill a block, at a sync and at the end, through it.
 */
export class StagedFile {
  readonly id: string;
  readonly file: string;
  onClosed: (() => void) | undefined;
  private readonly handle: FileHandle;
  private readonly buffers: AlignedBuffers;
  /** Null: it was tried, and there is none. */
  private direct: DirectFile | null | undefined;
  private readonly hash: Hash = createHash('sha256');
  private chunks: Uint8Array[] = [];
  private gathered = 0;
  private written = 0;
  private syncedAt = 0;
  private writing: Promise<void> = Promise.resolve();
  private syncing: Promise<void> | undefined;
  private failure: unknown;
  private closed = false;

  constructor(id: string, file: string, handle: FileHandle, buffers: AlignedBuffers) {
    this.id = id;
    this.file = file;
    this.handle = handle;
    this.buffers = buffers;
  }

  /** Bytes taken so far. */
  get size(): number {
    return this.written + this.gathered;
  }

  /** Takes the bytes over: their memory is freed when they are written. A promise means: wait for it before the next call. Rejects with insufficient_storage and the like. */
  write(chunk: Uint8Array): Promise<void> | undefined {
    this.hash.update(chunk);
    this.chunks.push(chunk);
    this.gathered += chunk.byteLength;
    if (this.gathered < WRITE_BYTES) return undefined;
    return this.flush(this.gathered - ((this.written + this.gathered) % BLOCK_BYTES));
  }

  /** The first `bytes` of what is gathered. Resolves when the write before this one is done; this one goes on behind. */
  private async flush(bytes: number): Promise<void> {
    const [chunks, rest] = cutAfter(this.chunks, bytes);
    const before = this.writing;
    this.chunks = rest;
    this.gathered -= bytes;
    const at = this.written;
    this.written += bytes;
    this.writing = before.then(() => this.put(chunks, bytes, at));
    // Its failure is met at the next write or at the end.
    this.writing.catch(() => {});
    await before;
  }

  private async put(chunks: Uint8Array[], bytes: number, at: number): Promise<void> {
    if (this.failure !== undefined) throw this.failure;
    try {
      if (this.direct === undefined && bytes >= WRITE_BYTES)
        this.direct = (await DirectFile.open(this.file, this.buffers)) ?? null;
      if (this.direct) await this.putDirect(this.direct, chunks, bytes, at);
      else await this.putCached(chunks, at);
      for (const chunk of chunks) releaseMemory(chunk);
    } catch (error) {
      this.failure = diskError(error);
      throw this.failure;
    }
    if (!this.direct && at + bytes - this.syncedAt >= SYNC_EVERY && this.syncing === undefined) {
      this.syncedAt = at + bytes;
      this.syncing = this.handle.datasync().then(
        () => {
          this.syncing = undefined;
        },
        (error: unknown) => {
          this.failure ??= diskError(error);
          this.syncing = undefined;
        },
      );
    }
  }

  /** Whole blocks directly, what lies before and behind them through the page cache. */
  private async putDirect(direct: DirectFile, chunks: Uint8Array[], bytes: number, at: number): Promise<void> {
    const before = Math.min(bytes, (BLOCK_BYTES - (at % BLOCK_BYTES)) % BLOCK_BYTES);
    const whole = bytes - before - ((bytes - before) % BLOCK_BYTES);
    const [head, rest] = cutAfter(chunks, before);
    const [blocks, tail] = cutAfter(rest, whole);
    if (before > 0) await this.putCached(head, at);
    if (whole > 0) await this.putBlocks(direct, blocks, at + before);
    if (tail.length > 0) await this.putCached(tail, at + before + whole);
  }

  private async putBlocks(direct: DirectFile, blocks: Uint8Array[], at: number): Promise<void> {
    try {
      await direct.write(blocks, at);
    } catch (error) {
      // A file system that opens files for direct writes and takes none.
      if ((error as NodeJS.ErrnoException).code !== 'EINVAL') throw error;
      await direct.close();
      this.direct = null;
      await this.putCached(blocks, at);
    }
  }

  private async putCached(chunks: Uint8Array[], at: number): Promise<void> {
    for (let rest = chunks; rest.length > 0; ) {
      const { bytesWritten } = await this.handle.writev(rest, at);
      at += bytesWritten;
      rest = cutAfter(rest, bytesWritten)[1];
    }
  }

  /** Everything taken so far survives a power cut. The file stays open. */
  async sync(): Promise<void> {
    if (this.gathered > 0) await this.flush(this.gathered);
    await this.writing;
    await this.syncing;
    if (this.failure !== undefined) throw this.failure;
    await this.handle.datasync().catch((error: unknown) => {
      // For good: what could not be written is forgotten by the system, and its next sync may say that all is well.
      this.failure = diskError(error);
      throw this.failure;
    });
  }

  /** Ends the file: durable, its digest known. On failure the file is removed. */
  async finish(): Promise<StagedBlob> {
    try {
      await this.sync();
      await this.close();
      return { file: this.file, digest: digestOf(this.hash.digest()), size: this.size };
    } catch (error) {
      await this.discard();
      throw error;
    }
  }

  /** Lets go of the file and leaves it in the folder, to be reopened. */
  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    await Promise.allSettled([this.writing, this.syncing]);
    await this.direct?.close();
    await this.handle.close();
    this.onClosed?.();
  }

  /** Never rejects. */
  async discard(): Promise<void> {
    await this.close().catch(() => {});
    await rm(this.file, { force: true }).catch(() => {});
  }

  /** Hashes the first `size` bytes of the file, which earlier writes left there. */
  async readBack(size: number): Promise<void> {
    const buffer = Buffer.allocUnsafe(WRITE_BYTES);
    while (this.written < size) {
      const { bytesRead } = await this.handle.read(buffer, 0, Math.min(WRITE_BYTES, size - this.written), this.written);
      if (bytesRead === 0) throw lost(this.id);
      this.hash.update(buffer.subarray(0, bytesRead));
      this.written += bytesRead;
    }
    this.syncedAt = this.written;
  }
}

export function lost(id: string): SwitchyardError {
  return new SwitchyardError(
    'not_found',
    `upload ${JSON.stringify(id.slice(0, 80))} is not staged here; start a new upload`,
  );
}
