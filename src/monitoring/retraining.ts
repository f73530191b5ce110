import type { RetrainSpec } from './document.ts';

const DAY_MS = 86_400_000;

export type Cause = 'drift' | 'quality' | 'labels' | 'schedule';

/**
 * running: the pipeline or the job goes on · canary: it succeeded, and its version is not promoted yet · promoted ·
 * notPromoted: rolled back, or not in time · failed: the run failed, its gate or its data's validation did not pass.
 */
export type RetrainingStatus = 'running' | 'canary' | 'promoted' | 'notPromoted' | 'failed';

export function isOver(status: RetrainingStatus): boolean {
  return status !== 'running' && status !== 'canary';
}

/** Why a monitor wants to retrain. */
export interface Want {
  cause: Cause;
  /** The version whose windows, labels or age are the reason: with it, the reference that was left. */
  version: string;
  reason: string;
  /** Since when data is as it is now; rows before it belong to the past. */
  changedAt: number;
  /** The alert that it is about: one alert wants one retraining. */
  key: string;
}

/** What a monitor remembers of its retrainings. JSON as it is. */
export interface RetrainState {
  /** The one that goes on. */
  active: { id: string; cause: Cause; version: string; key: string } | null;
  /** How the last one ended. */
  last: { id: string; status: RetrainingStatus; version: string; endedAt: number; promotedAt: number } | null;
  starts: number[];
  /** Retrainings in a row that did not help. */
  inVain: number;
  breaker: { open: boolean; reason: string; since: number };
  /** Labels that were there when the last one began. */
  labelsAt: number;
  /** When the schedule is due next; 0 = not known yet. */
  due: number;
  /** Why it waits, as it was told last. */
  waiting: string;
}

export function freshRetrainState(): RetrainState {
  const breaker = { open: false, reason: '', since: 0 };
  return { active: null, last: null, starts: [], inVain: 0, breaker, labelsAt: 0, due: 0, waiting: '' };
}

export type RetrainDecision =
  | { what: 'nothing' }
  | { what: 'start' }
  | { what: 'wait'; reason: string }
  /** It stops retraining until a person resets it. */
  | { what: 'trip'; reason: string };

/**
 * Whether a retraining begins now. Single flight: one at a time for a model, whatever the cause, the reference and the
 * monitor.
 * @param others retrainings of the same model that other monitors started
 */
export function decideRetraining(
  spec: RetrainSpec,
  state: RetrainState,
  want: Want | undefined,
  rows: number,
  now: number,
  others: readonly (NonNullable<RetrainState['active']> & { monitor: string })[] = [],
): RetrainDecision {
  if (want === undefined) return { what: 'nothing' };
  if (state.breaker.open) return { what: 'wait', reason: `the breaker is open: ${state.breaker.reason}` };
  if (state.active !== null)
    return { what: 'wait', reason: `single flight: retraining ${state.active.id} (${state.active.cause}) goes on` };
  if (others.length > 0) {
    const [{ id, cause, monitor }] = others;
    return { what: 'wait', reason: `single flight: retraining ${id} (${cause}) of monitor ${monitor} goes on` };
  }
  const vain = state.inVain + (didNotHelp(spec, state, want, now) ? 1 : 0);
  if (vain >= spec.breaker.after)
    return { what: 'trip', reason: `${vain} retrainings in a row did not help; the last cause: ${want.reason}` };
  const cooled = (state.last?.endedAt ?? 0) + spec.cooldown;
  if (state.last !== null && now < cooled) return { what: 'wait', reason: `cooldown until ${iso(cooled)}` };
  const today = state.starts.filter((at) => at > now - DAY_MS).length;
  if (today >= spec.dailyBudget)
    return { what: 'wait', reason: `the daily budget of ${spec.dailyBudget} retrainings is spent` };
  if (rows < spec.data.minRows)
    return { what: 'wait', reason: `${rows} labelled rows, ${spec.data.minRows} are wanted` };
  return { what: 'start' };
}

/** The version that the last retraining brought has the same trouble again. */
function didNotHelp({ breaker }: RetrainSpec, { last }: RetrainState, want: Want, now: number): boolean {
  if (last?.status !== 'promoted' || (want.cause !== 'drift' && want.cause !== 'quality')) return false;
  return want.version === last.version && now - last.promotedAt < breaker.within;
}

export function withStart(spec: RetrainSpec, state: RetrainState, id: string, want: Want, now: number): RetrainState {
  const inVain = didNotHelp(spec, state, want, now)
    ? state.inVain + 1
    : state.last?.status === 'promoted'
      ? 0
      : state.inVain;
  return {
    ...state,
    active: { id, cause: want.cause, version: want.version, key: want.key },
    starts: [...state.starts.filter((at) => at > now - DAY_MS), now],
    inVain,
    waiting: '',
  };
}

/** A retraining is over. One that brought nothing was in vain. */
export function withEnd(
  state: RetrainState,
  end: { id: string; status: RetrainingStatus; version: string },
  now: number,
): RetrainState {
  if (state.active?.id !== end.id) return state;
  const promoted = end.status === 'promoted';
  return {
    ...state,
    active: null,
    last: { ...end, endedAt: now, promotedAt: promoted ? now : 0 },
    inVain: promoted ? state.inVain : state.inVain + 1,
  };
}

export function withBreaker(state: RetrainState, reason: string, now: number): RetrainState {
  return { ...state, breaker: { open: true, reason, since: now }, waiting: '' };
}

function iso(time: number): string {
  return new Date(time).toISOString();
}
