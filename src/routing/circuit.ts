/**
 * A circuit breaker by failure ratio: open when too large a share of the last window's requests failed, then one trial
 * request at a time, closed again by a success. Plain state and a clock that is passed in.
 */
export interface CircuitPolicy {
  failureRatio: number;
  /** Milliseconds. */
  window: number;
  minRequests: number;
  open: number;
  maxInFlight?: number;
}

const CLOSED = 0;
const OPEN = 1;
/** Waits for its one trial request to be started. */
const TRIAL = 2;
/** The trial request is under way. */
const TRYING = 3;
const PARTS = 10;

export interface CircuitState {
  phase: typeof CLOSED | typeof OPEN | typeof TRIAL | typeof TRYING;
  openUntil: number;
  inFlight: number;
  /** The window in ten parts, each forgotten as a whole. */
  requests: Float64Array;
  failures: Float64Array;
  part: number;
}

/** A closed one: nothing has failed. */
export function newCircuit(): CircuitState {
  return {
    phase: CLOSED,
    openUntil: 0,
    inFlight: 0,
    requests: new Float64Array(PARTS),
    failures: new Float64Array(PARTS),
    part: 0,
  };
}

/**
 * Whether a request may go through now, in milliseconds of the caller's clock. An open circuit whose time is over becomes
 * ready for its trial.
 */
export function circuitAllows(state: CircuitState, now: number, policy: CircuitPolicy): boolean {
  if (policy.maxInFlight !== undefined && state.inFlight >= policy.maxInFlight) return false;
  if (state.phase === OPEN && now >= state.openUntil) state.phase = TRIAL;
  return state.phase === CLOSED || state.phase === TRIAL;
}

/** Neither open nor on trial. */
export function isClosed(state: CircuitState): boolean {
  return state.phase === CLOSED;
}

/** A request goes through: `circuitEnded` or `circuitForgotten` must follow. */
export function circuitStarted(state: CircuitState): void {
  state.inFlight++;
  if (state.phase === TRIAL) state.phase = TRYING;
}

/** Takes in how a request ended, `now` in milliseconds; opens or closes the circuit by it. */
export function circuitEnded(state: CircuitState, failed: boolean, now: number, policy: CircuitPolicy): void {
  state.inFlight--;
  if (state.phase === TRYING) {
    if (failed) trip(state, now, policy);
    else reset(state);
    return;
  }
  // What was under way when it opened says nothing new.
  if (state.phase !== CLOSED) return;
  advance(state, now, policy);
  const part = state.part % PARTS;
  state.requests[part]++;
  if (!failed) return;
  state.failures[part]++;
  const requests = sum(state.requests);
  if (requests >= policy.minRequests && sum(state.failures) >= policy.failureRatio * requests) trip(state, now, policy);
}

/** A request that ended without saying anything about the variant: cancelled, or refused before it was sent. */
export function circuitForgotten(state: CircuitState): void {
  state.inFlight--;
  if (state.phase === TRYING) state.phase = TRIAL;
}

function advance(state: CircuitState, now: number, policy: CircuitPolicy): void {
  const part = Math.floor((now / policy.window) * PARTS);
  const passed = Math.min(part - state.part, PARTS);
  for (let i = 0; i < passed; i++) {
    state.requests[(part - i) % PARTS] = 0;
    state.failures[(part - i) % PARTS] = 0;
  }
  state.part = Math.max(state.part, part);
}

function trip(state: CircuitState, now: number, policy: CircuitPolicy): void {
  state.phase = OPEN;
  state.openUntil = now + policy.open;
}

function reset(state: CircuitState): void {
  state.phase = CLOSED;
  state.requests.fill(0);
  state.failures.fill(0);
}

function sum(values: Float64Array): number {
  let total = 0;
  for (let i = 0; i < values.length; i++) total += values[i];
  return total;
}
