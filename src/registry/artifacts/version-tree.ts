import type { Digest } from '../blobs/digest.ts';
import type { Db } from '../database/database.ts';
import { invalidParameter, shown } from '../errors.ts';
import { checkArtifactPath } from './path.ts';
import type { Artifact, FolderEntry } from './tree.ts';

/** Below this folder lie the files of registered versions, each in <number of the model>/<version>. */
const TOP = 'model-version-files';

/** Which version, and where in it; undefined: nothing can be there. */
type Place = { model_key: number; version: number; path: string } | undefined;

/** Where a version's files are, as they were when they were fixed. A rename of the model changes nothing about it. */
export function versionUri({ model_key, version }: { model_key: number; version: number }): string {
  return `mlflow-artifacts:/${TOP}/${model_key}/${version}`;
}

export function isVersionTree(path: string): boolean {
  return path === TOP || path.startsWith(`${TOP}/`);
}

/** As checkArtifactPath, for paths that are written to or removed. */
export function checkWritablePath(path: string): string {
  if (isVersionTree(checkArtifactPath(path)))
    throw invalidParameter(
      `Invalid path ${shown(path)}: ${TOP}/ holds what registered versions consist of and is read-only; upload elsewhere and register another version`,
    );
  return path;
}

function placeOf(path: string): Place {
  const match = /^[^/]+\/(\d{1,15})\/(\d{1,15})(?:\/(.+))?$/s.exec(path);
  return match === null ? undefined : { model_key: Number(match[1]), version: Number(match[2]), path: match[3] ?? '' };
}

export async function versionFile(db: Db, path: string): Promise<Artifact | undefined> {
  return (await versionFilesBelow(db, path)).find((file) => file.path === path);
}

/** Every file at or below a path, by path. A version has few files: all are read. */
export async function versionFilesBelow(db: Db, path: string): Promise<Artifact[]> {
  const place = placeOf(path);
  if (place === undefined) return [];
  const rows = await db
    .selectFrom('model_version_files')
    .select(['path', 'digest', 'size', 'media_type'])
    .where('model_key', '=', place.model_key)
    .where('version', '=', place.version)
    .orderBy('path')
    .execute();
  const root = place.path === '' ? path : path.slice(0, -place.path.length - 1);
  return rows
    .filter((row) => place.path === '' || row.path === place.path || row.path.startsWith(`${place.path}/`))
    .map((row) => ({
      path: `${root}/${row.path}`,
      digest: row.digest as Digest,
      size: row.size,
      mediaType: row.media_type,
    }));
}

export async function listVersionFolder(db: Db, folder: string): Promise<FolderEntry[]> {
  const entries = new Map<string, FolderEntry>();
  for (const { path, size } of await versionFilesBelow(db, folder)) {
    if (path === folder) continue;
    const [name, ...deeper] = path.slice(folder.length + 1).split('/');
    const isFolder = deeper.length > 0;
    entries.set(name, { name, isFolder, size: isFolder ? 0 : size });
  }
  return [...entries.values()];
}
