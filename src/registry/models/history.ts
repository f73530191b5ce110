import type { Db } from '../database/database.ts';
import { doesNotExist, invalidParameter, shown } from '../errors.ts';
import { approvalsOf, type Decision, type Evidence, evidenceOf } from './decisions.ts';
import { checkAlias, checkModelName } from './names.ts';

/** Milliseconds or an ISO time. Throws INVALID_PARAMETER_VALUE. */
export function timeOf(text: string, parameter: string): number {
  const time = /^\d{1,15}$/.test(text) ? Number(text) : Date.parse(text);
  if (Number.isFinite(time)) return time;
  throw invalidParameter(
    `Invalid value ${shown(text)} for parameter '${parameter}' supplied: give milliseconds since 1970 or a time such as 2026-01-31T12:00:00Z`,
  );
}

/**
 * The numbers of the model that has a name, and of those that had it before. Throws RESOURCE_DOES_NOT_EXIST.
 */
export async function modelKeysOf(db: Db, name: string): Promise<number[]> {
  const { living } = await historyOf(db, name);
  const earlier = await db.selectFrom('alias_moves').select('model_key').distinct().where('name', '=', name).execute();
  return [...new Set([...(living === undefined ? [] : [living]), ...earlier.map((row) => row.model_key)])];
}

/**
 * The moves that a name's history consists of: those made under the name, whichever model had it, and before the first of
 * them those of the model that has it now. Throws RESOURCE_DOES_NOT_EXIST for a name that no model has or had.
 */
async function historyOf(db: Db, name: string) {
  checkModelName(name);
  const model = await db
    .selectFrom('registered_models')
    .select('model_key')
    .where('name', '=', name)
    .executeTakeFirst();
  const { first } = await db
    .selectFrom('alias_moves')
    .select(({ fn }) => fn.min('move_key').as('first'))
    .where('name', '=', name)
    .executeTakeFirstOrThrow();
  // The database answers null when there is none.
  const begin = first as number | null;
  const living = model?.model_key;
  if (living === undefined && begin === null) throw doesNotExist(`Registered Model with name=${name} not found`);
  const moves = db.selectFrom('alias_moves').where((is) => {
    const underName = is('name', '=', name);
    if (living === undefined) return underName;
    const earlier = is.and([
      is('model_key', '=', living),
      is('move_key', '<', begin === null ? Number.MAX_SAFE_INTEGER : Number(begin)),
    ]);
    return is.or([underName, earlier]);
  });
  return { living, moves };
}

export interface MoveRow extends Decision {
  move_key: number;
  /** Of the model at the time of the move. */
  name: string;
  version: number | null;
  previous: number | null;
}

/** An alias's moves, newest first. */
export async function movesOf(db: Db, name: string, alias: string, before: number, limit: number): Promise<MoveRow[]> {
  checkAlias(alias);
  const { moves } = await historyOf(db, name);
  return moves
    .select(['move_key', 'name', 'version', 'previous', 'at', 'actor', 'reason'])
    .where('alias', '=', alias)
    .where('move_key', '<', before)
    .orderBy('move_key', 'desc')
    .limit(limit)
    .execute();
}

export interface ServedAnswer {
  name: string;
  alias: string;
  at: number;
  /** Null: the alias pointed to nothing. */
  version: string | null;
  previous: string | null;
  since: number;
  /** Null: it still does. */
  until: number | null;
  actor: string;
  reason: string;
  approvals: (Decision & { state: string })[];
  evidence: Evidence[];
  /** Gateways that reported the version at that time. */
  gateways: { gateway_id: string; served: string; since: number; until: number | null }[];
}

/** What an alias meant at a time, who had decided it, on what grounds, and where it was served. */
export async function servedAt(db: Db, name: string, alias: string, at: number): Promise<ServedAnswer> {
  checkAlias(alias);
  const { moves } = await historyOf(db, name);
  const ofAlias = moves.selectAll().where('alias', '=', alias);
  const move = await ofAlias.where('at', '<=', at).orderBy('move_key', 'desc').limit(1).executeTakeFirst();
  if (move === undefined)
    throw doesNotExist(`Alias ${alias} of ${name} did not exist yet at ${new Date(at).toISOString()}`);
  const next = await ofAlias.where('move_key', '>', move.move_key).orderBy('move_key').limit(1).executeTakeFirst();
  const version = move.version === null ? undefined : { model_key: move.model_key, version: move.version };
  return {
    name,
    alias,
    at,
    version: move.version === null ? null : String(move.version),
    previous: move.previous === null ? null : String(move.previous),
    since: move.at,
    until: next?.at ?? null,
    actor: move.actor,
    reason: move.reason,
    approvals: version === undefined ? [] : (await approvalsOf(db, version, { at })).map(withoutKey),
    evidence: version === undefined ? [] : (await evidenceOf(db, version, { at })).map(withoutKey),
    gateways: version === undefined ? [] : await gatewaysAt(db, version, at),
  };
}

/** As servedAt, of every alias that pointed to a version then, by alias. */
export async function allServedAt(db: Db, name: string, at: number): Promise<ServedAnswer[]> {
  const { moves } = await historyOf(db, name);
  const aliases = await moves.select('alias').distinct().where('at', '<=', at).orderBy('alias').execute();
  const answers: ServedAnswer[] = [];
  for (const { alias } of aliases) answers.push(await servedAt(db, name, alias, at));
  return answers.filter(({ version }) => version !== null);
}

export function withoutKey<T extends object>(
  row: T,
): Omit<T, 'approval_key' | 'evidence_key' | 'move_key' | 'row_key'> {
  const { approval_key, evidence_key, move_key, row_key, ...rest } = row as Record<string, unknown>;
  return rest as Omit<T, 'approval_key' | 'evidence_key' | 'move_key' | 'row_key'>;
}

function gatewaysAt(
  db: Db,
  version: { model_key: number; version: number },
  at: number,
): Promise<ServedAnswer['gateways']> {
  return db
    .selectFrom('gateway_models')
    .select(['gateway_id', 'served', 'since', 'until'])
    .where('model_key', '=', version.model_key)
    .where('version', '=', version.version)
    .where('state', '=', 'READY')
    .where('since', '<=', at)
    .where((where) => where.or([where('until', 'is', null), where('until', '>', at)]))
    .orderBy('gateway_id')
    .orderBy('served')
    .execute();
}
