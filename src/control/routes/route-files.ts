import { basename, dirname, resolve } from 'node:path';

/** What has to be watched to notice that the list of files, or one of them, changed. */
export function watchedPaths(patterns: readonly string[], baseDir: string): string[] {
  return patterns.map((pattern) => {
    const path = resolve(baseDir, pattern);
    return basename(path).includes('*') ? dirname(path) : path;
  });
}
