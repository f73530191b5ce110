import { mkdirSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { replaceFile, syncFolder } from '../spool/folder.ts';
import { deleteOldest, parseFileName } from './file-names.ts';

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

  /** @param keep so many files of a kind and an ending, those that were written last */
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
    const name = parseFileName(basename(key));
    if (name !== undefined && this.keep < Number.POSITIVE_INFINITY)
      deleteOldest(this.folderOfKind(key), name, this.keep);
  }

  async close(): Promise<void> {}

  private folderOfKind(key: string): string {
    return join(this.root, key.slice(0, Math.max(0, key.indexOf('/'))));
  }
}
