import type { Db } from '../database/database.ts';
import type { SignedManifest, SigningKey } from '../manifest/signature.ts';
import { manifestOf } from './files.ts';
import { compareWithSignature, keepSignature, signedManifest } from './signatures.ts';
import type { VersionRow } from './view.ts';

/**
 * Signs a model's versions for its new name: those whose signature under the old name is genuine. The others keep a
 * signature that no gateway takes.
 */
export async function signForNewName(
  db: Db,
  { model_key, name }: { model_key: number; name: string },
  newName: string,
  key: SigningKey | undefined,
): Promise<void> {
  if (key === undefined) return;
  const rows = await db.selectFrom('model_versions').selectAll().where('model_key', '=', model_key).execute();
  for (const row of rows) {
    const before = await manifestOf(db, { ...row, name });
    if (before !== undefined && (await compareWithSignature(db, row, before, key)) === 'genuine')
      await keepSignature(db, row, { ...before, name: newName }, key);
  }
}

/** Signs a version as it is now: for one that was registered before there was a key, or with another one. */
export async function signVersion(db: Db, row: VersionRow, key: SigningKey): Promise<SignedManifest | undefined> {
  const manifest = await manifestOf(db, row);
  if (manifest === undefined) return undefined;
  await keepSignature(db, row, manifest, key);
  return signedManifest(db, row, manifest);
}
