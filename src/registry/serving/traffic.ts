import type { Db } from '../database/database.ts';
import type { GatewayReport, ReportedDecisions, ReportedRoute } from './types.ts';

/**
 * Takes note of the routes that lead to versions and of what they decided. Counts are those of the gateway's process so
 * far, so a report that comes twice, or not at all, changes nothing.
 */
export async function recordTraffic(
  db: Db,
  { gateway_id, started_at, routes, decisions }: GatewayReport,
  keys: ReadonlyMap<string, number>,
  now: number,
): Promise<void> {
  for (const { name, version, route, variant } of routes) {
    const of = versionOf(keys, name, version);
    if (of === undefined) continue;
    await db
      .insertInto('version_routes')
      .values({ ...of, gateway_id, route, variant, first_at: now, last_at: now })
      .onConflict((conflict) =>
        conflict.columns(['model_key', 'version', 'gateway_id', 'route', 'variant']).doUpdateSet({ last_at: now }),
      )
      .execute();
  }
  for (const { name, version, route, variant, role, ...counts } of decisions) {
    const of = versionOf(keys, name, version);
    if (of === undefined) continue;
    await db
      .insertInto('version_decisions')
      .values({ ...of, gateway_id, started_at, route, variant, role, ...counts })
      .onConflict((conflict) =>
        conflict
          .columns(['model_key', 'version', 'gateway_id', 'started_at', 'route', 'variant', 'role'])
          .doUpdateSet(counts),
      )
      .execute();
  }
}

function versionOf(
  keys: ReadonlyMap<string, number>,
  name: string,
  version: string,
): { model_key: number; version: number } | undefined {
  const model_key = keys.get(name);
  return model_key === undefined || !/^\d{1,15}$/.test(version) ? undefined : { model_key, version: Number(version) };
}

export function namesOf({ models, routes, decisions }: GatewayReport): string[] {
  return [...new Set([...models, ...routes, ...decisions].map(({ name }) => name))];
}

type RouteOfVersion = Omit<ReportedRoute, 'name' | 'version'> & {
  gateway_id: string;
  first_at: number;
  last_at: number;
};
type DecisionsOfVersion = Omit<ReportedDecisions, 'name' | 'version'> & { gateways: number };

/** The routes that lead, or led, to a version, and all their decisions for it. */
export async function trafficOf(
  db: Db,
  { model_key, version }: { model_key: number; version: number },
): Promise<{ routes: RouteOfVersion[]; decisions: DecisionsOfVersion[] }> {
  const routes = await db
    .selectFrom('version_routes')
    .select(['route', 'variant', 'gateway_id', 'first_at', 'last_at'])
    .where('model_key', '=', model_key)
    .where('version', '=', version)
    .orderBy('last_at', 'desc')
    .orderBy('route')
    .orderBy('variant')
    .limit(1000)
    .execute();
  const sums = await db
    .selectFrom('version_decisions')
    .select(({ fn }) => [
      'route',
      'variant',
      'role',
      fn.sum('requests').as('requests'),
      fn.sum('errors').as('errors'),
      fn.min('first_at').as('first_at'),
      fn.max('last_at').as('last_at'),
      fn.count('gateway_id').distinct().as('gateways'),
    ])
    .where('model_key', '=', model_key)
    .where('version', '=', version)
    .groupBy(['route', 'variant', 'role'])
    .orderBy('route')
    .orderBy('variant')
    .orderBy('role')
    .limit(1000)
    .execute();
  const decisions = sums.map((row) => ({
    ...row,
    requests: Number(row.requests),
    errors: Number(row.errors),
    gateways: Number(row.gateways),
  }));
  return { routes, decisions };
}
