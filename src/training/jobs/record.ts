import type { Insertable, Selectable } from 'kysely';
import type { JobTables } from '../../registry/database/tables/jobs.ts';
import type { By, JobParent, JobStatus, JobView } from './jobs.ts';
import type { OutputProgress } from './output-progress.ts';
import type { JobDocument } from './spec.ts';
import { isOver, type JobState } from './state.ts';

export type JobRow = Selectable<JobTables['jobs']>;

/** A job as it is kept. */
export interface JobRecord {
  id: string;
  version: number;
  document: JobDocument;
  state: JobState;
  runId: string;
  experimentId: string;
  output: OutputProgress;
  logTail: string;
  gpus: number[];
  owner: string;
  actor: string;
  parent: JobParent | null;
  createdAt: number;
}

const MAX_REASON = 2000;

/** As much of a reason as is kept. */
export function keptReason(reason: string): string {
  return reason.slice(0, MAX_REASON);
}

/** What runners know an attempt by. */
export function attemptName(jobId: string, attempt: number): string {
  return `sy-${jobId}-${attempt}`;
}

/** As the table has it. */
export function toRow(job: JobRecord): Insertable<JobTables['jobs']> {
  const { state, document, parent } = job;
  const { resources, runner, idempotencyKey } = document.spec;
  return {
    job_id: job.id,
    version: job.version,
    name: document.metadata.name,
    runner,
    cpu: resources.cpu,
    memory: resources.memory ?? 0,
    gpu: resources.gpu,
    status: state.status,
    reason: keptReason(state.reason),
    next_step: state.nextStep,
    attempt: state.attempt,
    attempts_before: state.attemptsBefore,
    ready_at: state.readyAt,
    exit_code: state.exitCode,
    signal: state.signal,
    run_id: job.runId,
    experiment_id: job.experimentId,
    progress: job.output.progress,
    log_state: JSON.stringify(job.output),
    log_tail: job.logTail,
    gpus: JSON.stringify(job.gpus),
    owner: job.owner,
    cancel: state.cancel === null ? '' : JSON.stringify(state.cancel),
    actor: job.actor,
    parent_kind: parent?.kind ?? '',
    parent_id: parent?.id ?? '',
    idempotency_key: idempotencyKey ?? null,
    created_at: job.createdAt,
    started_at: state.startedAt,
    ended_at: state.endedAt,
  };
}

/** The way back; the document is kept beside it. */
export function toRecord(row: JobRow, document: JobDocument): JobRecord {
  return {
    id: row.job_id,
    version: row.version,
    document,
    state: {
      status: row.status as JobStatus,
      reason: row.reason,
      nextStep: row.next_step,
      attempt: row.attempt,
      attemptsBefore: row.attempts_before,
      readyAt: row.ready_at,
      exitCode: row.exit_code,
      signal: row.signal,
      startedAt: row.started_at,
      endedAt: row.ended_at,
      cancel: row.cancel === '' ? null : (JSON.parse(row.cancel) as By),
    },
    runId: row.run_id,
    experimentId: row.experiment_id,
    output: JSON.parse(row.log_state) as OutputProgress,
    logTail: row.log_tail,
    gpus: JSON.parse(row.gpus) as number[],
    owner: row.owner,
    actor: row.actor,
    parent: row.parent_kind === '' ? null : { kind: row.parent_kind as JobParent['kind'], id: row.parent_id },
    createdAt: row.created_at,
  };
}

/** As the API shows it. @param metrics the last values of its run's */
export function toView(job: JobRecord, metrics: Record<string, number>): JobView {
  const { state, document } = job;
  return {
    id: job.id,
    name: document.metadata.name,
    labels: document.metadata.labels,
    runner: document.spec.runner,
    status: state.status,
    reason: state.reason,
    ...(state.nextStep === '' ? {} : { nextStep: state.nextStep }),
    attempt: state.attempt,
    exitCode: state.exitCode,
    signal: state.signal,
    runId: job.runId,
    experimentId: job.experimentId,
    progress: job.output.progress,
    metrics,
    createdAt: job.createdAt,
    startedAt: state.startedAt,
    endedAt: state.endedAt,
    parent: job.parent,
    actor: job.actor,
    ...(isOver(state.status) && job.logTail !== '' ? { logTail: job.logTail } : {}),
  };
}

/** What webhooks hear of it. */
export function eventData(job: JobRecord): Record<string, unknown> {
  const { state, document } = job;
  return {
    job_id: job.id,
    name: document.metadata.name,
    status: state.status,
    reason: state.reason,
    attempt: state.attempt,
    run_id: job.runId,
    experiment_id: job.experimentId,
  };
}
