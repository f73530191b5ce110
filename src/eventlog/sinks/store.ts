import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { replaceFile, syncFolder } from '../spool/folder.ts';

/** Where whole files go, by keys with slashes. */
export interface ObjectStore {
  /** It is there for good when it resolves, in place of what had the key before. Rejects naming the place. */
  put(key: string, bytes: Uint8Array, mediaType: string): Promise<void>;
  close(): Promise<void>;
}

/** Files below a folder. Those that are being written have names that readers of tables leave out. */
export class FolderStore implements ObjectStore {
  private readonly root: string;
  private readonly keep: number;

  /** @param keep of each of the first folders so many files, the newest by their names */
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
    replaceFile(path, bytes, join(folder, `.${key.slice(key.lastIndexOf('/') + 1)}.next`));
    if (this.keep < Number.POSITIVE_INFINITY) this.deleteOldest(key.slice(0, key.indexOf('/')));
  }

  async close(): Promise<void> {}

  private deleteOldest(first: string): void {
    const root = join(this.root, first);
    const files = readdirSync(root, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && !entry.name.startsWith('.'))
      .sort((a, b) => (a.name < b.name ? -1 : 1));
    for (const { parentPath, name } of files.slice(0, Math.max(0, files.length - this.keep)))
      rmSync(join(parentPath, name), { force: true });
  }
}
