import { BUCKETS, bucketOf } from './buckets.ts';
import { eligible, isBlocked } from './health.ts';
import type { Role } from './live-route.ts';
import { matches, type RequestView } from './matchers.ts';
import { draw } from './policies/distribution.ts';
import { hashFeatures } from './policies/features.ts';
import { policyPmf } from './policies/snapshot.ts';
import { type CompiledRoute, candidates, type RouteTable } from './route-table.ts';
import { unitHash, unitOf } from './unit.ts';

/**
 * Why a request is served by another variant than it was assigned, by no policy, or (circuitOpen) by nobody. '' = none
 * of them.
 */
export type Detour = '' | 'ejected' | 'circuitOpen' | 'noSnapshot' | 'staleSnapshot' | 'apprentice';

/**
 * What was decided, and all that a decision record says of why. One object per thread is reused: copy what outlives
 * the request, arrays above all. Variants and slots are indexes into the route's.
 */
export interface Decision {
  route: CompiledRoute | undefined;
  assigned: number;
  served: number;
  role: Role;
  /** May be counted by analyses. */
  analysed: boolean;
  /** Index of the override that decided; −1: none. */
  override: number;
  /** −1: no bucket was involved. */
  bucket: number;
  /** 32 bits of what sticks to a variant; −1: no unit was involved. */
  unitHash: number;
  /** Mask of the variants that could be served. */
  eligible: number;
  /** Over variants: the distribution `assigned` was drawn from. Shared with the route: read only. */
  pmf: Float64Array;
  /** Apprentice mode: the arm the policy would have served, as a variant, and its distribution; else −1. */
  proposed: number;
  proposedPmf: Float64Array;
  /** Of the route's state, and of the policy's snapshot (−1: none). */
  stateVersion: number;
  snapshotVersion: number;
  /** Contextual bandits: what the reward will be learnt with. Empty otherwise. */
  context: Float64Array;
  detour: Detour;
  /** Variant that gets a copy; −1: none. */
  shadow: number;
}

const NOTHING = new Float64Array(0);

/** One that says nothing yet, for `decide` to fill again and again. */
export function newDecision(): Decision {
  return {
    route: undefined,
    assigned: -1,
    served: -1,
    role: 'arm',
    analysed: false,
    override: -1,
    bucket: -1,
    unitHash: -1,
    eligible: 0,
    pmf: NOTHING,
    proposed: -1,
    proposedPmf: NOTHING,
    stateVersion: 0,
    snapshotVersion: -1,
    context: NOTHING,
    detour: '',
    shadow: -1,
  };
}

export interface Surroundings {
  /** Uniform in [0, 1). */
  random(): number;
  /** monotonicMs(), for ejections and circuits. */
  now(): number;
  /** steadyTime() of the control thread, for the age of snapshots. */
  steadyClock(): number;
}

/** A snapshot older than this many refresh periods is not decided by any more. */
const STALE_PERIODS = 10;

/** Fills `out`. False if no route matches; the request then goes to the model it names. */
export function decide(table: RouteTable, request: RequestView, around: Surroundings, out: Decision): boolean {
  const list = candidates(table, request);
  for (let i = 0; i < list.length; i++) {
    if (!matchesAny(list[i], request)) continue;
    decideRoute(list[i], request, around, out);
    return true;
  }
  out.route = undefined;
  return false;
}

function matchesAny({ matchers }: CompiledRoute, request: RequestView): boolean {
  for (let i = 0; i < matchers.length; i++) if (matches(matchers[i], request)) return true;
  return false;
}

function decideRoute(route: CompiledRoute, request: RequestView, around: Surroundings, out: Decision): void {
  const { live } = route;
  out.route = route;
  out.eligible = route.health.calm ? route.health.all : eligible(route.health, around.now());
  out.override = -1;
  out.bucket = -1;
  out.unitHash = -1;
  out.proposed = -1;
  out.snapshotVersion = -1;
  out.stateVersion = live.version;
  out.context = NOTHING;
  out.detour = '';
  out.shadow = -1;
  out.analysed = live.analysed;
  out.pmf = live.pmf;
  if (!applyOverride(route, request, out)) {
    out.unitHash = unitHash(route.unitSources, request, route.seed);
    if (route.bandit) drawArm(route, request, around, out);
    else takeBucket(route, around, out);
  }
  const { assigned } = out;
  out.served = available(route, assigned, out.eligible);
  if (out.served !== assigned) out.detour = 'ejected';
  else if ((out.eligible & (1 << assigned)) === 0 && isBlocked(route.health, assigned, around.now())) {
    out.detour = 'circuitOpen';
    return;
  }
  if (live.mirror > 0 && route.shadowVariant !== out.served && route.shadowVariant >= 0) {
    if (around.random() < live.mirror) out.shadow = route.shadowVariant;
  }
}

