import type { Note } from '../commit.ts';
import type { Db } from '../database/database.ts';
import { invalidParameter, shown } from '../errors.ts';
import type { SigningKey } from '../manifest/signature.ts';
import { jsonList } from '../rest/fields.ts';
import { dropAliasesOf } from './aliases.ts';
import { pinFiles } from './files.ts';
import { findVersion, lockModel } from './find.ts';
import { checkDescription, checkModelTag } from './names.ts';
import { isPrompt } from './prompts.ts';
import { checkRequirementsTag } from './requirements-tag.ts';
import { type ResolvedSource, resolveSource } from './sources.ts';
import type { VersionRow } from './view.ts';

type Tag = { key: string; value: string };

export interface NewVersion {
  name: string;
  source: string;
  runId: string;
  runLink: string;
  modelId: string;
  description: string;
  tags: readonly Tag[];
}

/** Registers the next version of a model. It is ready at once, with the files that are at its source now. */
export async function createVersion(
  db: Db,
  now: number,
  actor: string,
  wish: NewVersion,
  key: SigningKey | undefined,
): Promise<VersionRow> {
  checkDescription(wish.description);
  for (const tag of wish.tags) checkVersionTag(tag);
  const resolved = isPrompt(wish.tags)
    ? promptSource(wish.source)
    : await resolveSource(db, wish.source, { runId: wish.runId, modelId: wish.modelId });
  const model = await lockModel(db, wish.name, now);
  const version = model.next_version;
  await db
    .updateTable('registered_models')
    .set({ next_version: version + 1 })
    .where('model_key', '=', model.model_key)
    .execute();
  const row = {
    model_key: model.model_key,
    version,
    creation_time: now,
    last_updated_time: now,
    description: wish.description,
    user_id: actor,
    stage: 'None' as const,
    source: resolved.source,
    storage_location: resolved.storageLocation,
    run_id: resolved.runId,
    run_link: wish.runLink,
    model_id: resolved.modelId,
    approval: '' as const,
  };
  await db.insertInto('model_versions').values(row).execute();
  for (const tag of wish.tags) await putVersionTag(db, row, tag);
  if (resolved.modelId !== '') await noteOnLoggedModel(db, resolved.modelId, wish.name, version);
  const created = { ...row, name: wish.name };
  await pinFiles(db, created, key, resolved.copyOf);
  return created;
}

/** A prompt's text is in its tags: nothing is ever read from its source. */
function promptSource(source: string): ResolvedSource {
  if (source.length > 500)
    throw invalidParameter(`Invalid prompt source: ${shown(source)}: longer than 500 characters`);
  return { source, storageLocation: '', runId: '', modelId: '' };
}

/** MLflow's clients find the versions of a logged model in this tag. */
async function noteOnLoggedModel(db: Db, modelId: string, name: string, version: number): Promise<void> {
  const key = 'mlflow.modelVersions';
  const model = await db
    .selectFrom('logged_models')
    .select('model_key')
    .where('model_id', '=', modelId)
    .executeTakeFirst();
  if (model === undefined) return;
  const before = await db
    .selectFrom('logged_model_tags')
    .select('value')
    .where('model_key', '=', model.model_key)
    .where('key', '=', key)
    .executeTakeFirst();
  // Anybody can set the tag: what is no list is begun anew.
  const list = (before && jsonList(before.value)) ?? [];
  const value = JSON.stringify([...list, { name, version }]);
  await db
    .insertInto('logged_model_tags')
    .values({ model_key: model.model_key, key, value })
    .onConflict((conflict) => conflict.columns(['model_key', 'key']).doUpdateSet({ value }))
    .execute();
}

export async function describeVersion(
  db: Db,
  now: number,
  { name, version, description }: { name: string; version: string; description: string },
): Promise<VersionRow> {
  checkDescription(description);
  const row = await findVersion(db, name, version);
  return changed(db, row, { description, last_updated_time: now });
}

async function changed(db: Db, row: VersionRow, set: Partial<Omit<VersionRow, 'name'>>): Promise<VersionRow> {
  await db
    .updateTable('model_versions')
    .set(set)
    .where('model_key', '=', row.model_key)
    .where('version', '=', row.version)
    .execute();
  return { ...row, ...set };
}

/** Removes a version, and the aliases that point to it. Its number is not given again. */
export async function deleteVersion(
  db: Db,
  now: number,
  name: string,
  version: string,
  actor: string,
  note: Note,
): Promise<VersionRow> {
  await lockModel(db, name, now);
  const row = await findVersion(db, name, version);
  await dropAliasesOf(db, now, row, actor, note);
  for (const table of [
    'model_version_signatures',
    'model_version_files',
    'model_version_tags',
    'model_versions',
  ] as const)
    await db.deleteFrom(table).where('model_key', '=', row.model_key).where('version', '=', row.version).execute();
  return row;
}

export async function setVersionTag(db: Db, now: number, row: VersionRow, tag: Tag): Promise<void> {
  checkVersionTag(tag);
  await lockModel(db, row.name, now);
  await putVersionTag(db, row, tag);
}

function checkVersionTag(tag: Tag): void {
  checkModelTag(tag);
  checkRequirementsTag(tag);
}

async function putVersionTag(db: Db, row: { model_key: number; version: number }, tag: Tag): Promise<void> {
  await db
    .insertInto('model_version_tags')
    .values({ model_key: row.model_key, version: row.version, ...tag })
    .onConflict((conflict) => conflict.columns(['model_key', 'version', 'key']).doUpdateSet({ value: tag.value }))
    .execute();
}

/** Removing a tag that is not there is no error. */
export async function deleteVersionTag(db: Db, now: number, row: VersionRow, key: string): Promise<void> {
  await lockModel(db, row.name, now);
  await db
    .deleteFrom('model_version_tags')
    .where('model_key', '=', row.model_key)
    .where('version', '=', row.version)
    .where('key', '=', key)
    .execute();
}
