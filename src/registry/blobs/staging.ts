import { createHash, type Hash, randomUUID } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { SwitchyardError } from '../../shared/errors.ts';
import { type Digest, digestOf } from './digest.ts';
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

/** The folder in which uploads grow. Nothing in it is visible to anyone, and everything in it may be thrown away. */
export class Staging {
  readonly folder: string;
  /** Ids of files being written: never swept. */
  private readonly busy = new Set<string>();

  private constructor(folder: string) {
    this.folder = folder;
  }

  static async open(folder: string): Promise<Staging> {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    return new Staging(folder);
  }

  /** A new file. Throws insufficient_storage when the disk is full. */
  async create(id: string = randomUUID()): Promise<StagedFile> {
    const file = this.path(id);
    const handle = await open(file, 'wx', 0o600).catch((error: unknown) => {
      throw diskError(error);
    });
    return this.track(id, new StagedFile(id, file, handle));
  }

  /**
   * An earlier file, to be continued at `offset`: what lies behind it, a torn write, is cut off. Reads what is there once,
   * for the digest. Throws not_found when the file is gone or shorter.
   */
  async reopen(id: string, offset: number): Promise<StagedFile> {
    const file = this.path(id);
    const handle = await open(file, constants.O_RDWR | constants.O_NOFOLLOW).catch(() => {
      throw lost(id);
    });
    try {
      if ((await handle.stat()).size < offset) throw lost(id);
      await handle.truncate(offset);
      const staged = new StagedFile(id, file, handle);
      await staged.readBack(offset);
      return this.track(id, staged);
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  /** Whether the file is there. */
  has(id: string): Promise<boolean> {
    return stat(this.path(id)).then(
      () => true,
      () => false,
    );
  }

  /** Removes files that nobody writes, nobody keeps and that are older than `beforeMs`. Returns how many. */
  async sweep(beforeMs: number, keep: (id: string) => boolean): Promise<number> {
    let removed = 0;
    for (const id of await readdir(this.folder)) {
      if (this.busy.has(id) || keep(id)) continue;
      const facts = await stat(this.path(id)).catch(() => undefined);
      // Asked again: an upload may have begun meanwhile.
      if (facts === undefined || facts.mtimeMs > beforeMs || this.busy.has(id)) continue;
      await rm(this.path(id), { force: true });
      removed++;
    }
    return removed;
  }

  /** Removes a finished file. Never rejects. */
  async discard(file: string): Promise<void> {
    await rm(file, { force: true }).catch(() => {});
  }

  async discardId(id: string): Promise<void> {
    await this.discard(this.path(id));
  }

  private track(id: string, staged: StagedFile): StagedFile {
    this.busy.add(id);
    staged.onClosed = () => this.busy.delete(id);
    return staged;
  }

  private path(id: string): string {
    if (!/^[A-Za-z0-9-]{1,64}$/.test(id)) throw lost(id);
    return join(this.folder, id);
  }
}

function lost(id: string): SwitchyardError {
  return new SwitchyardError(
    'not_found',
    `upload ${JSON.stringify(id.slice(0, 80))} is not staged here; start a new upload`,
  );
}

/**
 * A file being written and hashed at once. Writes go to the thread pool, one at a time, while the next chunks are
 * gathered and hashed: memory stays at two writes whatever the file's size.
 */
export class StagedFile {
  readonly id: string;
  readonly file: string;
  onClosed: (() => void) | undefined;
  private readonly handle: FileHandle;
  private readonly hash: Hash = createHash('sha256');
  private chunks: Uint8Array[] = [];
  private gathered = 0;
  private written = 0;
  private syncedAt = 0;
  private writing: Promise<void> = Promise.resolve();
  private syncing: Promise<void> | undefined;
  private failure: unknown;
  private closed = false;

  constructor(id: string, file: string, handle: FileHandle) {
    this.id = id;
    this.file = file;
    this.handle = handle;
  }

  /** Bytes taken so far. */
  get size(): number {
    return this.written + this.gathered;
  }

  /** Takes the bytes over. A promise means: wait for it before the next call. Rejects with insufficient_storage and the like. */
  write(chunk: Uint8Array): Promise<void> | undefined {
    this.hash.update(chunk);
    this.chunks.push(chunk);
    this.gathered += chunk.byteLength;
    return this.gathered >= WRITE_BYTES ? this.flush() : undefined;
  }

  /** Resolves when the write before this one is done; this one goes on behind. */
  private async flush(): Promise<void> {
    const chunks = this.chunks;
    const bytes = this.gathered;
    const before = this.writing;
    this.chunks = [];
    this.gathered = 0;
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
      let { bytesWritten } = await this.handle.writev(chunks, at);
      if (bytesWritten < bytes) {
        const rest = Buffer.concat(chunks).subarray(bytesWritten);
        while (bytesWritten < bytes) {
          const skipped = rest.length - (bytes - bytesWritten);
          bytesWritten += (await this.handle.write(rest, skipped, rest.length - skipped, at + bytesWritten))
            .bytesWritten;
        }
      }
    } catch (error) {
      this.failure = diskError(error);
      throw this.failure;
    }
    if (at + bytes - this.syncedAt >= SYNC_EVERY && this.syncing === undefined) {
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

  /** Everything taken so far survives a power cut. The file stays open. */
  async sync(): Promise<void> {
    if (this.gathered > 0) await this.flush();
    await this.writing;
    await this.syncing;
    if (this.failure !== undefined) throw this.failure;
    await this.handle.datasync().catch((error: unknown) => {
      throw diskError(error);
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
