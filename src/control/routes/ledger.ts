import {
  addEncoded,
  addHistogram,
  encodeHistogram,
  newHistogram,
} from '../../experiments/statistics/latency-histogram.ts';
import type { RouteActivity, ShadowActivity, SliceActivity } from '../../gateway/route-activity.ts';

/** What a slice of a route's traffic did so far. Only grows. */
export interface SliceSums extends Omit<SliceActivity, 'route' | 'latency'> {
  latency: Float64Array;
}

export type ShadowSums = Omit<ShadowActivity, 'route'>;

/** A route's sums. Those of several nodes, and of before and after a restart, add up. */
export interface RouteSums {
  slices: Map<string, SliceSums>;
  shadows: Map<string, ShadowSums>;
}

/** JSON as it is. */
export interface EncodedSums {
  slices: Omit<SliceActivity, 'route'>[];
  shadows: ShadowSums[];
}

/** Mismatches kept per shadowed version, the newest. */
const MAX_EXAMPLES = 20;
const NO_REQUESTS = { requests: 0, errors: 0, clientErrors: 0, sheds: 0, cancelled: 0, fallbacks: 0 };
/** Versions of a variant that are told apart; the traffic of further ones is summed up as version ''. */
const MAX_SLICES = 256;
const MAX_SHADOWS = 64;

export function noRouteSums(): RouteSums {
  return { slices: new Map(), shadows: new Map() };
}

/** Everything that gateway threads reported, by route. */
export class Ledger {
  private readonly routes = new Map<string, RouteSums>();

  of(route: string): RouteSums {
    let sums = this.routes.get(route);
    if (sums === undefined) {
      sums = noRouteSums();
      this.routes.set(route, sums);
    }
    return sums;
  }

  /** Of routes that are known; what a thread reports of one that is gone is left out. */
  add({ slices, shadows }: RouteActivity): void {
    for (const { route, ...slice } of slices) {
      const sums = this.routes.get(route);
      if (sums !== undefined) addSlice(sums, slice);
    }
    for (const { route, ...shadow } of shadows) {
      const sums = this.routes.get(route);
      if (sums !== undefined) addShadow(sums, shadow);
    }
  }

  set(route: string, sums: RouteSums): void {
    this.routes.set(route, sums);
  }

  /** Forgets the routes that are not in `names`. */
  keepOnly(names: ReadonlySet<string>): void {
    for (const route of this.routes.keys()) if (!names.has(route)) this.routes.delete(route);
    for (const name of names) this.of(name);
  }
}

export function addSums(into: RouteSums, other: RouteSums): void {
  for (const slice of other.slices.values()) addSlice(into, slice);
  for (const shadow of other.shadows.values()) addShadow(into, shadow);
}

/** Latencies come as they are, or encoded: added in place then, without a histogram of their own in between. */
function addSlice({ slices }: RouteSums, slice: SliceSums | Omit<SliceActivity, 'route'>): void {
  // Sums that were kept by an earlier version of the program do not say.
  const assigned = slice.assigned ?? slice.variant;
  const assignedVersion = slice.assignedVersion ?? (assigned === slice.variant ? slice.version : '');
  const { variant, role, analysed } = slice;
  const key = (version: string, assignedVersion: string) =>
    `${variant}\n${assigned}\n${version}\n${assignedVersion}\n${role}\n${analysed}`;
  let found = slices.get(key(slice.version, assignedVersion));
  if (found === undefined) {
    const versions =
      slices.size < MAX_SLICES ? { version: slice.version, assignedVersion } : { version: '', assignedVersion: '' };
    const where = key(versions.version, versions.assignedVersion);
    found = slices.get(where);
    if (found === undefined) {
      found = { ...slice, assigned, ...versions, ...NO_REQUESTS, latency: newHistogram() };
      slices.set(where, found);
    }
  }
  found.requests += slice.requests;
  found.errors += slice.errors;
  found.clientErrors += slice.clientErrors;
  found.sheds += slice.sheds;
  found.cancelled += slice.cancelled;
  found.fallbacks += slice.fallbacks;
  if (slice.latency instanceof Float64Array) addHistogram(found.latency, slice.latency);
  else addEncoded(found.latency, slice.latency);
}

function addShadow({ shadows }: RouteSums, shadow: ShadowSums): void {
  // Sums that were kept by an earlier version of the program do not say.
  const { model = '' } = shadow;
  const key = (version: string) => shadowKey(shadow.variant, { model, version });
  let version = shadow.version ?? '';
  if (!shadows.has(key(version)) && shadows.size >= MAX_SHADOWS) version = '';
  const found = shadows.get(key(version));
  if (found === undefined) {
    shadows.set(key(version), { ...shadow, model, version, examples: shadow.examples.slice(-MAX_EXAMPLES) });
    return;
  }
  found.match += shadow.match;
  found.mismatch += shadow.mismatch;
  found.failed += shadow.failed;
  found.dropped += shadow.dropped;
  found.uncompared += shadow.uncompared;
  found.examples = [...found.examples, ...shadow.examples].slice(-MAX_EXAMPLES);
}

export function encodeSums({ slices, shadows }: RouteSums): EncodedSums {
  return {
    slices: [...slices.values()].map(({ latency, ...slice }) => ({ ...slice, latency: encodeHistogram(latency) })),
    shadows: [...shadows.values()],
  };
}

export function decodeSums({ slices, shadows }: EncodedSums): RouteSums {
  const sums = noRouteSums();
  for (const slice of slices) addSlice(sums, slice);
  for (const shadow of shadows) addShadow(sums, shadow);
  return sums;
}

/** What a variant is served by: the same number may be a version of another model. */
export interface ServedVersion {
  model: string;
  version: string;
}

function shadowKey(variant: string, { model, version }: ServedVersion): string {
  return `${variant}\n${model}\n${version}`;
}

/** Whether a variant, in any version, got copies of requests. */
export function hasShadow({ shadows }: RouteSums, variant: string): boolean {
  for (const shadow of shadows.values()) if (shadow.variant === variant) return true;
  return false;
}

/** What copies to a version of a variant came to. */
export function shadowOf({ shadows }: RouteSums, variant: string, served: ServedVersion): ShadowSums {
  const none = { match: 0, mismatch: 0, failed: 0, dropped: 0, uncompared: 0, examples: [] };
  return shadows.get(shadowKey(variant, served)) ?? { variant, ...served, ...none };
}

/** Sums of the slices that fit, as one. Undefined if none does. */
export function sliceOf(sums: RouteSums, fits: (slice: SliceSums) => boolean): SliceSums | undefined {
  let all: SliceSums | undefined;
  for (const slice of sums.slices.values()) {
    if (!fits(slice)) continue;
    if (all === undefined) {
      all = { ...slice, latency: slice.latency.slice() };
      continue;
    }
    all.requests += slice.requests;
    all.errors += slice.errors;
    all.clientErrors += slice.clientErrors;
    all.sheds += slice.sheds;
    all.cancelled += slice.cancelled;
    all.fallbacks += slice.fallbacks;
    addHistogram(all.latency, slice.latency);
  }
  return all;
}
