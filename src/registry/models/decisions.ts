import type { Note } from '../commit.ts';
import type { Db } from '../database/database.ts';
import type { ApprovalState } from '../database/tables/models.ts';
import { RegistryError } from '../errors.ts';
import type { AliasPolicy } from './aliases.ts';
import { findVersion, lockModel } from './find.ts';
import type { VersionRow } from './view.ts';

export interface Decision {
  at: number;
  actor: string;
  reason: string;
}

/**
 * Sets a version's approval and keeps who decided, when and why. Aliases that it has stay: taking one away is a move. So a
 * version that has one for approved versions only can be nothing else until that has moved: throws INVALID_STATE.
 */
export async function decide(
  db: Db,
  name: string,
  version: string,
  wish: Decision & { state: ApprovalState },
  policy: AliasPolicy,
): Promise<VersionRow> {
  await lockModel(db, name, wish.at);
  const row = await findVersion(db, name, version);
  if (wish.state !== 'Approved') await checkAliases(db, row, wish.state, policy);
  await db
    .updateTable('model_versions')
    .set({ approval: wish.state, last_updated_time: wish.at })
    .where('model_key', '=', row.model_key)
    .where('version', '=', row.version)
    .execute();
  const { state, at, actor, reason } = wish;
  await db
    .insertInto('version_approvals')
    .values({ model_key: row.model_key, version: row.version, state, at, actor, reason })
    .execute();
  return { ...row, approval: state };
}

async function checkAliases(db: Db, row: VersionRow, state: ApprovalState, policy: AliasPolicy): Promise<void> {
  const aliases = await db
    .selectFrom('model_aliases')
    .select('alias')
    .where('model_key', '=', row.model_key)
    .where('version', '=', row.version)
    .orderBy('alias')
    .execute();
  const kept = aliases.map(({ alias }) => alias).filter((alias) => policy.approvedOnly.includes(alias));
  if (kept.length === 0) return;
  throw new RegistryError(
    'INVALID_STATE',
    `version ${row.version} of ${row.name} has the alias ${kept.join(', ')}, which is for approved versions (registry.approvals.aliases): move it to another version or remove it, then set the version to ${state}`,
  );
}

/** The stretch of a history that is read. */
export interface Stretch {
  /** Key of the first that is not read any more. */
  before?: number;
  /** Milliseconds since 1970; what came later is left out. */
  at?: number;
  limit?: number;
}

/** Newest first. */
export function approvalsOf(
  db: Db,
  row: { model_key: number; version: number },
  { before = Number.MAX_SAFE_INTEGER, at = Number.MAX_SAFE_INTEGER, limit = 1000 }: Stretch = {},
): Promise<(Decision & { approval_key: number; state: ApprovalState })[]> {
  return db
    .selectFrom('version_approvals')
    .select(['approval_key', 'state', 'at', 'actor', 'reason'])
    .where('model_key', '=', row.model_key)
    .where('version', '=', row.version)
    .where('approval_key', '<', before)
    .where('at', '<=', at)
    .orderBy('approval_key', 'desc')
    .limit(limit)
    .execute();
}

export interface Evidence {
  kind: string;
  outcome: 'pass' | 'hold' | 'fail';
  detail: unknown;
  at: number;
  actor: string;
}

/** Keeps what a gate found out about a version, and tells of it. */
export async function keepEvidence(
  db: Db,
  name: string,
  version: string,
  evidence: Evidence,
  note: Note,
): Promise<VersionRow> {
  const row = await findVersion(db, name, version);
  const { kind, outcome, at, actor } = evidence;
  const detail = JSON.stringify(evidence.detail ?? {});
  await db
    .insertInto('version_evidence')
    .values({ model_key: row.model_key, version: row.version, kind, outcome, detail, at, actor })
    .execute();
  note({ entity: 'model_version_evidence', action: 'created', data: { name, version, kind, outcome, actor } });
  return row;
}

/** Newest first. */
export async function evidenceOf(
  db: Db,
  row: { model_key: number; version: number },
  { before = Number.MAX_SAFE_INTEGER, at = Number.MAX_SAFE_INTEGER, limit = 1000 }: Stretch = {},
): Promise<(Evidence & { evidence_key: number })[]> {
  const rows = await db
    .selectFrom('version_evidence')
    .select(['evidence_key', 'kind', 'outcome', 'detail', 'at', 'actor'])
    .where('model_key', '=', row.model_key)
    .where('version', '=', row.version)
    .where('evidence_key', '<', before)
    .where('at', '<=', at)
    .orderBy('evidence_key', 'desc')
    .limit(limit)
    .execute();
  return rows.map((found) => ({ ...found, detail: JSON.parse(found.detail) as unknown }));
}
