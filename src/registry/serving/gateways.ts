import type { Db } from '../database/database.ts';
import { invalidParameter, shown } from '../errors.ts';
import { namesOf, recordTraffic } from './traffic.ts';
import { AWAY_MS, type GatewayModel, type GatewayReport } from './types.ts';

const MAX_MODELS = 10_000;

/** Takes note of what a gateway serves. What differs from its last report ends there and begins anew: a history.
 * Returns what began. */
export async function recordReport(db: Db, report: GatewayReport, now: number): Promise<GatewayModel[]> {
  const { gateway_id, host, program_version, started_at } = report;
  if (!isGatewayId(gateway_id))
    throw invalidParameter(
      `Invalid value ${shown(gateway_id)} for parameter 'gateway_id': use 1 to 128 letters, digits and "_.:-"`,
    );
  for (const part of ['models', 'routes', 'decisions'] as const)
    if (report[part].length > MAX_MODELS) throw invalidParameter(`'${part}' has more than ${MAX_MODELS} entries`);
  const before = await db
    .selectFrom('gateways')
    .select('last_seen')
    .where('gateway_id', '=', gateway_id)
    .executeTakeFirst();
  const facts = {
    host: host.slice(0, 200),
    program_version: program_version.slice(0, 100),
    started_at,
    last_seen: now,
  };
  await db
    .insertInto('gateways')
    .values({ gateway_id, first_seen: now, ...facts })
    .onConflict((conflict) => conflict.column('gateway_id').doUpdateSet(facts))
    .execute();
  // Nobody knows what it did while it was away: what it served then ended when it was last seen.
  if (before !== undefined && before.last_seen + AWAY_MS < now) await endModels(db, gateway_id, before.last_seen);
  const open = await db
    .selectFrom('gateway_models')
    .selectAll()
    .where('gateway_id', '=', gateway_id)
    .where('until', 'is', null)
    .execute();
  const keys = await modelKeys(db, namesOf(report));
  await recordTraffic(db, report, keys, now);
  const wanted = new Map<string, GatewayModel & { model_key: number }>();
  for (const model of report.models) {
    const model_key = keys.get(model.name);
    if (model_key === undefined || !/^\d{1,15}$/.test(model.version)) continue;
    wanted.set(rowKey({ ...model, model_key, version: Number(model.version) }), { ...model, model_key });
  }
  for (const row of open) {
    if (wanted.delete(rowKey(row))) continue;
    await db.updateTable('gateway_models').set({ until: now }).where('row_key', '=', row.row_key).execute();
  }
  for (const { served, model_key, version, alias, digest, state, problem } of wanted.values()) {
    await db
      .insertInto('gateway_models')
      .values({
        gateway_id,
        served,
        model_key,
        version: Number(version),
        alias,
        digest,
        state,
        problem: problem.slice(0, 1000),
        since: now,
        until: null,
      })
      .execute();
  }
  return [...wanted.values()];
}

export function isGatewayId(text: string): boolean {
  return /^[A-Za-z0-9][\w.:-]{0,127}$/.test(text);
}

function rowKey(row: {
  served: string;
  model_key: number;
  version: number;
  alias: string;
  digest: string;
  state: string;
  problem: string;
}): string {
  const { served, model_key, version, alias, digest, state, problem } = row;
  return JSON.stringify([served, model_key, version, alias, digest, state, problem.slice(0, 1000)]);
}

async function modelKeys(db: Db, names: readonly string[]): Promise<Map<string, number>> {
  if (names.length === 0) return new Map();
  const rows = await db
    .selectFrom('registered_models')
    .select(['model_key', 'name'])
    .where('name', 'in', names)
    .execute();
  return new Map(rows.map(({ name, model_key }) => [name, model_key]));
}

/** Ends what a gateway serves. */
export async function endModels(db: Db, gatewayId: string, at: number): Promise<void> {
  await db
    .updateTable('gateway_models')
    .set({ until: at })
    .where('gateway_id', '=', gatewayId)
    .where('until', 'is', null)
    .execute();
}

/** Ends the histories of gateways that went silent, at the time when they were last heard. */
export async function endSilent(db: Db, now: number): Promise<void> {
  const silent = await db
    .selectFrom('gateways')
    .select(['gateway_id', 'last_seen'])
    .where('last_seen', '<', now - AWAY_MS)
    .where((where) =>
      where.exists(
        where
          .selectFrom('gateway_models as m')
          .select('m.row_key')
          .whereRef('m.gateway_id', '=', 'gateways.gateway_id')
          .where('m.until', 'is', null),
      ),
    )
    .execute();
  for (const { gateway_id, last_seen } of silent) await endModels(db, gateway_id, last_seen);
}

export interface ServedRow {
  served: string;
  name: string;
  version: string;
  alias: string;
  digest: string;
  state: string;
  problem: string;
  since: number;
  until: number | null;
}

/** What a gateway has served, or who has served a model, newest first; what goes on has no end. */
export async function servedBy(
  db: Db,
  filter: { gatewayId?: string; modelKeys?: readonly number[]; before?: number; limit: number },
): Promise<(ServedRow & { row_key: number; gateway_id: string })[]> {
  let query = db
    .selectFrom('gateway_models as g')
    .leftJoin('registered_models as m', 'm.model_key', 'g.model_key')
    .selectAll('g')
    .select('m.name')
    .orderBy('g.row_key', 'desc')
    .limit(filter.limit);
  if (filter.gatewayId !== undefined) query = query.where('g.gateway_id', '=', filter.gatewayId);
  if (filter.modelKeys !== undefined) query = query.where('g.model_key', 'in', filter.modelKeys);
  if (filter.before !== undefined) query = query.where('g.row_key', '<', filter.before);
  const rows = await query.execute();
  return rows.map(({ model_key: _, name, version, ...row }) => ({
    ...row,
    name: name ?? '',
    version: String(version),
  }));
}
