import { createReadStream } from 'node:fs';
import { chmod, mkdir, open, readdir, rename, rm, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { SwitchyardError } from '../../shared/errors.ts';
import { type Digest, hexOf } from './digest.ts';
import { diskError, syncFolder } from './disk.ts';
import type { BlobInfo, BlobStore, ByteRange } from './store.ts';

const READ_BYTES = 1024 * 1024;

/** Blobs as files `sha256/ab/ab…`. The staging folder must be on the same file system: files move by rename. */
export class FileBlobStore implements BlobStore {
  readonly kind = 'files';
  private readonly root: string;
  /** Shard folders known to exist and to be durable. */
  private readonly shards = new Set<string>();

  private constructor(root: string) {
    this.root = root;
  }

  static async open(folder: string): Promise<FileBlobStore> {
    const root = join(folder, 'sha256');
    await mkdir(root, { recursive: true, mode: 0o700 });
    await syncFolder(folder);
    return new FileBlobStore(root);
  }

  async adopt(digest: Digest, stagedFile: string, size: number): Promise<void> {
    const path = this.path(digest);
    try {
      const there = await stat(path).catch(() => undefined);
      // A file of another size is a damaged blob: the good bytes take its place.
      if (there?.size === size) {
        const now = new Date();
        await utimes(path, now, now);
        await rm(stagedFile, { force: true });
        return;
      }
      const shard = await this.shard(digest);
      await rename(stagedFile, path);
      // Not before: an upload that goes on after a kill opens its staged file for writing.
      await chmod(path, 0o400);
      await syncFolder(shard);
    } catch (error) {
      throw diskError(error);
    }
  }

  private async shard(digest: Digest): Promise<string> {
    const folder = join(this.root, hexOf(digest).slice(0, 2));
    if (this.shards.has(folder)) return folder;
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await syncFolder(this.root);
    this.shards.add(folder);
    return folder;
  }

  async stat(digest: Digest): Promise<BlobInfo | undefined> {
    const facts = await stat(this.path(digest)).catch(ignoreMissing);
    return facts === undefined ? undefined : { digest, size: facts.size, modifiedMs: facts.mtimeMs };
  }

  async open(digest: Digest, range?: ByteRange): Promise<Readable> {
    const handle = await open(this.path(digest), 'r').catch(ignoreMissing);
    if (handle === undefined) throw new SwitchyardError('not_found', `blob ${digest} is not stored`);
    return createReadStream('', { fd: handle, autoClose: true, highWaterMark: READ_BYTES, ...range });
  }

  async remove(digest: Digest): Promise<void> {
    await rm(this.path(digest), { force: true });
  }

  async *list(): AsyncIterable<BlobInfo> {
    for (const shard of await readdir(this.root)) {
      for (const hex of await readdir(join(this.root, shard))) {
        if (!/^[0-9a-f]{64}$/.test(hex)) continue;
        const info = await this.stat(`sha256:${hex}`);
        if (info !== undefined) yield info;
      }
    }
  }

  /** A blob comes by a rename, at once. */
  async abortUploads(): Promise<number> {
    return 0;
  }

  private path(digest: Digest): string {
    const hex = hexOf(digest);
    return join(this.root, hex.slice(0, 2), hex);
  }
}

function ignoreMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code === 'ENOENT') return undefined;
  throw error;
}
