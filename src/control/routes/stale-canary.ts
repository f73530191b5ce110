import type { RouteSpec } from '../../config/route-schema.ts';
import { isOver } from '../../experiments/rollout/state.ts';
import { canaryWeights, type RouteState, withWeights } from '../../routing/live-route.ts';
import { mirrorOf, rolloutOf } from './rollout-control.ts';
import type { Standing } from './standing.ts';

/**
 * Percent that a canary's candidate still gets while nobody is there to judge it: down to 0 as in a rollback, so that a
 * stable version gone cold is not hit at once. Undefined: the route goes on as it stands, since no candidate of it waits
 * for a verdict (any more).
 *
 * @param staleMs for how long nobody has been there
 */
export function unjudgedWeight({ strategy }: RouteSpec, standing: Standing, staleMs: number): number | undefined {
  const { canary } = strategy;
  const rollout = rolloutOf(standing);
  if (canary === undefined || rollout === undefined) return undefined;
  const { state } = rollout;
  // One whose alias is being set has passed.
  if (isOver(state) || state.phase === 'promoting') return undefined;
  const { rollback, over } = canary.onFail;
  const left = rollback === 'immediate' || over === 0 ? 0 : Math.min(1, Math.max(0, 1 - staleMs / over));
  return Math.round(state.weight * left * 100) / 100;
}

/**
 * The state with so much for the candidate, and its mirror only as the document says. It keeps its version, being no
 * decision of its own. Analyses do not count what is served by it: control without a candidate would be compared with
 * another time.
 */
export function unjudgedState(spec: RouteSpec, { state }: Standing, weight: number): RouteState {
  const matched = spec.strategy.canary?.control === 'matched';
  const { buckets } = withWeights(state, canaryWeights(weight, matched));
  return { ...state, buckets, mirror: mirrorOf(spec, 0), analysed: false };
}
