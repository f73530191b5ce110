import { pathOfUri } from '../artifacts/path.ts';
import { filesBelow } from '../artifacts/tree.ts';
import type { Digest } from '../blobs/digest.ts';
import type { Db } from '../database/database.ts';
import { doesNotExist, shown } from '../errors.ts';
import { manifestOf } from './files.ts';
import { findVersion } from './find.ts';
import { resolveSource } from './sources.ts';

export interface InputFile {
  /** Relative to what was asked for; of a single file its name. */
  path: string;
  digest: Digest;
  size: number;
}

/**
 * The files that runs:/…, models:/… or mlflow-artifacts:/… names, as they are now; of a model version those that it was
 * registered with. Throws RESOURCE_DOES_NOT_EXIST when there are none.
 */
export async function inputFiles(db: Db, text: string): Promise<InputFile[]> {
  const found = await resolveSource(db, text, { runId: '', modelId: '' });
  const version = /^models:\/([^/]+)\/(\d+)$/.exec(found.source);
  if (version !== null) {
    const manifest = await manifestOf(db, await findVersion(db, version[1], version[2]));
    if (manifest !== undefined)
      return manifest.files.map(({ path, digest, size }) => ({ path, digest: digest as Digest, size }));
  }
  const root = pathOfUri(found.storageLocation);
  const files = root === undefined ? [] : await filesBelow(db, root);
  if (root === undefined || files.length === 0) throw doesNotExist(`${shown(text)} names no file of this registry`);
  return files.map(({ path, digest, size }) => ({
    path: path === root ? path.slice(path.lastIndexOf('/') + 1) : path.slice(root.length + 1),
    digest,
    size,
  }));
}
