import { createHash } from 'node:crypto';
import type { RouteSpec, VariantSpec } from '../../config/route-schema.ts';
import type { RatioEvidence } from '../../experiments/statistics/sample-ratio.ts';
import { initialState, type RouteState, slotsOf, takeState, withWeights } from '../../routing/live-route.ts';
import { newShared } from '../../routing/matchers.ts';
import { NO_EPOCH, type Totals } from '../../routing/policies/statistics.ts';
import type { EncodedContribution } from './contribution.ts';

/**
 * Where a route stands: what its controller decided so far. Kept in the database, and with several gateways published
 * by their leader. JSON as it is.
 */
export interface Standing {
  /** Of what is counted: the strategy and what its variants are, and which beginning of it. Other counts start over. */
  print: string;
  state: RouteState;
  /** The variant of each slot that the state's buckets are of. Absent in what an earlier version of the program kept. */
  slots?: string[];
  /** Bandits: what is folded so far. */
  totals?: Totals;
  /** Bandits and experiments: the versions that arms are measured on, '' for none yet. */
  versions?: Record<string, string>;
  /** Bandits: the models that these versions are of. Absent in what an earlier version of the program kept. */
  models?: Record<string, string>;
  /** Canaries: the last commands that were carried out, by their ids in Redis. */
  commands?: string[];
  /** Experiments: why they began anew, the newest last. */
  history?: { at: number; message: string }[];
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

/**
 * Equal for strategies that may go on where the other stood. Bandits may on other versions: their arms' past counts for
 * less then. What an experiment has measured is of the versions it names.
 */
export function strategyPrint({ strategy, variants }: RouteSpec): string {
  const { weighted, experiment, canary, bandit } = strategy;
  const kept =
    weighted !== undefined
      ? 'weighted'
      : experiment !== undefined
        ? {
            experiment: { ...experiment, split: Object.keys(experiment.split) },
            served: Object.keys(experiment.split).map((arm) => servedBy(variants[arm])),
          }
        : bandit !== undefined
          ? { arms: bandit.arms, dim: bandit.context?.dim ?? 0, range: bandit.reward.range }
          : canary !== undefined && { canary, stable: variants[canary.stable], candidate: variants[canary.candidate] };
  const print = createHash('sha256').update(JSON.stringify(kept)).digest('base64url').slice(0, 16);
  return bandit === undefined ? print : `${print}${EPOCHS}${bandit.refresh}`;
}

function servedBy({ model, version, alias }: VariantSpec): (string | undefined)[] {
  return [model, version, alias];
}

/** The print of the same strategy that begins anew. Never given twice for a route, whose state's version only grows. */
export function printAnew(print: string, stateVersion: number): string {
  return `${strategyOf(print)}${ANEW}${stateVersion}`;
}

/** Whether two prints are of the same strategy, whichever beginning of it. */
export function sameStrategy(a: string, b: string): boolean {
  return strategyOf(a) === strategyOf(b);
}

/** Are no digits of a print. */
const ANEW = '.';
/** Before the length of a bandit's epochs: what is counted by others is not put together. */
const EPOCHS = '/';

function strategyOf(print: string): string {
  return print.split(ANEW)[0];
}

/**
 * How a route goes on after it was loaded: where it stood, if that still fits, and with the weights it has now. Whatever
 * starts over, users stay with their variants as far as its share allows.
 */
export function resume(spec: RouteSpec, before: Standing | undefined): Standing {
  const print = strategyPrint(spec);
  const variants = Object.entries(spec.variants).map(([name, variant]) => ({ name, ...variant }));
  const slots = slotsOf(spec, variants).map(({ variant }) => variants[variant].name);
  const fresh = initialState(spec);
  if (before === undefined) return { print, state: fresh, slots };
  // Decisions name the version: it goes on growing, whatever else starts over.
  const version = before.state.version + 1;
  const weights = spec.strategy.weighted ?? spec.strategy.experiment?.split;
  const shared = weights === undefined ? undefined : sameShares(before, slots, Object.values(weights));
  const state = shared ?? before.state;
  if (!sameStrategy(before.print, print) || takeState(spec, variants, state, newShared()) === undefined) {
    const anew: Standing = { print, state: { ...fresh, version, buckets: shared?.buckets ?? fresh.buckets }, slots };
    if (before.commands !== undefined) anew.commands = before.commands;
    return learntSoFar(before, anew);
  }
  // A canary's own mirror stays while it is in force.
  const rollout = before.rollout as { state: { mirror: number } } | undefined;
  const mirror = (rollout?.state.mirror ?? 0) > 0 ? before.state.mirror : fresh.mirror;
  return { ...before, slots, state: mirror === state.mirror ? state : { ...state, version, mirror } };
}

/** What a bandit has learnt goes on with epochs of another length, but for what is not in the totals yet. */
function learntSoFar(before: Standing, anew: Standing): Standing {
  const { totals, versions, models } = before;
  const learns = ({ print }: Standing): string => strategyOf(print).split(EPOCHS)[0];
  if (totals === undefined || learns(before) !== learns(anew)) return anew;
  const state = { ...anew.state, policy: before.state.policy };
  return { ...anew, state, totals: { epoch: NO_EPOCH, arms: totals.arms, folded: {} }, versions, models };
}

/** The state with the shares as they are now; the same one if nobody moves. Undefined: it is not told whose they were. */
function sameShares(before: Standing, slots: readonly string[], weights: readonly number[]): RouteState | undefined {
  const { state } = before;
  if (before.slots === undefined) return undefined;
  const renamed = before.slots.join('\n') !== slots.join('\n');
  const next = withWeights(state, weights, renamed ? before.slots.map((name) => slots.indexOf(name)) : undefined);
  return renamed || JSON.stringify(next.buckets) !== JSON.stringify(state.buckets) ? next : state;
}
