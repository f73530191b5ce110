import type { Decision } from '../../routing/decide.ts';
import type { CompiledRoute } from '../../routing/route-table.ts';
import type { InferRequest, RequestContext } from '../types.ts';
import type { DecisionRecord } from './record.ts';

/** The record of a decision that was just taken; what came of it is filled in when the request is over. */
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
    eligible: route.variants.filter((_, i) => (decision.eligible & (1 << i)) !== 0).map(({ name }) => name),
    pmf: Array.from(decision.pmf),
    propensity: decision.pmf[decision.assigned],
    assigned: nameOf(decision.assigned),
    served: nameOf(decision.served),
    role: decision.role,
    analysed: decision.analysed,
    override: decision.override,
    bucket: decision.bucket,
    detour: decision.detour,
    fallbacks: [],
    ...(decision.proposed < 0
      ? {}
      : { proposed: { variant: nameOf(decision.proposed), pmf: Array.from(decision.proposedPmf) } }),
    ...(decision.context.length === 0 ? {} : { context: Array.from(decision.context) }),
    model: '',
    version: '',
    status: 'ok',
    latencyMs: 0,
    timings: undefined,
  };
}
