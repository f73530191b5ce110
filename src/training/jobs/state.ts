import { SwitchyardError } from '../../shared/errors.ts';
import type { AttemptStatus } from '../runners/runner.ts';
import type { By, JobStatus } from './jobs.ts';
import type { JobSpec } from './spec.ts';

/** What decides how a job goes on. Times are milliseconds since 1970. */
export interface JobState {
  status: JobStatus;
  reason: string;
  nextStep: string;
  attempt: number;
  attemptsBefore: number;
  readyAt: number;
  exitCode: number | null;
  signal: string | null;
  startedAt: number | null;
  endedAt: number | null;
  /** Who asked for its end. */
  cancel: By | null;
}

export type JobEvent =
  /** The scheduler gave it its resources. */
  | { type: 'taken' }
  /** Environment and work folder are there. */
  | { type: 'prepared' }
  | { type: 'started' }
  | { type: 'ended'; status: AttemptStatus }
  /** It failed beside its process: its preparation, its outputs, its heartbeat. */
  | { type: 'failed'; reason: string; nextStep: string; again: boolean }
  | { type: 'cancel'; by: By }
  | { type: 'retry'; by: By };

const OVER: ReadonlySet<JobStatus> = new Set(['succeeded', 'failed', 'cancelled', 'timedOut']);

export function isOver(status: JobStatus): boolean {
  return OVER.has(status);
}

/** Whether somebody drives it: it has resources. */
export function isActive(status: JobStatus): boolean {
  return status === 'provisioning' || status === 'starting' || status === 'running';
}

export function newState(): JobState {
  return {
    status: 'queued',
    reason: '',
    nextStep: '',
    attempt: 0,
    attemptsBefore: 0,
    readyAt: 0,
    exitCode: null,
    signal: null,
    startedAt: null,
    endedAt: null,
    cancel: null,
  };
}

/**
 * The one place that says how a job moves. An event that comes too late changes nothing; a command that makes no sense
 * throws failed_precondition.
 */
export function advance(state: JobState, event: JobEvent, retry: JobSpec['retry'], now: number): JobState {
  switch (event.type) {
    case 'cancel':
      return cancelled(state, event.by, now);
    case 'retry':
      return retried(state, event.by);
    case 'taken':
      if (state.status !== 'queued' && state.status !== 'retrying') return state;
      return { ...state, status: 'provisioning', attempt: state.attempt + 1, exitCode: null, signal: null };
    case 'prepared':
      return state.status === 'provisioning' ? { ...state, status: 'starting' } : state;
    case 'started':
      if (state.status !== 'starting') return state;
      return { ...state, status: 'running', reason: '', nextStep: '', startedAt: state.startedAt ?? now };
    case 'failed':
      if (!isActive(state.status)) return state;
      return failed(state, { status: 'failed', ...event }, event.again, retry, now);
    case 'ended':
      return isActive(state.status) ? ended(state, event.status, retry, now) : state;
  }
}

function cancelled(state: JobState, by: By, now: number): JobState {
  if (isOver(state.status) || state.cancel !== null) return state;
  // What runs is ended by its driver first.
  if (isActive(state.status)) return { ...state, cancel: by };
  return { ...state, status: 'cancelled', reason: cancelReason(by), nextStep: '', endedAt: now, cancel: by };
}

function retried(state: JobState, by: By): JobState {
  if (!isOver(state.status))
    throw new SwitchyardError(
      'failed_precondition',
      `the job is ${state.status}; only one that is over can be retried`,
    );
  if (state.status === 'succeeded')
    throw new SwitchyardError('failed_precondition', 'the job succeeded; submit a new one to run it again');
  const reason = `retried by ${by.actor}${by.reason === '' ? '' : `: ${by.reason}`}`;
  return { ...newState(), reason, attempt: state.attempt, attemptsBefore: state.attempt, startedAt: state.startedAt };
}

function cancelReason({ actor, reason }: By): string {
  return `cancelled by ${actor}${reason === '' ? '' : `: ${reason}`}`;
}

function ended(state: JobState, status: AttemptStatus, retry: JobSpec['retry'], now: number): JobState {
  const { exitCode, signal, reason } = status;
  const next = { ...state, exitCode, signal };
  switch (status.phase) {
    case 'starting':
    case 'running':
      return state;
    case 'succeeded':
      return { ...next, status: 'succeeded', reason, nextStep: '', endedAt: now };
    case 'cancelled':
    case 'failed':
    case 'timedOut':
    case 'lost': {
      if (state.cancel !== null)
        return { ...next, status: 'cancelled', reason: cancelReason(state.cancel), endedAt: now };
      const final = status.phase === 'timedOut' ? 'timedOut' : 'failed';
      return failed(next, { status: final, reason, nextStep: adviceFor(status) }, true, retry, now);
    }
  }
}

function failed(
  state: JobState,
  how: { status: 'failed' | 'timedOut'; reason: string; nextStep: string },
  again: boolean,
  retry: JobSpec['retry'],
  now: number,
): JobState {
  const { reason, nextStep } = how;
  if (state.cancel !== null) return { ...state, status: 'cancelled', reason: cancelReason(state.cancel), endedAt: now };
  const used = state.attempt - state.attemptsBefore;
  if (!again || used > retry.max) return { ...state, status: how.status, reason, nextStep, endedAt: now };
  return { ...state, status: 'retrying', reason, nextStep, readyAt: now + backoffMs(retry, used) };
}

/** Before the attempt after `used` failed ones. */
export function backoffMs({ backoffSeconds, maxBackoffSeconds }: JobSpec['retry'], used: number): number {
  return Math.min(backoffSeconds * 2 ** Math.min(used - 1, 30), maxBackoffSeconds) * 1000;
}

/** What a person can do about a failed attempt. */
export function adviceFor({ phase, exitCode, reason }: Pick<AttemptStatus, 'phase' | 'exitCode' | 'reason'>): string {
  if (phase === 'timedOut') return 'raise spec.timeoutSeconds, or let the job write checkpoints and retry it';
  if (phase === 'lost') return 'retry the job';
  if (/out of memory/.test(reason)) return 'raise spec.resources.memory, or make the job smaller (batch size, data)';
  if (/disk/.test(reason))
    return 'raise spec.resources.disk, or write less; free space when the machine itself is full';
  if (/was not found/.test(reason))
    return 'correct spec.command, or put the program into spec.environment or spec.files';
  if (exitCode === 126 || exitCode === 127) return 'correct spec.command: the program could not be started';
  return 'read the end of the log, correct the job and retry it';
}
