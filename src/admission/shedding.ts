/** What the gateway knows when a request arrives. Milliseconds; plain numbers, so that the caller may reuse one object. */
export interface ShedInput {
  /** Requests accepted and not answered. */
  outstanding: number;
  /** At most this many; 0: unlimited. */
  maxOutstanding: number;
  /** Expected time in the queue and in execution for a request accepted now; 0 when unknown. */
  predictedWaitMs: number;
  /** Time until the answer is useless; Infinity: no deadline. */
  deadlineLeftMs: number;
  /** 1 = highest … priorityLevels = lowest. What is below 1 (a copy) counts as the lowest. */
  priority: number;
  /** 0 or 1: priorities are off. */
  priorityLevels: number;
}

export interface Shed {
  reason: 'full' | 'priority' | 'deadline';
  retryAfterMs: number;
}

/** Fill at which the lowest priority is shed; the levels between spread evenly up to a full house for the highest. */
export const LOWEST_PRIORITY_FILL = 0.6;
const MIN_RETRY_MS = 50;
const MAX_RETRY_MS = 30_000;

function bounded(ms: number): number {
  if (!(ms > MIN_RETRY_MS)) return MIN_RETRY_MS;
  return ms < MAX_RETRY_MS ? Math.ceil(ms) : MAX_RETRY_MS;
}

/** Requests of this priority are accepted while fewer than this share of the places is taken: 1 for the highest. */
export function fillLimit(priority: number, priorityLevels: number): number {
  if (priorityLevels <= 1) return 1;
  const level = priority <= 0 || priority > priorityLevels ? priorityLevels : priority;
  return 1 - ((level - 1) / (priorityLevels - 1)) * (1 - LOWEST_PRIORITY_FILL);
}

/**
 * Refuses early what would be refused late: beyond the places, beyond the share its priority may fill, or unable to
 * meet its deadline. Null: accept. Pure; allocates only when it refuses.
 */
export function decideShed(input: ShedInput): Shed | null {
  if (input.deadlineLeftMs <= 0 || input.predictedWaitMs > input.deadlineLeftMs) {
    return { reason: 'deadline', retryAfterMs: bounded(input.predictedWaitMs - Math.max(0, input.deadlineLeftMs)) };
  }
  if (input.maxOutstanding <= 0) return null;
  const limit = Math.max(1, Math.floor(fillLimit(input.priority, input.priorityLevels) * input.maxOutstanding));
  if (input.outstanding < limit) return null;
  // The wait shrinks with the queue: this is when the fill is back under the limit, if nothing more were accepted.
  const excess = (input.outstanding - limit + 1) / Math.max(1, input.outstanding);
  return {
    reason: input.outstanding >= input.maxOutstanding ? 'full' : 'priority',
    retryAfterMs: bounded(input.predictedWaitMs * excess),
  };
}