function applyOverride(route: CompiledRoute, request: RequestView, out: Decision): boolean {
  const { overrides } = route;
  for (let i = 0; i < overrides.length; i++) {
    const { matcher, units, variant, analysed } = overrides[i];
    if (units !== undefined) {
      const unit = unitOf(route.unitSources, request);
      if (unit === undefined || !units.has(unit)) continue;
    }
    if (!matches(matcher, request)) continue;
    out.override = i;
    out.role = 'arm';
    out.analysed &&= analysed;
    assignForSure(route, variant, out);
    return true;
  }
  return false;
}

function takeBucket(route: CompiledRoute, around: Surroundings, out: Decision): void {
  const { live } = route;
  if (out.unitHash >= 0) {
    out.bucket = bucketOf(out.unitHash);
  } else if (route.onMissing === 'default') {
    out.role = live.first.role;
    out.analysed = false;
    assignForSure(route, live.first.variant, out);
    return;
  } else {
    out.bucket = Math.floor(around.random() * BUCKETS);
    if (route.onMissing === 'randomUnanalysed') out.analysed = false;
  }
  const slot = live.slots[live.buckets[out.bucket]];
  out.assigned = slot.variant;
  out.role = slot.role;
}

/** Scratch of the thread: distributions over variants. */
let conditional = new Float64Array(0);
let certain = new Float64Array(0);
const contexts = new Map<number, Float64Array>();

/** Arms are drawn for each request: a unit sticks to none. It is on record, for what counts units. */
function drawArm(route: CompiledRoute, request: RequestView, around: Surroundings, out: Decision): void {
  const { live, variants } = route;
  const bandit = route.bandit!;
  const fallback = live.first.variant;
  out.role = 'arm';
  if (out.unitHash < 0 && route.onMissing !== 'random') {
    out.analysed = false;
    if (route.onMissing === 'default') {
      assignForSure(route, fallback, out);
      return;
    }
  }
  if (conditional.length !== variants.length) conditional = new Float64Array(variants.length);
  const { policy } = live;
  const stale =
    policy !== undefined && around.steadyClock() - policy.snapshot.createdAt > STALE_PERIODS * bandit.refresh;
  if (policy === undefined || stale) {
    out.detour = stale ? 'staleSnapshot' : 'noSnapshot';
    assignForSure(route, fallback, out);
    return;
  }
  out.snapshotVersion = policy.snapshot.version;
  if (bandit.context) out.context = hashFeatures(bandit.context, request, contextOf(bandit.context.dim));
  const pmf = policyPmf(policy, bandit.context ? out.context : undefined);
  if (!restrictToVariants(pmf, live.arms, out.eligible)) {
    assignForSure(route, fallback, out);
    return;
  }
  const drawn = draw(conditional, around.random());
  if (bandit.mode === 'apprentice') {
    out.proposed = drawn;
    out.proposedPmf = conditional;
    out.detour = 'apprentice';
    assignForSure(route, fallback, out);
    return;
  }
  out.pmf = conditional;
  out.assigned = drawn;
}

/** Nothing is drawn: the variant's propensity is 1, and the record says so. */
function assignForSure({ variants }: CompiledRoute, variant: number, out: Decision): void {
  if (certain.length !== variants.length) certain = new Float64Array(variants.length);
  else certain.fill(0);
  certain[variant] = 1;
  out.pmf = certain;
  out.assigned = variant;
}

/** `conditional` = the arms' distribution over variants, given who may be served. False if nobody has a share. */
function restrictToVariants(pmf: Float64Array, arms: readonly number[], mask: number): boolean {
  conditional.fill(0);
  let mass = 0;
  for (let k = 0; k < arms.length; k++) {
    if ((mask & (1 << arms[k])) === 0) continue;
    conditional[arms[k]] = pmf[k];
    mass += pmf[k];
  }
  if (mass <= 0) return false;
  if (mass !== 1) for (let k = 0; k < arms.length; k++) conditional[arms[k]] /= mass;
  return true;
}

function contextOf(dim: number): Float64Array {
  let x = contexts.get(dim);
  if (x === undefined) {
    x = new Float64Array(dim);
    contexts.set(dim, x);
  }
  return x;
}

/**
 * The assigned variant, or the first of its fallbacks that may be served. With none, the assigned one has to try, unless
 * its circuit is open: too many failures in a row are no reason to answer nobody, a full variant is.
 */
function available(route: CompiledRoute, assigned: number, mask: number): number {
  if ((mask & (1 << assigned)) !== 0 || !route.fallbackOn.has('ejected')) return assigned;
  return nextFallback(route, assigned, mask, 0);
}

/**
 * The next variant to try after those in `tried` (a mask) failed, or `assigned` itself if there is none left. For
 * retries too: the caller asks `route.fallbackOn` first, and the retry budget.
 */
export function nextFallback(route: CompiledRoute, assigned: number, mask: number, tried: number): number {
  const chain = route.fallbacks[assigned];
  for (let i = 0; i < chain.length; i++) {
    const bit = 1 << chain[i];
    if ((mask & bit) !== 0 && (tried & bit) === 0) return chain[i];
  }
  return assigned;
}
