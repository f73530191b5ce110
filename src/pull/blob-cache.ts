import { createHash, randomUUID } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { copyFile, link, lstat, mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { type Digest, hexOf } from '../registry/blobs/digest.ts';
import { SwitchyardError } from '../shared/errors.ts';

/**
 * Files by their digest, below a folder of our own. A file is there whole or not at all, and is read through before it
 * is trusted for the first time in this process.
 */
export class BlobCache {
  private readonly folder: string;
  private readonly arriving = new Map<string, Promise<void>>();
  /** Path → "size:mtime:inode" of the file whose bytes were found to be right. */
  private readonly trusted = new Map<string, string>();

  constructor(folder: string) {
    this.folder = folder;
  }

  /** Makes the blob present and right; `fetch` gives its bytes when it is not. Throws data that are not what they should be. */
  ensure(digest: Digest, size: number, fetch: () => Promise<Readable>): Promise<void> {
    const running = this.arriving.get(digest);
    if (running !== undefined) return running;
    const work = this.bring(digest, size, fetch).finally(() => this.arriving.delete(digest));
    this.arriving.set(digest, work);
    return work;
  }

  private async bring(digest: Digest, size: number, fetch: () => Promise<Readable>): Promise<void> {
    if (await this.isRight(digest, size)) return;
    await rm(this.path(digest), { force: true });
    await mkdir(this.folder, { recursive: true, mode: 0o700 });
    const fresh = join(this.folder, `.${randomUUID()}`);
    try {
      const found = await download(await fetch(), fresh, size);
      if (found !== digest)
        throw new SwitchyardError(
          'failed_precondition',
          `the registry sent bytes with the digest ${found} for ${digest}`,
        );
      await rename(fresh, this.path(digest));
      this.trusted.set(this.path(digest), await factsOf(this.path(digest)));
    } finally {
      await rm(fresh, { force: true });
    }
  }

  /** Whether the bytes are here and are what their name says. */
  isRight(digest: Digest, size: number): Promise<boolean> {
    return this.holds(this.path(digest), digest, size);
  }

  /** Whether a path is another name of a blob that is here, or a file of its own with the same bytes. */
  async isPlaced(digest: Digest, size: number, path: string): Promise<boolean> {
    const facts = await lstat(path).catch(() => undefined);
    if (facts === undefined || !facts.isFile()) return false;
    const blob = await stat(this.path(digest)).catch(() => undefined);
    if (blob?.ino === facts.ino && blob.dev === facts.dev) return this.isRight(digest, size);
    return this.holds(path, digest, size);
  }

  private async holds(path: string, digest: Digest, size: number): Promise<boolean> {
    const facts = await factsOf(path).catch(() => '');
    if (facts === '') return false;
    if (this.trusted.get(path) === facts) return true;
    if (!facts.startsWith(`${size}:`)) return false;
    const hash = createHash('sha256');
    for await (const chunk of createReadStream(path, { highWaterMark: 1024 * 1024 })) hash.update(chunk as Buffer);
    if (`sha256:${hash.digest('hex')}` !== digest) return false;
    this.trusted.set(path, facts);
    return true;
  }

  /** Puts a blob that is here under another path: no bytes are copied where the file system has hard links. */
  async place(digest: Digest, target: string): Promise<void> {
    try {
      await link(this.path(digest), target);
    } catch (error) {
      if (!['EPERM', 'ENOTSUP', 'EMLINK', 'EXDEV', 'ENOSYS'].includes((error as NodeJS.ErrnoException).code ?? ''))
        throw error;
      await copyFile(this.path(digest), target);
    }
  }

  /** Removes blobs that were placed nowhere, or no longer are, and what broken downloads have left. */
  async sweep(): Promise<void> {
    if (this.arriving.size > 0) return;
    for (const name of await readdir(this.folder).catch(() => [])) {
      const path = join(this.folder, name);
      const facts = await stat(path).catch(() => undefined);
      if (facts !== undefined && (name.startsWith('.') || facts.nlink === 1)) await rm(path, { force: true });
    }
  }

  private path(digest: string): string {
    return join(this.folder, hexOf(digest));
  }
}

async function factsOf(path: string): Promise<string> {
  const { size, mtimeMs, ino } = await stat(path);
  return `${size}:${mtimeMs}:${ino}`;
}

/** Writes a stream to a new file, which is on disk then, and returns its digest. Never more than `size` bytes. */
async function download(body: Readable, path: string, size: number): Promise<Digest> {
  const hash = createHash('sha256');
  let received = 0;
  const check = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      received += chunk.length;
      if (received > size) {
        done(new SwitchyardError('failed_precondition', `the registry sent more than the ${size} bytes it named`));
        return;
      }
      hash.update(chunk);
      done(null, chunk);
    },
  });
  await pipeline(body, check, createWriteStream(path, { flags: 'wx', mode: 0o600 }));
  if (received !== size)
    throw new SwitchyardError('unavailable', `the registry's answer broke off after ${received} of ${size} bytes`);
  const file = await open(path, 'r+');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
  return `sha256:${hash.digest('hex')}`;
}
