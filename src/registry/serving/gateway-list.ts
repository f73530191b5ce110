import type { Selectable } from 'kysely';
import type { DatabaseKind, Db } from '../database/database.ts';
import { inTexts } from '../database/statements.ts';
import type { GatewayTables } from '../database/tables/models.ts';
import { doesNotExist, RegistryError, shown } from '../errors.ts';
import { groupBy } from '../group-by.ts';
import { endModels, type ServedRow } from './gateways.ts';
import { AWAY_MS } from './types.ts';

export interface ListedGateway extends Selectable<GatewayTables['gateways']> {
  away: boolean;
  /** What it serves now. */
  models: ServedRow[];
}

/** Gateways by id, with what each serves now, which one query reads for all of them. */
export async function listGateways(
  db: Db,
  kind: DatabaseKind,
  {
    after,
    limit,
    seenSince,
    now,
  }: {
    /** The gateway behind which the list begins; '' = all. */
    after: string;
    limit: number;
    /** Milliseconds since 1970; gateways that were last heard before are left out. */
    seenSince: number;
    now: number;
  },
): Promise<ListedGateway[]> {
  const rows = await db
    .selectFrom('gateways')
    .selectAll()
    .where('gateway_id', '>', after)
    .where('last_seen', '>=', seenSince)
    .orderBy('gateway_id')
    .limit(limit)
    .execute();
  const ids = rows.map(({ gateway_id }) => gateway_id);
  const served = await db
    .selectFrom('gateway_models as g')
    .leftJoin('registered_models as m', 'm.model_key', 'g.model_key')
    .select(['g.gateway_id', 'g.served', 'm.name', 'g.version', 'g.alias', 'g.digest', 'g.state', 'g.problem'])
    .select(['g.since', 'g.until'])
    .where(inTexts(kind, 'g.gateway_id', ids))
    .where('g.until', 'is', null)
    .orderBy('g.row_key', 'desc')
    .execute();
  const of = groupBy(served, ({ gateway_id }) => gateway_id);
  return rows.map((row) => ({
    ...row,
    away: row.last_seen + AWAY_MS < now,
    models: (of.get(row.gateway_id) ?? []).map(({ gateway_id: _, name, version, ...rest }) => ({
      ...rest,
      name: name ?? '',
      version: String(version),
    })),
  }));
}

/**
 * Takes a gateway that is away out of the list; the history of what it served stays. Throws RESOURCE_DOES_NOT_EXIST, and
 * INVALID_STATE for one that reports: it would be there again with its next report.
 */
export async function forgetGateway(db: Db, id: string, now: number): Promise<void> {
  const silent = now - AWAY_MS;
  const gone = await db
    .deleteFrom('gateways')
    .where('gateway_id', '=', id)
    .where('last_seen', '<', silent)
    .returning('last_seen')
    .executeTakeFirst();
  if (gone !== undefined) {
    await endModels(db, id, gone.last_seen);
    return;
  }
  const there = await db.selectFrom('gateways').select('last_seen').where('gateway_id', '=', id).executeTakeFirst();
  if (there === undefined) throw doesNotExist(`No gateway ${shown(id)} has reported, or it is forgotten already`);
  const seconds = Math.ceil((there.last_seen - silent) / 1000);
  throw new RegistryError(
    'INVALID_STATE',
    `gateway ${shown(id)} reports; stop it, and forget it when it is away, in ${seconds} s at the earliest`,
  );
}
