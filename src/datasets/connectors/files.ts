import { readdir, realpath, stat } from 'node:fs/promises';
import { basename, dirname, isAbsolute, join, relative, resolve, sep } from 'node:path';
import { SwitchyardError } from '../../shared/errors.ts';
import { decode, type Format, formatOf } from '../formats/formats.ts';
import { MAX_FILES, type Pattern, patternOf } from './glob.ts';
import type { Part } from './many.ts';

/**
 * The path of a file in one of the folders that requests may name. Links are followed before it is looked where it lies.
 * Throws permission_denied or not_found.
 */
export async function allowedPath(path: string, folders: readonly string[]): Promise<string> {
  const roots = await Promise.all(folders.map((folder) => realpath(folder).catch(() => folder)));
  const candidates = isAbsolute(path) ? [path] : roots.map((root) => resolve(root, path));
  for (const candidate of candidates) {
    const real = await realpath(candidate).catch(() => undefined);
    if (real !== undefined && isInside(real, roots)) return real;
    if (real !== undefined) throw outside(path, folders);
  }
  if (candidates.length === 0 || !candidates.some((candidate) => isInside(resolve(candidate), roots)))
    throw outside(path, folders);
  throw new SwitchyardError(
    'not_found',
    `${JSON.stringify(path.slice(0, 200))}: there is no such file; correct the path`,
  );
}

/** As `allowedPath`, for a file that is to be written. */
export async function allowedNewPath(path: string, folders: readonly string[]): Promise<string> {
  const folder = await allowedPath(dirname(path), folders);
  return join(folder, basename(path));
}

/**
 * The files that paths and patterns name: path by path, those of a pattern by their names, none twice. Throws as `allowedPath`
 * does, not_found also where a pattern fits nothing, and invalid_argument.
 */
export async function fileParts(
  paths: readonly string[],
  format: Format | undefined,
  folders: readonly string[],
): Promise<Part[]> {
  const found = new Map<string, Part>();
  for (const path of paths) {
    const pattern = patternOf(path);
    const files =
      pattern === undefined ? [[path, await allowedPath(path, folders)]] : await fittingFiles(pattern, path, folders);
    for (const [name, file] of files) {
      if (found.has(file)) continue;
      const kind = format ?? formatOf(name);
      const { size } = await stat(file);
      found.set(file, { name, size, open: (options) => decode(kind, { name, file }, options) });
    }
  }
  return [...found.values()];
}

/** Names, as the pattern has them, and where they lie. */
async function fittingFiles(pattern: Pattern, path: string, folders: readonly string[]): Promise<string[][]> {
  const { prefix } = pattern;
  const found = new Map<string, string>();
  // Without a folder of its own a pattern is looked for in each of the allowed ones.
  for (const root of prefix === '' ? folders : [await allowedPath(prefix, folders)]) {
    const entries = await readdir(root, { withFileTypes: true, recursive: true }).catch(() => []);
    for (const entry of entries) {
      if (entry.isDirectory()) continue;
      const file = join(entry.parentPath, entry.name);
      const name = prefix + relative(root, file).split(sep).join('/');
      if (pattern.fits(name) && !found.has(name)) found.set(name, file);
    }
  }
  const names = chosen([...found.keys()], path);
  return Promise.all(names.map(async (name) => [name, await allowedPath(found.get(name) as string, folders)]));
}

/** In the order of their names. Throws where there are none, or too many. */
export function chosen(names: readonly string[], pattern: string): string[] {
  if (names.length === 0)
    throw new SwitchyardError(
      'not_found',
      `no file fits ${JSON.stringify(pattern.slice(0, 200))}; correct the pattern`,
    );
  if (names.length > MAX_FILES)
    throw new SwitchyardError(
      'invalid_argument',
      `${names.length} files fit ${JSON.stringify(pattern.slice(0, 200))}, and at most ${MAX_FILES} are read at once; name fewer`,
    );
  return [...names].sort();
}

function isInside(path: string, roots: readonly string[]): boolean {
  return roots.some((root) => path === root || path.startsWith(root.endsWith(sep) ? root : root + sep));
}

function outside(path: string, folders: readonly string[]): SwitchyardError {
  const allowed = folders.length === 0 ? 'none is allowed yet' : `allowed are ${folders.join(', ')}`;
  return new SwitchyardError(
    'permission_denied',
    `${JSON.stringify(path.slice(0, 200))} is in no folder that imports and exports may use; ${allowed} (datasets.folders)`,
  );
}
