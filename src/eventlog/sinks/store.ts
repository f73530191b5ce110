import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { basename, dirname, extname, join, relative } from 'node:path';
import { replaceFile, syncFolder } from '../spool/folder.ts';

/** Where whole files go, by keys with slashes. */
export interface ObjectStore {
  /** It is there for good when it resolves, in place of what had the key before. Rejects naming the place. */
  put(key: string, bytes: Uint8Array, mediaType: string): Promise<void>;
  close(): Promise<void>;
}

/**
 * Files below a folder, those of each kind in one of their own or beside each other. Files that are being written have names
 * that readers of tables leave out.
 */
export class FolderStore implements ObjectStore {
  private readonly root: string;
  private readonly keep: number;

  /** @param keep so many files of a kind and an ending, the newest by their names */
  constructor(root: string, keep: number) {
    this.root = root;
    this.keep = keep;
    mkdirSync(root, { recursive: true, mode: 0o700 });
  }

  async put(key: string, bytes: Uint8Array): Promise<void> {
    const path = join(this.root, key);
    const folder = dirname(path);
    if (mkdirSync(folder, { recursive: true, mode: 0o700 }) !== undefined)
      for (let at = dirname(folder); ; at = dirname(at)) {
        syncFolder(at);
        if (relative(this.root, at) === '') break;
      }
    replaceFile(path, bytes, join(folder, `.${basename(key)}.next`));
    if (this.keep < Number.POSITIVE_INFINITY) this.deleteOldest(key);
  }

  async close(): Promise<void> {}

  private deleteOldest(key: string): void {
    const slash = key.indexOf('/');
    const folder = join(this.root, key.slice(0, Math.max(0, slash)));
    const [, begin] = /^(\w+-)/.exec(basename(key)) as RegExpExecArray;
    const files = readdirSync(folder, { recursive: slash >= 0, withFileTypes: true })
      .filter((entry) => entry.isFile() && entry.name.startsWith(begin) && extname(entry.name) === extname(key))
      .sort((a, b) => (a.name < b.name ? -1 : 1));
    for (const { parentPath, name } of files.slice(0, Math.max(0, files.length - this.keep)))
      rmSync(join(parentPath, name), { force: true });
  }
}
