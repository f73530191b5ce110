import { existsSync, readdirSync, statSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';

const YAML = /\.ya?ml$/;

/**
 * The files that a setting such as `routes.files` names: paths, folders (their YAML files), and patterns with `*` in the
 * last part, each once and in order. A path that does not exist is kept, so that reading it says so.
 */
export function documentFiles(patterns: readonly string[], baseDir: string): string[] {
  const found = new Set<string>();
  for (const pattern of patterns) for (const file of expand(resolve(baseDir, pattern))) found.add(file);
  return [...found];
}

/** A name with * for any characters. */
export function nameMatcher(pattern: string): (name: string) => boolean {
  const parts = pattern.split('*').map((part) => part.replace(/[\\^$.|?+()[\]{}]/g, '\\$&'));
  const regex = new RegExp(`^${parts.join('[^/]*')}$`);
  return (name) => regex.test(name);
}

function expand(path: string): string[] {
  if (basename(path).includes('*')) return inFolder(dirname(path), nameMatcher(basename(path)));
  if (existsSync(path) && statSync(path).isDirectory()) return inFolder(path, (name) => YAML.test(name));
  return [path];
}

function inFolder(folder: string, fits: (name: string) => boolean): string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .filter((name) => fits(name) && !name.startsWith('.'))
    .sort()
    .map((name) => join(folder, name));
}
