import { realpath } from 'node:fs/promises';
import { basename, dirname, isAbsolute, join, resolve, sep } from 'node:path';
import { SwitchyardError } from '../../shared/errors.ts';

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
