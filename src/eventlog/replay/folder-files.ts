import { existsSync, readdirSync, statSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { type KeptFile, type KeptFiles, KINDS, keptFile } from './kept-files.ts';

/** Files of a sink in a folder, and those of partitions below it. */
export class FolderFiles implements KeptFiles {
  readonly format: KeptFiles['format'];
  private readonly folder: string;

  constructor(folder: string, format: KeptFiles['format']) {
    this.folder = folder;
    this.format = format;
  }

  /** Looked up before it returns. */
  async list(): Promise<KeptFile[]> {
    const files: KeptFile[] = [];
    if (!existsSync(this.folder)) return files;
    const entries = readdirSync(this.folder, { withFileTypes: true });
    for (const kind of KINDS) {
      const below = join(this.folder, kind);
      if (existsSync(below)) entries.push(...readdirSync(below, { withFileTypes: true, recursive: true }));
    }
    for (const entry of entries) {
      const path = join(entry.parentPath, entry.name);
      const stats = entry.isFile() ? statSync(path, { throwIfNoEntry: false }) : undefined;
      if (stats === undefined) continue;
      const key = relative(this.folder, path);
      const file = keptFile({ key, size: stats.size, writtenAt: stats.mtimeMs }, this.format);
      if (file !== undefined) files.push(file);
    }
    return files;
  }

  async read({ key }: KeptFile, start: number, end: number): Promise<Uint8Array | undefined> {
    const file = await open(join(this.folder, key)).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined;
      throw error;
    });
    if (file === undefined) return undefined;
    try {
      const bytes = new Uint8Array(end - start);
      let at = 0;
      while (at < bytes.length) {
        const { bytesRead } = await file.read(bytes, at, bytes.length - at, start + at);
        if (bytesRead === 0) break;
        at += bytesRead;
      }
      return bytes.subarray(0, at);
    } finally {
      await file.close();
    }
  }

  close(): void {}
}
