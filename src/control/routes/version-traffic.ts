import type { RouteActivity } from '../../gateway/route-activity.ts';

/** How often a route decided for a version, since this process began. Times are milliseconds since 1970. */
export interface DecisionCount {
  route: string;
  variant: string;
  model: string;
  version: string;
  role: string;
  requests: number;
  errors: number;
  first_at: number;
  last_at: number;
}

/** A version that a route's variant is served by now. */
export interface RouteTarget {
  route: string;
  variant: string;
  model: string;
  version: string;
}

/** Combinations told apart; the traffic of further ones is not counted here. */
const MAX_COUNTS = 10_000;

/** Counts decisions by version, for the registry's lineage: what a version's traffic came from, and how it went. */
export class VersionTraffic {
  private readonly counts = new Map<string, DecisionCount>();

  /** @param modelOf the model of a route's variant; undefined: the route is gone. */
  add({ slices }: RouteActivity, modelOf: (route: string, variant: string) => string | undefined, now: number): void {
    for (const { route, variant, version, role, requests, errors } of slices) {
      const model = modelOf(route, variant);
      if (model === undefined || version === '') continue;
      const key = JSON.stringify([route, variant, model, version, role]);
      const found = this.counts.get(key);
      if (found !== undefined) {
        found.requests += requests;
        found.errors += errors;
        found.last_at = now;
      } else if (this.counts.size < MAX_COUNTS) {
        this.counts.set(key, { route, variant, model, version, role, requests, errors, first_at: now, last_at: now });
      }
    }
  }

  list(): DecisionCount[] {
    return [...this.counts.values()];
  }
}
