import { closeSync, fsyncSync, openSync } from 'node:fs';

/** The names in a folder are on the disk when it returns: those that are new, renamed or gone. Throws what the disk says. */
export function syncFolder(folder: string): void {
  const fd = openSync(folder, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
