import type { Db } from '../database/database.ts';
import type { Manifest } from '../manifest/manifest.ts';
import {
  publicPart,
  type SignedManifest,
  type SigningKey,
  signedAs,
  signManifest,
  verifyManifest,
} from '../manifest/signature.ts';

type Version = { model_key: number; version: number };

/** Signs what a version consists of, and keeps the signature: what the tables say later is compared with it. */
export async function keepSignature(
  db: Db,
  { model_key, version }: Version,
  manifest: Manifest,
  key: SigningKey,
): Promise<void> {
  const [{ keyid, sig }] = signManifest(manifest, key).signatures;
  const row = { key_id: keyid, signature: sig };
  await db
    .insertInto('model_version_signatures')
    .values({ model_key, version, ...row })
    .onConflict((conflict) => conflict.columns(['model_key', 'version']).doUpdateSet(row))
    .execute();
}

/**
 * A manifest with the signature that was made when the version was fixed; undefined: nobody signed it then. Whether it is
 * genuine is for the reader to find out: the files may have been changed in the database since.
 */
export async function signedManifest(
  db: Db,
  { model_key, version }: Version,
  manifest: Manifest,
): Promise<SignedManifest | undefined> {
  const row = await db
    .selectFrom('model_version_signatures')
    .select(['key_id', 'signature'])
    .where('model_key', '=', model_key)
    .where('version', '=', version)
    .executeTakeFirst();
  return row === undefined ? undefined : signedAs(manifest, row.key_id, row.signature);
}

/**
 * Whether a manifest still is what was signed when the version was fixed; 'unknown': nobody had signed it, or with a key
 * of earlier days.
 */
export async function compareWithSignature(
  db: Db,
  version: Version,
  manifest: Manifest,
  key: SigningKey,
): Promise<'genuine' | 'changed' | 'unknown'> {
  const signed = await signedManifest(db, version, manifest);
  if (signed === undefined || signed.signatures[0].keyid !== key.id) return 'unknown';
  try {
    verifyManifest(signed, [publicPart(key)], manifest);
    return 'genuine';
  } catch {
    return 'changed';
  }
}
