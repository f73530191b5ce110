import { filesBelow } from '../artifacts/tree.ts';
import type { Digest } from '../blobs/digest.ts';
import { commit, type Note } from '../commit.ts';
import type { DatabaseKind, Db } from '../database/database.ts';
import { inPairs } from '../database/statements.ts';
import { RegistryError } from '../errors.ts';
import { groupBy } from '../group-by.ts';
import { type Manifest, type ManifestFile, makeManifest } from '../manifest/manifest.ts';
import type { SigningKey } from '../manifest/signature.ts';
import type { ModelsContext } from './context.ts';
import { findVersion, lockModel } from './find.ts';
import { compareWithSignature, keepSignature } from './signatures.ts';
import { parseSource } from './sources.ts';
import type { VersionRow } from './view.ts';

const AT_ONCE = 500;

/**
 * Fixes what a version consists of: the files of its original when it is a copy, else those that lie at its source now.
 * Its digest, and whatever was decided about it, stays true whatever is uploaded to these paths later. Nothing there yet:
 * nothing is fixed.
 */
export async function pinFiles(
  db: Db,
  row: VersionRow,
  key: SigningKey | undefined,
  copyOf?: VersionRow,
): Promise<Manifest | undefined> {
  const files = copyOf === undefined ? await filesAtSource(db, row) : await filesOfOriginal(db, copyOf, key);
  if (files.length === 0) return undefined;
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
  const manifest = makeManifest(row.name, String(version), files);
  if (key !== undefined) await keepSignature(db, row, manifest, key);
  return manifest;
}

/** Throws INVALID_STATE when they are not what was signed: a copy would sign them anew. */
async function filesOfOriginal(
  db: Db,
  original: VersionRow,
  key: SigningKey | undefined,
): Promise<readonly ManifestFile[]> {
  const manifest = (await manifestOf(db, original)) ?? (await pinFiles(db, original, key));
  if (manifest === undefined) return [];
  if (key === undefined || (await compareWithSignature(db, original, manifest, key)) !== 'changed')
    return manifest.files;
  throw new RegistryError(
    'INVALID_STATE',
    `version ${original.version} of ${original.name} is not what was signed when it was registered; find out who changed it, and register its files anew`,
  );
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
  return manifestFrom(row, files);
}

/** As manifestOf, of some versions by one query. Those whose files have not come are left out. */
export async function manifestsOf(
  db: Db,
  kind: DatabaseKind,
  rows: readonly VersionRow[],
): Promise<Map<VersionRow, Manifest>> {
  const files = await db
    .selectFrom('model_version_files')
    .selectAll()
    .where(inPairs(kind, ['model_key', 'version'], rows.map(pairOf)))
    .execute();
  const byVersion = groupBy(files, (file) => String(pairOf(file)));
  const found = new Map<VersionRow, Manifest>();
  for (const row of rows) {
    const manifest = manifestFrom(row, byVersion.get(String(pairOf(row))) ?? []);
    if (manifest !== undefined) found.set(row, manifest);
  }
  return found;
}

export function pairOf({ model_key, version }: { model_key: number; version: number }): [number, number] {
  return [model_key, version];
}

function manifestFrom(
  row: VersionRow,
  files: readonly { path: string; digest: string; size: number; media_type: string }[],
): Manifest | undefined {
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

/**
 * As manifestOf, inside a write that holds the model (`lockModel`): files that came after the version was registered are
 * fixed, and signed, now; gateways that wait for a change hear of it.
 */
export async function pinnedManifest(
  db: Db,
  row: VersionRow,
  key: SigningKey | undefined,
  note: Note,
): Promise<Manifest | undefined> {
  const known = await manifestOf(db, row);
  if (known !== undefined) return known;
  const fixed = await pinFiles(db, row, key);
  if (fixed !== undefined)
    note({ entity: 'model_version', action: 'updated', data: { name: row.name, version: String(row.version) } });
  return fixed;
}

/**
 * A version, and what it consists of: files that came after it was registered are fixed now. No manifest: none have come
 * yet. Throws RESOURCE_DOES_NOT_EXIST for a version that is not there.
 */
export async function fixedVersion(
  context: ModelsContext,
  name: string,
  version: string,
): Promise<{ row: VersionRow; manifest: Manifest | undefined }> {
  const found = await context.database.read(async (db) => {
    const row = await findVersion(db, name, version);
    return { row, manifest: await manifestOf(db, row) };
  });
  if (found.manifest !== undefined || found.row.storage_location === '') return found;
  return commit(context, async (db, now, note) => {
    const there = await findVersion(db, name, version);
    // Whoever asks for files that have not come must not wake whoever waits for them.
    if ((await filesAtSource(db, there)).length === 0) return { row: there, manifest: undefined };
    await lockModel(db, name, now);
    const row = await findVersion(db, name, version);
    return { row, manifest: await pinnedManifest(db, row, context.signingKey, note) };
  });
}
