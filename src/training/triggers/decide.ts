import type { TriggerSpec } from './document.ts';

const DAY_MS = 86_400_000;

/** What a trigger remembers. Times are milliseconds since 1970. Kept as JSON. */
export interface TriggerState {
  /** A cause that waits to be quiet, or for its turn; null: none does. */
  pending: { since: number; last: number; reason: string; told?: WaitKind } | null;
  /** The run it started last. */
  run: string;
  running: boolean;
  /** When that run ended; 0 = never. */
  endedAt: number;
  /** Starts within the last day. */
  starts: number[];
  /** What its cause has to remember: seen files, counted rows, the last figure. */
  memory: Record<string, unknown>;
}

export function freshState(): TriggerState {
  return { pending: null, run: '', running: false, endedAt: 0, starts: [], memory: {} };
}

export type WaitKind = 'debounce' | 'singleFlight' | 'cooldown';

export type Decision =
  | { what: 'nothing' }
  | { what: 'fire'; reason: string }
  /** It is looked at again soon. */
  | { what: 'wait'; kind: WaitKind; reason: string }
  /** The cause is let go. */
  | { what: 'refuse'; reason: string };

/**
 * Whether a trigger starts a run now. A cause that comes too early (not quiet yet, another run under way, cooling down)
 * waits and is one cause together with those that join it; one beyond the budget is let go.
 */
export function decide(spec: TriggerSpec, state: TriggerState, now: number): Decision {
  const { pending } = state;
  if (pending === null) return { what: 'nothing' };
  if (!spec.enabled) return { what: 'refuse', reason: `${pending.reason}; the trigger is disabled` };
  const quiet = pending.last + spec.debounce;
  if (now < quiet) return { what: 'wait', kind: 'debounce', reason: 'debounce: the cause may go on' };
  if (spec.singleFlight && state.running)
    return { what: 'wait', kind: 'singleFlight', reason: `single flight: run ${state.run} goes on` };
  const cooled = state.endedAt + spec.cooldown;
  if (state.endedAt > 0 && now < cooled)
    return { what: 'wait', kind: 'cooldown', reason: `cooldown until ${new Date(cooled).toISOString()}` };
  const today = state.starts.filter((at) => at > now - DAY_MS).length;
  if (spec.dailyBudget !== undefined && today >= spec.dailyBudget)
    return { what: 'refuse', reason: `${pending.reason}; the daily budget of ${spec.dailyBudget} runs is spent` };
  return { what: 'fire', reason: pending.reason };
}

/** A cause arrived. Those that wait already become one with it. */
export function withCause(state: TriggerState, reason: string, now: number): TriggerState {
  const since = state.pending?.since ?? now;
  return { ...state, pending: { ...state.pending, since, last: now, reason } };
}

export function withStart(state: TriggerState, run: string, now: number): TriggerState {
  const starts = [...state.starts.filter((at) => at > now - DAY_MS), now];
  return { ...state, pending: null, run, running: true, starts };
}

export function withEnd(state: TriggerState, endedAt: number): TriggerState {
  return { ...state, running: false, endedAt };
}

/** A figure crosses a threshold when it holds now and did not hold before: it must come back before it crosses again. */
export function crosses(op: '>' | '>=' | '<' | '<=', limit: number, before: number | undefined, now: number): boolean {
  const holds = (value: number): boolean =>
    op === '>' ? value > limit : op === '>=' ? value >= limit : op === '<' ? value < limit : value <= limit;
  return holds(now) && (before === undefined || !holds(before));
}
