import type { Note } from '../commit.ts';
import type { Db } from '../database/database.ts';
import { invalidParameter, RegistryError } from '../errors.ts';
import { type AliasMove, keepMoves } from './alias-moves.ts';
import type { ModelsContext } from './context.ts';
import { pinnedManifest } from './files.ts';
import { findModel, findVersion, lockModel } from './find.ts';
import { checkAlias, checkNewAlias } from './names.ts';
import type { VersionRow } from './view.ts';

export interface AliasPolicy {
  /** Aliases that only an approved version may have. */
  approvedOnly: readonly string[];
}

export interface AliasWish {
  name: string;
  alias: string;
  /** Text as on the wire; undefined: remove the alias. */
  version: string | undefined;
  /** The move happens only if the alias points there now; null: if there is no such alias. Undefined: in any case. */
  expected?: number | null;
  actor: string;
  reason: string;
}

/**
 * Moves or removes an alias, all checks and the history in one write. Undefined: it was as wished already. Throws
 * RESOURCE_CONFLICT when it points elsewhere than expected, and INVALID_STATE when the version may not have it.
 */
export async function moveAlias(
  db: Db,
  now: number,
  wish: AliasWish,
  { policy, signingKey }: Pick<ModelsContext, 'policy' | 'signingKey'>,
  note: Note,
): Promise<AliasMove | undefined> {
  const alias = wish.version === undefined ? checkAlias(wish.alias) : checkNewAlias(wish.alias);
  const model = await lockModel(db, wish.name, now);
  const version = wish.version === undefined ? undefined : await findVersion(db, wish.name, wish.version);
  const previous = await pointsTo(db, model.name, alias);
  if (wish.expected !== undefined && wish.expected !== previous) throw conflict(wish, previous);
  if (version !== undefined) {
    checkApproval(version, alias, policy);
    // Gateways serve what has an alias: files that came after the version was registered are its files from now on.
    await pinnedManifest(db, version, signingKey, note);
  }
  const target = version?.version ?? null;
  if (target === previous) return undefined;
  if (target === null) {
    await db.deleteFrom('model_aliases').where('model_key', '=', model.model_key).where('alias', '=', alias).execute();
  } else {
    await db
      .insertInto('model_aliases')
      .values({ model_key: model.model_key, alias, version: target })
      .onConflict((conflict) => conflict.columns(['model_key', 'alias']).doUpdateSet({ version: target }))
      .execute();
  }
  const move = { name: wish.name, alias, version: target, previous };
  const { actor, reason } = wish;
  await keepMoves(db, { model_key: model.model_key, at: now, actor, reason }, [move], note);
  return move;
}

/** The version that an alias points to; null: there is no such alias. */
export async function pointsTo(db: Db, name: string, alias: string): Promise<number | null> {
  const found = await db
    .selectFrom('model_aliases as a')
    .innerJoin('registered_models as m', 'm.model_key', 'a.model_key')
    .select('a.version')
    .where('m.name', '=', name)
    .where('a.alias', '=', alias)
    .executeTakeFirst();
  return found?.version ?? null;
}

function conflict({ name, alias, expected }: AliasWish, previous: number | null): RegistryError {
  const named = (version: number | null | undefined): string =>
    version === null ? 'no version' : `version ${version}`;
  return new RegistryError(
    'RESOURCE_CONFLICT',
    `alias ${alias} of ${name} points to ${named(previous)}, not to ${named(expected)} as expected; read it again and decide anew`,
  );
}

function checkApproval({ name, version, approval }: VersionRow, alias: string, policy: AliasPolicy): void {
  if (approval === 'Rejected')
    throw new RegistryError(
      'INVALID_STATE',
      `version ${version} of ${name} is rejected and may have no alias; approve it first, or choose another version`,
    );
  if (policy.approvedOnly.includes(alias) && approval !== 'Approved') {
    throw new RegistryError(
      'INVALID_STATE',
      `alias ${alias} is for approved versions (registry.approvals.aliases); version ${version} of ${name} is ${approval === '' ? 'not approved' : approval}: approve it first`,
    );
  }
}

/** Removes the aliases of a version that goes away. */
export async function dropAliasesOf(db: Db, now: number, row: VersionRow, actor: string, note: Note): Promise<void> {
  const aliases = await db
    .deleteFrom('model_aliases')
    .where('model_key', '=', row.model_key)
    .where('version', '=', row.version)
    .returning('alias')
    .execute();
  const moves = aliases.map(({ alias }) => ({ name: row.name, alias, version: null, previous: row.version }));
  const by = { model_key: row.model_key, at: now, actor, reason: 'the version was deleted' };
  await keepMoves(db, by, moves, note);
}

/** The version an alias points to; `latest` is the newest. Throws INVALID_PARAMETER_VALUE when there is none. */
export async function versionByAlias(db: Db, name: string, alias: string): Promise<VersionRow> {
  checkAlias(alias);
  await findModel(db, name);
  let query = db
    .selectFrom('model_versions as v')
    .innerJoin('registered_models as m', 'm.model_key', 'v.model_key')
    .selectAll('v')
    .select('m.name')
    .where('m.name', '=', name);
  if (alias.toLowerCase() === 'latest') query = query.orderBy('v.version', 'desc').limit(1);
  else {
    query = query
      .innerJoin('model_aliases as a', (join) =>
        join.onRef('a.model_key', '=', 'v.model_key').onRef('a.version', '=', 'v.version'),
      )
      .where('a.alias', '=', alias);
  }
  const row = await query.executeTakeFirst();
  if (row !== undefined) return row;
  throw invalidParameter(`Registered model alias ${alias} not found.`);
}
