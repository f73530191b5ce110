import { existsSync, readdirSync, statSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';

const YAML = /\.ya?ml$/;

/**
 * The files that `routes.files` names: paths, folders (their YAML files), and patterns with `*` in the last part, each
 * once and in order. A path that does not exist is kept, so that reading it says so.
 */
export function routeFiles(patterns: readonly string[], baseDir: string): string[] {
  const found = new Set<string>();
  for (const pattern of patterns) for (const file of expand(resolve(baseDir, pattern))) found.add(file);
  return [...found];
}

/** What has to be watched to notice that the list of files, or one of them, changed. */
export function watchedPaths(patterns: readonly string[], baseDir: string): string[] {
  return patterns.map((pattern) => {
    const path = resolve(baseDir, pattern);
    return basename(path).includes('*') ? dirname(path) : path;
  });
}

function expand(path: string): string[] {
  if (basename(path).includes('*')) return inFolder(dirname(path), matcher(basename(path)));
  if (existsSync(path) && statSync(path).isDirectory()) return inFolder(path, YAML);
  return [path];
}

function inFolder(folder: string, names: RegExp): string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .filter((name) => names.test(name) && !name.startsWith('.'))
    .sort()
    .map((name) => join(folder, name));
}

function matcher(pattern: string): RegExp {
  const parts = pattern.split('*').map((part) => part.replace(/[\\^$.|?+()[\]{}]/g, '\\$&'));
  return new RegExp(`^${parts.join('[^/]*')}$`);
}
