import type { PinnedInputs } from '../inputs/pin.ts';
import type { LogChunk } from '../runners/runner.ts';
import type { JobDocument, JobDocumentInput, JobSpec, RunnerKind } from './spec.ts';

export const JOB_STATUSES = [
  'queued',
  'provisioning',
  'starting',
  'running',
  'retrying',
  'succeeded',
  'failed',
  'cancelled',
  'timedOut',
] as const;
export type JobStatus = (typeof JOB_STATUSES)[number];

/** Who asked for something, and why. */
export interface By {
  actor: string;
  reason: string;
}

/** The server itself. */
export const SYSTEM: By = { actor: 'switchyard', reason: '' };

export interface JobParent {
  kind: 'sweep' | 'pipeline' | 'trigger';
  id: string;
}

export interface JobView {
  id: string;
  name: string;
  labels: Record<string, string>;
  runner: RunnerKind;
  status: JobStatus;
  /** Why it is where it is: of a failure what failed; '' = nothing to tell. */
  reason: string;
  /** What to do about it; undefined: nothing. */
  nextStep?: string;
  /** 1 for the first; 0 = none was begun. */
  attempt: number;
  exitCode: number | null;
  signal: string | null;
  runId: string;
  experimentId: string;
  /** 0 to 1; null = it tells none. */
  progress: number | null;
  /** Last values of the run's metrics. */
  metrics: Record<string, number>;
  /** Milliseconds since 1970. */
  createdAt: number;
  startedAt: number | null;
  endedAt: number | null;
  parent: JobParent | null;
  actor: string;
  /** Of an ended one: the last lines of its output. */
  logTail?: string;
}

export interface JobQuery {
  status?: JobStatus;
  name?: string;
  parent?: JobParent;
  pageToken?: string;
  /** Default 100, at most 1000. */
  maxResults?: number;
}

/** Training jobs, as the admin API, sweeps, pipelines and triggers use them. */
export interface Jobs {
  /** Resolves when the job is kept. Same idempotency key: the job that exists. Rejects with invalid_argument. */
  submit(document: JobDocumentInput, by: By & { parent?: JobParent }): Promise<JobView>;
  /** Checks a document as submit does, and keeps nothing. `actor`: who must be allowed to read its data. */
  validate(document: JobDocumentInput, actor?: string): Promise<JobDocument>;
  /**
   * Decides now which bytes inputs from datasets and feature views are, for several jobs that shall read the same. Their
   * notes are for the caller to name the blobs with: unnamed ones are garbage after a day. Rejects with invalid_argument
   * naming the input by `where`.
   */
  pinInputs(inputs: JobSpec['inputs'], actor: string, where?: (i: number) => string): Promise<PinnedInputs>;
  get(id: string): Promise<JobView | undefined>;
  /** Newest first. '' ends the pages. */
  list(query: JobQuery): Promise<{ jobs: JobView[]; nextPageToken: string }>;
  /** Resolves when it is asked for; `ended` tells when it is over. No error for a job that is over. */
  cancel(id: string, by: By): Promise<JobView>;
  /** Gives an ended job another round of attempts, in the same run. */
  retry(id: string, by: By): Promise<JobView>;
  /** Forgets an ended job with its files; its run stays. */
  remove(id: string): Promise<void>;
  /** Output of an attempt; undefined: of the last one. */
  logs(id: string, attempt: number | undefined, offset: number, limit: number): Promise<LogChunk>;
  /** What it went through, oldest first; empty for a job that does not exist. */
  history(id: string): Promise<{ at: number; status: string; reason: string; actor: string }[]>;
  /** Each committed change. Returns what ends the subscription. */
  subscribe(listener: (job: JobView) => void): () => void;
  /** Resolves with the job once it is over. */
  ended(id: string): Promise<JobView>;
}
