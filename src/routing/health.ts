import type { RouteSpec } from '../config/route-schema.ts';
import {
  type CircuitPolicy,
  type CircuitState,
  circuitAllows,
  circuitEnded,
  circuitForgotten,
  circuitStarted,
  isClosed,
  newCircuit,
} from './circuit.ts';
import { newOutlierStates, type OutlierPolicy, type OutlierState, reportOutcome, sweepOutliers } from './outlier.ts';

/**
 * Which variants of a route may be served now. One per route and gateway thread. The caller reports every request's
 * start and end; `eligible` is what deciding asks.
 */
export interface RouteHealth {
  outlier: OutlierPolicy | undefined;
  circuit: CircuitPolicy | undefined;
  outliers: OutlierState[];
  circuits: CircuitState[];
  /** All variants, as a mask. */
  all: number;
  /** Nothing is ejected, open or full: deciding need not look further. */
  calm: boolean;
  /** Something failed, or is ejected or has been lately: there is something to sweep. */
  failing: boolean;
}

/** A variant is served by another version from now on, which is not to blame for what was. What is in flight still ends. */
export function renewVariant(health: RouteHealth, variant: number): void {
  health.outliers[variant] = newOutlierStates(1)[0];
  health.circuits[variant] = { ...newCircuit(), inFlight: health.circuits[variant].inFlight };
  health.calm = false;
}

/** Of a route whose variants have all been well so far. @param variants 32 at most: they are bits of masks */
export function newHealth(spec: RouteSpec['resilience'], variants: number): RouteHealth {
  return {
    outlier: spec.outlier,
    circuit: spec.circuitBreaker,
    outliers: newOutlierStates(variants),
    circuits: Array.from({ length: variants }, newCircuit),
    all: variants === 32 ? 0xffffffff : 2 ** variants - 1,
    calm: true,
    failing: false,
  };
}

/** A mask of the variants that may be served. */
export function eligible(health: RouteHealth, now: number): number {
  if (health.calm) return health.all;
  let mask = 0;
  for (let i = 0; i < health.outliers.length; i++) {
    if (health.outliers[i].ejectedUntil !== 0) continue;
    if (health.circuit !== undefined && !circuitAllows(health.circuits[i], now, health.circuit)) continue;
    mask |= 1 << i;
  }
  health.calm = mask >>> 0 === health.all && health.circuits.every(isClosed);
  return mask >>> 0;
}

/** Whether a variant's circuit is open or full: it is not asked then, even if nobody can answer in its place. */
export function isBlocked({ circuit, circuits }: RouteHealth, variant: number, now: number): boolean {
  return circuit !== undefined && !circuitAllows(circuits[variant], now, circuit);
}

/** A request goes to a variant: to be told before its end, which `requestEnded` takes. */
export function requestStarted(health: RouteHealth, variant: number): void {
  if (health.circuit === undefined) return;
  circuitStarted(health.circuits[variant]);
  if (health.circuits[variant].inFlight === health.circuit.maxInFlight) health.calm = false;
}

/** How a request ended: `failed` for 5xx and timeouts, `forgotten` for what says nothing about the variant. */
export function requestEnded(
  health: RouteHealth,
  variant: number,
  outcome: 'ok' | 'failed' | 'forgotten',
  now: number,
): void {
  if (outcome === 'forgotten') {
    if (health.circuit !== undefined) circuitForgotten(health.circuits[variant]);
    return;
  }
  const failed = outcome === 'failed';
  if (failed) {
    health.calm = false;
    health.failing = true;
  }
  if (health.outlier !== undefined) reportOutcome(health.outliers, variant, failed, now, health.outlier);
  if (health.circuit !== undefined) circuitEnded(health.circuits[variant], failed, now, health.circuit);
}

/** Every `outlier.interval`. */
export function sweepHealth(health: RouteHealth, now: number): void {
  if (!health.failing) return;
  sweepOutliers(health.outliers, now);
  health.failing = health.outliers.some(({ ejectedUntil, ejections }) => ejectedUntil !== 0 || ejections > 0);
}
