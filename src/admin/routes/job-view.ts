import { SwitchyardError } from '../../shared/errors.ts';
import type { JobView } from '../../training/jobs/jobs.ts';

/** As the API writes a job. */
export function jobJson(job: JobView): object {
  return {
    id: job.id,
    name: job.name,
    labels: job.labels,
    runner: job.runner,
    status: job.status,
    reason: job.reason,
    next_step: job.nextStep,
    attempt: job.attempt,
    exit_code: job.exitCode,
    signal: job.signal,
    run_id: job.runId,
    experiment_id: job.experimentId,
    progress: job.progress,
    metrics: job.metrics,
    created_at: job.createdAt,
    started_at: job.startedAt,
    ended_at: job.endedAt,
    parent: job.parent,
    actor: job.actor,
    log_tail: job.logTail,
  };
}

export function noSuchJob(id: string): SwitchyardError {
  return new SwitchyardError('not_found', `no such job ${JSON.stringify(id.slice(0, 100))}`);
}
