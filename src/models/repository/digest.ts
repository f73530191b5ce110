import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { FileFact } from './scan.ts';

interface Known {
  size: number;
  mtimeMs: number;
  sha256: string;
}

/**
 * Content digests of files, kept across restarts by path, size and modification time, so that a start with a thousand
 * known models reads none of them.
 */
export class DigestCache {
  private readonly path: string;
  private known = new Map<string, Known>();
  private dirty = false;

  /** `path`: the cache's own file. */
  constructor(path: string) {
    this.path = path;
  }

  async load(): Promise<void> {
    this.known = new Map(Object.entries(await readJsonFile<Record<string, Known>>(this.path, {})));
  }

  /** Writes the cache if it changed; call after a round of work, not for each file. */
  async save(): Promise<void> {
    if (!this.dirty) return;
    this.dirty = false;
    await writeJsonFile(this.path, Object.fromEntries(this.known));
  }

  /** Digest over the relative paths and contents of a folder's files, as hex. Rejects when one cannot be read. */
  async ofFiles(directory: string, files: readonly FileFact[]): Promise<string> {
    const whole = createHash('sha256');
    for (const file of [...files].sort((a, b) => (a.path < b.path ? -1 : 1))) {
      whole.update(JSON.stringify([file.path, await this.ofFile(join(directory, file.path), file)]));
    }
    return whole.digest('hex');
  }

  private async ofFile(path: string, fact: FileFact): Promise<string> {
    const known = this.known.get(path);
    if (known && known.size === fact.size && known.mtimeMs === fact.mtimeMs) return known.sha256;
    const hash = createHash('sha256');
    for await (const chunk of createReadStream(path, { highWaterMark: 1024 * 1024 })) hash.update(chunk as Buffer);
    const sha256 = hash.digest('hex');
    this.known.set(path, { size: fact.size, mtimeMs: fact.mtimeMs, sha256 });
    this.dirty = true;
    return sha256;
  }
}

/** Digest of any JSON value whose keys are in a stable order, as hex. */
export function digestOf(value: unknown): string {
  return createHash('sha256').update(JSON.stringify(value)).digest('hex');
}

/** Reads a JSON file of our own; a missing or torn one answers `fallback`. */
export async function readJsonFile<T>(path: string, fallback: T): Promise<T> {
  try {
    const value: unknown = JSON.parse(await readFile(path, 'utf8'));
    return typeof value === 'object' && value !== null ? (value as T) : fallback;
  } catch {
    return fallback;
  }
}

let temporary = 0;

/** Replaces a JSON file by an atomic rename, so that a kill at any moment leaves the old or the new one. */
export async function writeJsonFile(path: string, value: unknown): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const fresh = `${path}.${process.pid}.${temporary++}.tmp`;
  await writeFile(fresh, JSON.stringify(value), { mode: 0o600 });
  await rename(fresh, path);
}

/** As writeJsonFile, for text; a file that is the same already is not touched. */
export async function writeTextFile(path: string, text: string): Promise<void> {
  if ((await readFile(path, 'utf8').catch(() => undefined)) === text) return;
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const fresh = `${path}.${process.pid}.${temporary++}.tmp`;
  await writeFile(fresh, text, { mode: 0o600 });
  await rename(fresh, path);
}
