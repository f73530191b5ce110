import { filesBelow } from '../artifacts/tree.ts';
import type { Digest } from '../blobs/digest.ts';
import type { Db, RegistryDatabase } from '../database/database.ts';
import { type Manifest, type ManifestFile, makeManifest } from '../manifest/manifest.ts';
import { findVersion } from './find.ts';
import { parseSource } from './sources.ts';
import type { VersionRow } from './view.ts';

const AT_ONCE = 500;

/**
 * Fixes what a version consists of: the files of its original when it is a copy, else those that lie at its source now.
 * Its digest, and whatever was decided about it, stays true whatever is uploaded to these paths later. Nothing there yet:
 * nothing is fixed.
 */
export async function pinFiles(db: Db, row: VersionRow, copyOf?: VersionRow): Promise<readonly ManifestFile[]> {
  const files = copyOf === undefined ? await filesAtSource(db, row) : ((await pinnedManifest(db, copyOf))?.files ?? []);
  const { model_key, version } = row;
  for (let i = 0; i < files.length; i += AT_ONCE) {
    await db
      .insertInto('model_version_files')
      .values(
        files.slice(i, i + AT_ONCE).map(({ path, digest, size, mediaType }) => ({
          model_key,
          version,
          path,
          digest,
          size,
          media_type: mediaType,
        })),
      )
      .execute();
  }
  return files;
}

async function filesAtSource(db: Db, { storage_location }: VersionRow): Promise<ManifestFile[]> {
  if (storage_location === '') return [];
  const source = parseSource(storage_location);
  if (source.kind !== 'artifact') return [];
  const prefix = `${source.path}/`;
  const found = (await filesBelow(db, source.path)).filter(({ path }) => path.startsWith(prefix));
  return found.map(({ path, digest, size, mediaType }) => ({
    path: path.slice(prefix.length),
    digest,
    size,
    mediaType,
  }));
}

/** What a version consists of; undefined: its files have not come yet. */
export async function manifestOf(db: Db, row: VersionRow): Promise<Manifest | undefined> {
  const files = await db
    .selectFrom('model_version_files')
    .select(['path', 'digest', 'size', 'media_type'])
    .where('model_key', '=', row.model_key)
    .where('version', '=', row.version)
    .execute();
  if (files.length === 0) return undefined;
  return makeManifest(
    row.name,
    String(row.version),
    files.map(({ path, digest, size, media_type }) => ({
      path,
      digest: digest as Digest,
      size,
      mediaType: media_type,
    })),
  );
}

/** As manifestOf, inside a write: files that came after the version was registered are fixed now. */
export async function pinnedManifest(db: Db, row: VersionRow): Promise<Manifest | undefined> {
  const known = await manifestOf(db, row);
  if (known !== undefined) return known;
  const files = await pinFiles(db, row);
  return files.length === 0 ? undefined : makeManifest(row.name, String(row.version), files);
}

/**
 * A version, and what it consists of: files that came after it was registered are fixed now. No manifest: none have come
 * yet. Throws RESOURCE_DOES_NOT_EXIST for a version that is not there.
 */
export async function fixedVersion(
  database: RegistryDatabase,
  name: string,
  version: string,
): Promise<{ row: VersionRow; manifest: Manifest | undefined }> {
  const found = await database.read(async (db) => {
    const row = await findVersion(db, name, version);
    return { row, manifest: await manifestOf(db, row) };
  });
  if (found.manifest !== undefined || found.row.storage_location === '') return found;
  return database.write(async (db) => {
    const row = await findVersion(db, name, version);
    return { row, manifest: await pinnedManifest(db, row) };
  });
}
