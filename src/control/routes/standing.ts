import { createHash } from 'node:crypto';
import type { RouteSpec } from '../../config/route-schema.ts';
import type { RatioEvidence } from '../../experiments/statistics/sample-ratio.ts';
import { initialState, type RouteState, takeState, withWeights } from '../../routing/live-route.ts';
import { newShared } from '../../routing/matchers.ts';
import type { Totals } from '../../routing/policies/statistics.ts';
import type { EncodedContribution } from './contribution.ts';

/**
 * Where a route stands: what its controller decided so far. Kept in the database, and with several gateways published
 * by their leader. JSON as it is.
 */
export interface Standing {
  /** Of the strategy and what its variants are; another one starts over. */
  print: string;
  state: RouteState;
  /** Bandits: what is folded so far, and the versions it was learnt on. */
  totals?: Totals;
  versions?: Record<string, string>;
  /** Experiments: evidence against the planned shares, and from which counts on requests are counted. */
  ratio?: { evidence: RatioEvidence; weights: number[]; from: number[] };
  /** Experiments by mSPRT: control's size when its mixture was fixed, and each arm's p-value so far. */
  msprt?: { scale: number; p: Record<string, number> };
  /** Experiments: guardrails that are violated as of the last look, by arm and metric. */
  violated?: string[];
  /** Experiments: why the results count no more. */
  invalid?: string;
  /** Canaries: as src/experiments/rollout keeps it. */
  rollout?: unknown;
  /** What was counted before this process: of a gateway that shares nothing. */
  before?: EncodedContribution;
}

/** Equal for strategies that may go on where the other stood. */
export function strategyPrint({ strategy, variants }: RouteSpec): string {
  const { weighted, experiment, canary, bandit } = strategy;
  const kept =
    weighted !== undefined
      ? { weighted: Object.keys(weighted) }
      : experiment !== undefined
        ? { experiment: { ...experiment, split: Object.keys(experiment.split) } }
        : bandit !== undefined
          ? { arms: bandit.arms, dim: bandit.context?.dim ?? 0, range: bandit.reward.range }
          : { canary, variants };
  return createHash('sha256').update(JSON.stringify(kept)).digest('base64url').slice(0, 16);
}

/** How a route goes on after it was loaded: where it stood, if that still fits, and with the weights it has now. */
export function resume(spec: RouteSpec, before: Standing | undefined): Standing {
  const print = strategyPrint(spec);
  const variants = Object.entries(spec.variants).map(([name, variant]) => ({ name, ...variant }));
  const fresh = initialState(spec);
  if (before === undefined) return { print, state: fresh };
  // Decisions name the version: it goes on growing, whatever else starts over.
  const version = before.state.version + 1;
  if (before.print !== print || takeState(spec, variants, before.state, newShared()) === undefined)
    return { print, state: { ...fresh, version } };
  const weights = spec.strategy.weighted ?? spec.strategy.experiment?.split;
  // A canary's own mirror stays while it is in force.
  const rollout = before.rollout as { state: { mirror: number } } | undefined;
  const mirror = (rollout?.state.mirror ?? 0) > 0 ? before.state.mirror : fresh.mirror;
  const state = weights === undefined ? before.state : sameShares(before.state, Object.values(weights));
  return { ...before, state: mirror === state.mirror ? state : { ...state, version, mirror } };
}

function sameShares(state: RouteState, weights: readonly number[]): RouteState {
  const next = withWeights(state, weights);
  return JSON.stringify(next.buckets) === JSON.stringify(state.buckets) ? state : next;
}
