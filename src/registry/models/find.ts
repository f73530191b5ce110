import { sql } from 'kysely';
import type { Db } from '../database/database.ts';
import { doesNotExist } from '../errors.ts';
import { checkModelName, versionNumber } from './names.ts';
import type { ModelRow, VersionRow } from './view.ts';

/** Throws RESOURCE_DOES_NOT_EXIST, or INVALID_PARAMETER_VALUE for what cannot be a name. */
export async function findModel(db: Db, name: string): Promise<ModelRow> {
  checkModelName(name);
  const row = await db.selectFrom('registered_models').selectAll().where('name', '=', name).executeTakeFirst();
  if (row === undefined) throw doesNotExist(`Registered Model with name=${name} not found`);
  return row;
}

/**
 * As findModel, inside a write: no other write to the model commits before this one. PostgreSQL runs writes side by
 * side, and a decision about an alias must not rest on what another one is changing. The model's time of update grows
 * with each, also when the clocks of nodes differ: waiting gateways tell by it that something has changed.
 */
export async function lockModel(db: Db, name: string, now: number): Promise<ModelRow> {
  checkModelName(name);
  const row = await db
    .updateTable('registered_models')
    .set({ last_updated_time: sql`CASE WHEN last_updated_time < ${now} THEN ${now} ELSE last_updated_time + 1 END` })
    .where('name', '=', name)
    .returningAll()
    .executeTakeFirst();
  if (row === undefined) throw doesNotExist(`Registered Model with name=${name} not found`);
  return row;
}

/** Throws RESOURCE_DOES_NOT_EXIST. `version` is text, as on the wire. */
export async function findVersion(db: Db, name: string, version: string): Promise<VersionRow> {
  checkModelName(name);
  const row = await db
    .selectFrom('model_versions as v')
    .innerJoin('registered_models as m', 'm.model_key', 'v.model_key')
    .selectAll('v')
    .select('m.name')
    .where('m.name', '=', name)
    .where('v.version', '=', versionNumber(version))
    .executeTakeFirst();
  if (row === undefined) throw doesNotExist(`Model Version (name=${name}, version=${version}) not found`);
  return row;
}
