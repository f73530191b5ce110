import type { Note } from '../commit.ts';
import type { Db } from '../database/database.ts';
import { alreadyExists } from '../errors.ts';
import type { SigningKey } from '../manifest/signature.ts';
import { keepMoves } from './alias-moves.ts';
import { lockModel } from './find.ts';
import { checkDescription, checkModelName, checkModelTag } from './names.ts';
import { signForNewName } from './signing.ts';
import type { ModelRow } from './view.ts';

type Tag = { key: string; value: string };

export async function createModel(
  db: Db,
  now: number,
  { name, description, tags }: { name: string; description: string; tags: readonly Tag[] },
): Promise<ModelRow> {
  checkModelName(name);
  checkDescription(description);
  const row = await db
    .insertInto('registered_models')
    .values({ name, description, creation_time: now, last_updated_time: now, next_version: 1 })
    .onConflict((conflict) => conflict.column('name').doNothing())
    .returningAll()
    .executeTakeFirst();
  if (row === undefined) throw alreadyExists(`Registered Model (name=${name}) already exists.`);
  for (const tag of tags) await setModelTag(db, row.model_key, tag);
  return { ...row, next_version: await goOnWithNumbers(db, row) };
}

/**
 * Numbers of versions go on where another model left off that had the name: what somebody wrote down as "version 3" of a
 * name is never other bytes.
 */
async function goOnWithNumbers(db: Db, { model_key, name, next_version }: ModelRow): Promise<number> {
  const left = await db
    .selectFrom('left_model_names')
    .select('next_version')
    .where('name', '=', name)
    .executeTakeFirst();
  if (left === undefined || left.next_version <= next_version) return next_version;
  await db
    .updateTable('registered_models')
    .set({ next_version: left.next_version })
    .where('model_key', '=', model_key)
    .execute();
  return left.next_version;
}

async function leaveName(db: Db, { name, next_version }: ModelRow): Promise<void> {
  await db
    .insertInto('left_model_names')
    .values({ name, next_version })
    .onConflict((conflict) => conflict.column('name').doUpdateSet({ next_version }))
    .execute();
}

/** Renames a model. The history of both names says so for every alias. */
export async function renameModel(
  db: Db,
  now: number,
  name: string,
  newName: string,
  actor: string,
  key: SigningKey | undefined,
  note: Note,
): Promise<ModelRow> {
  checkModelName(newName, 'new_name');
  const row = await lockModel(db, name, now);
  if (newName === name) return row;
  const other = await db
    .selectFrom('registered_models')
    .select('model_key')
    .where('name', '=', newName)
    .executeTakeFirst();
  if (other !== undefined) throw alreadyExists(`Registered Model (name=${newName}) already exists.`);
  const aliases = await db.selectFrom('model_aliases').selectAll().where('model_key', '=', row.model_key).execute();
  const { model_key } = row;
  const left = aliases.map(({ alias, version }) => ({ name, alias, version: null, previous: version }));
  const taken = aliases.map(({ alias, version }) => ({ name: newName, alias, version, previous: null }));
  const by = { model_key, at: now, actor };
  await keepMoves(db, { ...by, reason: `the model was renamed to "${newName}"` }, left, note);
  await keepMoves(db, { ...by, reason: `the model was renamed from "${name}"` }, taken, note);
  await signForNewName(db, row, newName, key);
  await leaveName(db, row);
  await db.updateTable('registered_models').set({ name: newName }).where('model_key', '=', model_key).execute();
  const renamed = { ...row, name: newName };
  return { ...renamed, next_version: await goOnWithNumbers(db, renamed) };
}

export async function describeModel(db: Db, now: number, name: string, description: string): Promise<ModelRow> {
  checkDescription(description);
  const row = await lockModel(db, name, now);
  await db.updateTable('registered_models').set({ description }).where('model_key', '=', row.model_key).execute();
  return { ...row, description };
}

/** Removes a model with its versions. What its aliases pointed to, and what was decided, stays in the history. */
export async function deleteModel(db: Db, now: number, name: string, actor: string, note: Note): Promise<ModelRow> {
  const row = await lockModel(db, name, now);
  const aliases = await db.selectFrom('model_aliases').selectAll().where('model_key', '=', row.model_key).execute();
  const moves = aliases.map(({ alias, version }) => ({ name, alias, version: null, previous: version }));
  await keepMoves(db, { model_key: row.model_key, at: now, actor, reason: 'the model was deleted' }, moves, note);
  await leaveName(db, row);
  for (const table of [
    'model_aliases',
    'model_version_signatures',
    'model_version_files',
    'model_version_tags',
    'model_versions',
    'registered_model_tags',
    'registered_models',
  ] as const)
    await db.deleteFrom(table).where('model_key', '=', row.model_key).execute();
  return row;
}

export async function setModelTag(db: Db, modelKey: number, tag: Tag): Promise<void> {
  checkModelTag(tag);
  await db
    .insertInto('registered_model_tags')
    .values({ model_key: modelKey, ...tag })
    .onConflict((conflict) => conflict.columns(['model_key', 'key']).doUpdateSet({ value: tag.value }))
    .execute();
}

/** Removing a tag that is not there is no error. */
export async function deleteModelTag(db: Db, modelKey: number, key: string): Promise<void> {
  await db.deleteFrom('registered_model_tags').where('model_key', '=', modelKey).where('key', '=', key).execute();
}
