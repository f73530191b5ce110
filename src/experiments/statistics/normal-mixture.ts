import { logNormalCdf } from './normal.ts';
import { bisect } from './root.ts';

/**
 * Robbins' normal mixtures: for a sum S with intrinsic time V, exp(logMixture) is a supermartingale, so that
 * P(S ever exceeds the bound) ≤ α. `rho` tunes where the bound is tightest.
 */

/** The ρ that makes the two-sided bound tightest at intrinsic time `vOpt`. */
export function mixtureRho(vOpt: number, alpha = 0.05): number {
  const log = 2 * Math.log(1 / alpha);
  return vOpt / (log + Math.log1p(log));
}

/** ln √(ρ / (v + ρ)) + s² / 2(v + ρ): the two-sided mixture (Robbins 1970; Howard et al. 2021). */
export function logNormalMixture(s: number, v: number, rho: number): number {
  return 0.5 * Math.log(rho / (v + rho)) + (s * s) / (2 * (v + rho));
}

/** The two-sided bound at intrinsic time v: |S| ever exceeds it with probability α at most. */
export function normalMixtureBound(v: number, alpha: number, rho: number): number {
  return Math.sqrt((v + rho) * (Math.log1p(v / rho) + 2 * Math.log(1 / alpha)));
}

/** One-sided: takes `mixtureRho(vOpt, 2 * alpha)`. */
export function logOneSidedNormalMixture(s: number, v: number, rho: number): number {
  return 0.5 * Math.log((4 * rho) / (v + rho)) + (s * s) / (2 * (v + rho)) + logNormalCdf(s / Math.sqrt(v + rho));
}

/** The bound of S alone, upwards; found by bisection. Takes `mixtureRho(vOpt, 2 * alpha)`. */
export function oneSidedNormalMixtureBound(v: number, alpha: number, rho: number): number {
  const threshold = Math.log(1 / alpha);
  return bisect(0, 2 * normalMixtureBound(v, alpha, rho) + 1, (s) => logOneSidedNormalMixture(s, v, rho) < threshold);
}
