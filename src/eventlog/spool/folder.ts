import { closeSync, fsyncSync, openSync, renameSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';

/** The names in a folder are on the disk when it returns: those that are new, renamed or gone. Throws what the disk says. */
export function syncFolder(folder: string): void {
  const fd = openSync(folder, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** The file has these bytes, on the disk, or is as it was. Throws what the disk says. */
export function replaceFile(path: string, content: string | Uint8Array, next: string = `${path}.next`): void {
  const bytes = typeof content === 'string' ? Buffer.from(content) : content;
  const fd = openSync(next, 'w', 0o600);
  try {
    for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  renameSync(next, path);
  syncFolder(dirname(path));
}
