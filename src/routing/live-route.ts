import type { RouteSpec } from '../config/route-schema.ts';
import { assign, BUCKETS, decodeBuckets, encodeBuckets, reassign } from './buckets.ts';
import { type Shared, sharedPart } from './matchers.ts';
import { type LoadedPolicy, loadPolicy, type PolicySnapshot } from './policies/snapshot.ts';
import type { Variant } from './route-table.ts';

/**
 * The part of a route that changes while it runs. The control side makes RouteStates and publishes them; gateway
 * threads take them in whole. JSON as it is.
 */
export interface RouteState {
  /** Grows with each change; a decision names it. */
  version: number;
  /** Bucket assignment to the strategy's slots, in runs. */
  buckets: number[][];
  /** Share of requests that are shadowed. */
  mirror: number;
  /** Bandits. */
  policy?: PolicySnapshot;
  /** False while an experiment or rollout is over or invalid: nothing is analysed. */
  analysed: boolean;
}

/** Which part a bucket plays for the analysis. */
export type Role = 'stable' | 'control' | 'candidate' | 'arm';

export interface Slot {
  variant: number;
  role: Role;
}

/** A RouteState made ready for deciding. */
export interface LiveRoute {
  version: number;
  mirror: number;
  analysed: boolean;
  slots: Slot[];
  /** Of requests without a unit where those get the default, and of bandits that have nothing learnt to go by. */
  first: Slot;
  buckets: Uint8Array;
  /** Over variants: their shares of the buckets. */
  pmf: Float64Array;
  /** The same as a list that records share. */
  shares: readonly number[];
  policy: LoadedPolicy | undefined;
  /** Bandits: the variant of each arm. */
  arms: number[];
}

const GONE_SLOT = 255;

/** Weights of a canary's slots: a control slice as large as the candidate's, as long as stable has that much. */
export function canaryWeights(percent: number, matched: boolean): number[] {
  const control = matched ? Math.min(percent, 100 - percent) : 0;
  return [100 - percent - control, control, percent];
}

/** The state a route starts with. */
export function initialState(spec: RouteSpec): RouteState {
  return {
    version: 0,
    buckets: encodeBuckets(assign(initialWeights(spec))),
    mirror: spec.shadow?.sample ?? 0,
    analysed: true,
  };
}

function initialWeights({ strategy }: RouteSpec): number[] {
  if (strategy.canary) return [100, 0, 0];
  const weights = strategy.weighted ?? strategy.experiment?.split;
  return weights ? Object.values(weights) : [100];
}

/**
 * A successor with other weights (in the order of the slots), moving as few buckets as possible.
 * @param renamed where slots are others than the state's: the place each of its slots has now, −1 for none
 */
export function withWeights(state: RouteState, weights: readonly number[], renamed?: readonly number[]): RouteState {
  let old = decodeBuckets(state.buckets, 256) ?? assign(weights);
  // Of no slot that is left: all of them move.
  if (renamed !== undefined) old = old.map((slot) => (renamed[slot] >= 0 ? renamed[slot] : GONE_SLOT));
  return { ...state, version: state.version + 1, buckets: encodeBuckets(reassign(old, weights)) };
}

/** Undefined if the state does not fit the route, such as one from before its variants changed. */
export function takeState(
  spec: RouteSpec,
  variants: readonly Variant[],
  state: RouteState | undefined,
  shared: Shared,
): LiveRoute | undefined {
  if (state === undefined) return undefined;
  const found = slotsOf(spec, variants);
  const slots = sharedPart(shared, 'slots', found, () => found);
  const buckets = sharedPart(shared, 'buckets', [slots.length, state.buckets], () =>
    decodeBuckets(state.buckets, slots.length),
  );
  if (buckets === undefined) return undefined;
  const arms = spec.strategy.bandit?.arms ?? [];
  const policy = state.policy;
  if (policy !== undefined && policy.arms.join() !== arms.join()) return undefined;
  const pmf = new Float64Array(variants.length);
  for (const slot of buckets) pmf[slots[slot].variant]++;
  for (let i = 0; i < pmf.length; i++) pmf[i] /= BUCKETS;
  return {
    version: state.version,
    mirror: state.mirror,
    analysed: state.analysed,
    slots,
    first: spec.strategy.weighted === undefined ? slots[0] : firstNamed(slots),
    buckets,
    pmf,
    shares: Array.from(pmf),
    policy: policy === undefined ? undefined : loadPolicy(policy),
    arms: arms.map((arm) => variants.findIndex(({ name }) => name === arm)),
  };
}

/** A split's slots have an order of their own; its default is what the document names first. */
function firstNamed(slots: readonly Slot[]): Slot {
  return slots.reduce((first, slot) => (slot.variant < first.variant ? slot : first));
}

/** What buckets are assigned to, in the order their numbers mean. */
export function slotsOf({ strategy }: RouteSpec, variants: readonly Variant[]): Slot[] {
  const index = (name: string) => variants.findIndex((variant) => variant.name === name);
  const { canary, bandit } = strategy;
  if (canary) {
    return [
      { variant: index(canary.stable), role: 'stable' },
      { variant: index(canary.stable), role: 'control' },
      { variant: index(canary.candidate), role: 'candidate' },
    ];
  }
  if (bandit) return [{ variant: index(bandit.default ?? bandit.arms[0]), role: 'arm' }];
  return Object.keys(strategy.weighted ?? strategy.experiment?.split ?? {}).map((name) => ({
    variant: index(name),
    role: 'arm',
  }));
}
