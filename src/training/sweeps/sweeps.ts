import type { By } from '../jobs/jobs.ts';
import type { Params } from './algorithms/space.ts';
import type { SweepDocument } from './spec.ts';

/** ending: nothing new is begun and what runs is being cancelled. */
export const SWEEP_STATUSES = ['running', 'ending', 'succeeded', 'failed', 'cancelled'] as const;
export type SweepStatus = (typeof SWEEP_STATUSES)[number];

/**
 * pending: its job is about to be submitted. stopping: its job is being cancelled because it is not worth its time.
 * stopped: that is done.
 */
export type TrialStatus = 'pending' | 'running' | 'stopping' | 'complete' | 'stopped' | 'failed' | 'cancelled';

export interface TrialView {
  number: number;
  params: Params;
  status: TrialStatus;
  /** Of a failed or stopped one why; '' = nothing to tell. */
  reason: string;
  jobId: string | null;
  runId: string | null;
  /** The objective, as the script reports it; null = none, or NaN. */
  value: number | null;
  lastStep: number;
  /** Milliseconds since 1970. */
  createdAt: number;
  endedAt: number | null;
}

export interface SweepView {
  id: string;
  name: string;
  status: SweepStatus;
  reason: string;
  algorithm: string;
  objective: SweepDocument['spec']['objective'];
  maxTrialCount: number;
  /** How many trials stand where. */
  trials: Record<TrialStatus, number>;
  /** The best complete trial so far. */
  best: TrialView | null;
  /** The run under which the trials' runs are. */
  runId: string;
  experimentId: string;
  actor: string;
  createdAt: number;
  endedAt: number | null;
}

export interface SweepQuery {
  status?: SweepStatus;
  pageToken?: string;
  /** Default 100, at most 1000. */
  maxResults?: number;
}

/** Searches of hyperparameters, as the admin API uses them. */
export interface Sweeps {
  /** Resolves when the sweep is kept. Same idempotency key: the sweep that exists. Rejects with invalid_argument. */
  submit(document: unknown, by: By): Promise<SweepView>;
  get(id: string): Promise<SweepView | undefined>;
  /** Newest first. '' ends the pages. */
  list(query: SweepQuery): Promise<{ sweeps: SweepView[]; nextPageToken: string }>;
  /** By number. '' ends the pages. Undefined: there is no such sweep. */
  trials(
    id: string,
    query: { pageToken?: string; maxResults?: number },
  ): Promise<{ trials: TrialView[]; nextPageToken: string } | undefined>;
  /** Stops what runs and begins nothing more. No error for a sweep that is over. */
  cancel(id: string, by: By): Promise<SweepView>;
  /** Stops following; the jobs go on, and the next start follows them again. */
  close(): Promise<void>;
}
