import type { Report } from './judge.ts';

/**
 * progressing: between steps · waiting: timed pause · gated: until promoted · analysing: inline analysis ·
 * held: inconclusive, waits for data or a person · promoting: the alias is being set · rollingBack: ramping down, and
 * setting the alias back if it was being set.
 * The last two are ends.
 */
export type Phase =
  | 'progressing'
  | 'waiting'
  | 'gated'
  | 'analysing'
  | 'held'
  | 'promoting'
  | 'rollingBack'
  | 'succeeded'
  | 'rolledBack';

/**
 * Everything a rollout is. JSON as it is: whoever holds it (after a restart, or as the next leader) goes on from it.
 * `weight` and `mirror` are what should be, in percent: whoever applies them compares with what is.
 */
export interface RolloutState {
  route: string;
  /** The versions compared, as resolved when it began. */
  stableVersion: string;
  candidateVersion: string;
  phase: Phase;
  step: number;
  /** Milliseconds since 1970. */
  startedAt: number;
  stepStartedAt: number;
  weight: number;
  mirror: number;
  /** A person stopped the steps; failing verdicts still roll back. */
  paused: boolean;
  rollback: { from: number; startedAt: number } | undefined;
  /** Rolled back while the alias was being set: it may name the candidate, until the registry says that it does not. */
  undoAlias?: boolean;
  reason: string;
  reports: Report[];
  /** Grows with each change: for compare-and-set by the leader. */
  version: number;
  history: { at: number; message: string }[];
}

export type RolloutEvent =
  | { type: 'tick'; inline?: readonly Report[]; background?: readonly Report[] }
  /** `full` skips all that is left. */
  | { type: 'promote'; full?: boolean }
  | { type: 'abort'; reason?: string }
  | { type: 'pause' }
  | { type: 'resume' }
  | { type: 'retry' }
  /** The registry has answered the setAlias of `version`. `current`: what the alias names instead. */
  | { type: 'aliasSet'; version: string }
  | { type: 'aliasConflict'; version: string; current: string };

/** What the caller is to do. All can be repeated without harm. */
export type RolloutCommand =
  | { type: 'setWeight'; percent: number }
  | { type: 'setMirror'; percent: number }
  /** Compare-and-set: only if the alias still names `expected`. */
  | { type: 'setAlias'; alias: string; expected: string; version: string }
  /** Counts start anew: control and candidate are split differently from now on. */
  | { type: 'restartWindow' };

const HISTORY = 50;

export function beginRollout(
  route: string,
  versions: { stable: string; candidate: string },
  now: number,
): RolloutState {
  return {
    route,
    stableVersion: versions.stable,
    candidateVersion: versions.candidate,
    phase: 'progressing',
    step: 0,
    startedAt: now,
    stepStartedAt: now,
    weight: 0,
    mirror: 0,
    paused: false,
    rollback: undefined,
    reason: '',
    reports: [],
    version: 1,
    history: [{ at: now, message: `began: ${versions.stable} → ${versions.candidate}` }],
  };
}

export function isOver({ phase }: RolloutState): boolean {
  return phase === 'succeeded' || phase === 'rolledBack';
}

export function note(state: RolloutState, now: number, message: string): void {
  state.history = [...state.history, { at: now, message }].slice(-HISTORY);
}

/** Exit status of commands that watch a rollout: 0 well, 1 rolled back, 2 needs a person, 3 under way. */
export function exitStatus({ phase, paused }: RolloutState): 0 | 1 | 2 | 3 {
  if (phase === 'succeeded') return 0;
  if (phase === 'rolledBack' || phase === 'rollingBack') return 1;
  return phase === 'gated' || phase === 'held' || paused ? 2 : 3;
}
