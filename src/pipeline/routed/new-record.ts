import type { Decision } from '../../routing/decide.ts';
import type { CompiledRoute } from '../../routing/route-table.ts';
import type { InferRequest, RequestContext } from '../types.ts';
import type { DecisionRecord } from './record.ts';

/**
 * The record of a decision that was just taken; what came of it is filled in when the request is over. One per request:
 * every record has the same fields, and shares with those before it what the route decides by.
 */
export function newRecord(
  id: string,
  time: number,
  decision: Decision,
  request: InferRequest,
  context: RequestContext,
): DecisionRecord {
  const route = decision.route as CompiledRoute;
  const nameOf = (variant: number): string => route.variants[variant].name;
  return {
    id,
    time,
    route: route.name,
    requestedModel: request.model,
    requestedVersion: request.version,
    protocol: context.protocol,
    tenant: context.tenant,
    requestId: request.id,
    stateVersion: decision.stateVersion,
    snapshotVersion: decision.snapshotVersion,
    eligible: namesOf(route, decision.eligible),
    pmf: decision.pmf === route.live.pmf ? route.live.shares : Array.from(decision.pmf),
    propensity: decision.pmf[decision.assigned],
    assigned: nameOf(decision.assigned),
    served: nameOf(decision.served),
    role: decision.role,
    analysed: decision.analysed,
    override: decision.override,
    bucket: decision.bucket,
    detour: decision.detour,
    fallbacks: [],
    proposed:
      decision.proposed < 0 ? undefined : { variant: nameOf(decision.proposed), pmf: Array.from(decision.proposedPmf) },
    context: decision.context.length === 0 ? undefined : Array.from(decision.context),
    model: '',
    version: '',
    status: 'ok',
    latencyMs: 0,
    timings: undefined,
  };
}

/** Names of the variants in a mask, which is nearly always that of all. */
function namesOf({ health, names, variants }: CompiledRoute, mask: number): readonly string[] {
  if (mask === health.all) return names;
  return variants.filter((_, i) => (mask & (1 << i)) !== 0).map(({ name }) => name);
}
