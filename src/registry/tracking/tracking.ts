import type { RegistryDatabase } from '../database/database.ts';
import type { RegistryEvents } from '../events.ts';
import type { RestRoute } from '../rest/route.ts';
import { experimentRoutes } from './experiments.ts';

/** What the tracking half works with. */
export interface TrackingContext {
  database: RegistryDatabase;
  events: RegistryEvents;
  /** Milliseconds since 1970. */
  now(): number;
}

export interface Tracking {
  routes: readonly RestRoute[];
}

export function createTracking(context: TrackingContext): Tracking {
  return { routes: [...experimentRoutes(context)] };
}
