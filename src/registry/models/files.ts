import { filesBelow } from '../artifacts/tree.ts';
import type { Digest } from '../blobs/digest.ts';
import type { Db } from '../database/database.ts';
import { type Manifest, type ManifestFile, makeManifest } from '../manifest/manifest.ts';
import { parseSource } from './sources.ts';
import type { VersionRow } from './view.ts';

const AT_ONCE = 500;

/**
 * Fixes what a version consists of: the files that lie at its source now. Its digest, and whatever was decided about it,
 * stays true whatever is uploaded to these paths later. Nothing there yet: nothing is fixed.
 */
export async function pinFiles(db: Db, row: VersionRow): Promise<ManifestFile[]> {
  if (row.storage_location === '') return [];
  const source = parseSource(row.storage_location);
  if (source.kind !== 'artifact') return [];
  const prefix = `${source.path}/`;
  const found = (await filesBelow(db, source.path)).filter(({ path }) => path.startsWith(prefix));
  const files = found.map(({ path, digest, size, mediaType }) => ({
    path: path.slice(prefix.length),
    digest,
    size,
    mediaType,
  }));
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
