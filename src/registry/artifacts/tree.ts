import type { Digest } from '../blobs/digest.ts';
import type { Db } from '../database/database.ts';
import { invalidParameter, shown } from '../errors.ts';
import { rootOf } from './path.ts';
import { isVersionTree, listVersionFolder, versionFile, versionFilesBelow } from './version-tree.ts';

export interface Artifact {
  path: string;
  digest: Digest;
  size: number;
  mediaType: string;
}

export interface FolderEntry {
  /** Relative to the listed folder. */
  name: string;
  isFolder: boolean;
  size: number;
}

const PAGE = 500;
/** The character behind "/": all that lies in folder "a" sorts from "a/" to before "a0". */
const AFTER_SLASH = '0';

/**
 * Names a blob, or another one than before. To be called inside the write that claims the blob. Throws
 * INVALID_PARAMETER_VALUE when a folder has that path, or a file the path of one of its folders.
 */
export async function putArtifact(db: Db, artifact: Artifact, now: number): Promise<void> {
  const { path, digest, size, mediaType } = artifact;
  const parts = path.split('/');
  const folders = parts.slice(1).map((_, i) => parts.slice(0, i + 1).join('/'));
  if (folders.length > 0) {
    const file = await db.selectFrom('artifacts').select('path').where('path', 'in', folders).executeTakeFirst();
    if (file !== undefined) throw invalidParameter(`Invalid path ${shown(path)}: ${shown(file.path)} is a file`);
  }
  const inside = await db
    .selectFrom('artifacts')
    .select('path')
    .where('path', '>=', `${path}/`)
    .where('path', '<', path + AFTER_SLASH)
    .limit(1)
    .executeTakeFirst();
  if (inside !== undefined) throw invalidParameter(`Invalid path ${shown(path)}: it is a folder`);
  const root = rootOf(path);
  const row = { digest, size, media_type: mediaType, created_time: now };
  await db
    .insertInto('artifacts')
    .values({ path, root_kind: root.kind, root_id: root.kind === 'other' ? '' : root.id, ...row })
    .onConflict((conflict) => conflict.column('path').doUpdateSet(row))
    .execute();
}

export async function getArtifact(db: Db, path: string): Promise<Artifact | undefined> {
  if (isVersionTree(path)) return versionFile(db, path);
  const row = await db.selectFrom('artifacts').selectAll().where('path', '=', path).executeTakeFirst();
  return row === undefined ? undefined : toArtifact(row);
}

function toArtifact(row: { path: string; digest: string; size: number; media_type: string }): Artifact {
  return { path: row.path, digest: row.digest as Digest, size: row.size, mediaType: row.media_type };
}

/**
 * What lies directly in a folder ('' = the top), by name. Skips over what lies deeper, so a folder costs as much as it
 * has entries, not as much as it holds.
 */
export async function listFolder(db: Db, folder: string): Promise<FolderEntry[]> {
  if (isVersionTree(folder)) return listVersionFolder(db, folder);
  const prefix = folder === '' ? '' : `${folder}/`;
  const entries: FolderEntry[] = [];
  let from = prefix;
  let inclusive = true;
  for (;;) {
    let query = db.selectFrom('artifacts').select(['path', 'size']).orderBy('path').limit(PAGE);
    if (from !== '') query = query.where('path', inclusive ? '>=' : '>', from);
    if (folder !== '') query = query.where('path', '<', folder + AFTER_SLASH);
    const rows = await query.execute();
    let subfolder: string | undefined;
    for (const { path, size } of rows) {
      if (subfolder !== undefined && path.startsWith(`${prefix}${subfolder}/`)) continue;
      const rest = path.slice(prefix.length);
      const slash = rest.indexOf('/');
      subfolder = slash < 0 ? undefined : rest.slice(0, slash);
      entries.push({ name: subfolder ?? rest, isFolder: slash >= 0, size: slash < 0 ? size : 0 });
    }
    if (rows.length < PAGE) return entries;
    inclusive = subfolder !== undefined;
    from = subfolder === undefined ? rows[rows.length - 1].path : prefix + subfolder + AFTER_SLASH;
  }
}

/** The artifact of that path, and everything below it. Returns how many there were. */
export async function removeTree(db: Db, path: string): Promise<number> {
  const below = await db
    .deleteFrom('artifacts')
    .where('path', '>=', `${path}/`)
    .where('path', '<', path + AFTER_SLASH)
    .executeTakeFirst();
  const itself = await db.deleteFrom('artifacts').where('path', '=', path).executeTakeFirst();
  return Number(below.numDeletedRows + itself.numDeletedRows);
}

/** Every file at or below a path, by path. */
export async function filesBelow(db: Db, path: string): Promise<Artifact[]> {
  if (isVersionTree(path)) return versionFilesBelow(db, path);
  const rows = await db
    .selectFrom('artifacts')
    .selectAll()
    .where((is) =>
      is.or([is('path', '=', path), is.and([is('path', '>=', `${path}/`), is('path', '<', path + AFTER_SLASH)])]),
    )
    .orderBy('path')
    .execute();
  return rows.map(toArtifact);
}
