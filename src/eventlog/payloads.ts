import { createHash } from 'node:crypto';
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeSync,
} from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';

const ROOT = 'sha256';

/**
 * What is too large for a record, in files named by their content: sha256/ab/ab…. The same bytes are kept once. The
 * oldest files go when there is too much; a record may then name one that is gone. Where payloads go to a bucket, files
 * wait here until they are there.
 */
export class PayloadStore {
  bytes = 0;
  stored = 0;
  evicted = 0;
  errors = 0;
  private readonly dir: string;
  private readonly maxBytes: number;
  private readonly sync: boolean;
  /** By age, oldest first. */
  private readonly files = new Map<string, number>();

  constructor(dir: string, maxBytes: number, sync: boolean) {
    this.dir = dir;
    const root = join(dir, ROOT);
    this.maxBytes = maxBytes;
    this.sync = sync;
    mkdirSync(root, { recursive: true, mode: 0o700 });
    const found: { hex: string; size: number; age: number }[] = [];
    for (const shard of readdirSync(root)) {
      for (const hex of readdirSync(join(root, shard))) {
        if (!/^[0-9a-f]{64}$/.test(hex)) {
          // Left by a process that ended while it wrote.
          rmSync(join(root, shard, hex), { force: true });
          continue;
        }
        const { size, mtimeMs } = statSync(join(root, shard, hex));
        found.push({ hex, size, age: mtimeMs });
      }
    }
    for (const { hex, size } of found.sort((a, b) => a.age - b.age)) {
      this.files.set(hex, size);
      this.bytes += size;
    }
  }

  /** Undefined: the disk refused it. */
  put(bytes: Uint8Array): { ref: string; sha256: string } | undefined {
    const hex = createHash('sha256').update(bytes).digest('hex');
    const kept = { ref: `sha256:${hex}`, sha256: hex };
    const path = payloadPath(this.dir, hex);
    try {
      if (this.files.has(hex)) {
        const now = new Date();
        utimesSync(path, now, now);
        this.files.delete(hex);
        this.files.set(hex, bytes.length);
        return kept;
      }
      mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
      const fd = openSync(`${path}.next`, 'w', 0o600);
      try {
        for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
        if (this.sync) fsyncSync(fd);
      } finally {
        closeSync(fd);
      }
      renameSync(`${path}.next`, path);
    } catch {
      this.errors++;
      rmSync(`${path}.next`, { force: true });
      return undefined;
    }
    this.files.set(hex, bytes.length);
    this.bytes += bytes.length;
    this.stored++;
    this.evict();
    return kept;
  }

  /** The digest of the one that has been here longest, besides those that are `taken`. */
  oldest(taken: ReadonlySet<string>): string | undefined {
    for (const hex of this.files.keys()) if (!taken.has(hex)) return hex;
    return undefined;
  }

  /** Rejects with ENOENT where it is not here, or not any more. */
  read(hex: string): Promise<Uint8Array> {
    return readFile(payloadPath(this.dir, hex));
  }

  /** It is somewhere else, or of no use. */
  remove(hex: string): void {
    rmSync(payloadPath(this.dir, hex), { force: true });
    this.bytes -= this.files.get(hex) ?? 0;
    this.files.delete(hex);
  }

  private evict(): void {
    for (const hex of this.files.keys()) {
      if (this.bytes <= this.maxBytes || this.files.size === 1) return;
      this.remove(hex);
      this.evicted++;
    }
  }
}

/** Where a payload lies. @param dir of the payloads */
export function payloadPath(dir: string, hex: string): string {
  return join(dir, ROOT, hex.slice(0, 2), hex);
}

/** Where it lies in a bucket, behind the prefix. */
export function payloadKey(hex: string): string {
  return `payloads/${ROOT}/${hex.slice(0, 2)}/${hex}`;
}
