/**
 * Outlier ejection: a variant that fails several times in a row gets no traffic for a while, longer each time, and one
 * that has behaved for an interval is trusted a step more again. The last one left is never ejected: some answers are
 * better than none. Plain state and a clock that is passed in.
 */
export interface OutlierPolicy {
  consecutive5xx: number;
  /** Milliseconds. */
  baseEjection: number;
  maxEjection: number;
}

export interface OutlierState {
  failures: number;
  /** 0: not ejected. */
  ejectedUntil: number;
  /** In a row; a clean interval takes one back. */
  ejections: number;
  /** Failed since the last sweep. */
  failedLately: boolean;
}

/** One for each variant: none has failed. */
export function newOutlierStates(variants: number): OutlierState[] {
  return Array.from({ length: variants }, () => ({ failures: 0, ejectedUntil: 0, ejections: 0, failedLately: false }));
}

/** Takes in one outcome. True if the variant is ejected by it. */
export function reportOutcome(
  states: OutlierState[],
  variant: number,
  failed: boolean,
  now: number,
  policy: OutlierPolicy,
): boolean {
  const state = states[variant];
  if (!failed) {
    state.failures = 0;
    return false;
  }
  state.failures++;
  state.failedLately = true;
  if (state.ejectedUntil !== 0 || state.failures < policy.consecutive5xx || isLast(states, variant)) return false;
  state.ejections++;
  state.failures = 0;
  state.ejectedUntil = now + Math.min(policy.baseEjection * state.ejections, policy.maxEjection);
  return true;
}

/** Every interval: lets back in whose time is over. */
export function sweepOutliers(states: OutlierState[], now: number): void {
  for (const state of states) {
    if (state.ejectedUntil !== 0) {
      if (now >= state.ejectedUntil) state.ejectedUntil = 0;
    } else if (!state.failedLately && state.ejections > 0) state.ejections--;
    state.failedLately = false;
  }
}

function isLast(states: readonly OutlierState[], variant: number): boolean {
  return states.every((state, i) => i === variant || state.ejectedUntil !== 0);
}
