import type { Params } from './algorithms/space.ts';
import type { SweepDocument } from './spec.ts';
import type { SweepRow, TrialRow } from './store.ts';
import type { SweepStatus, SweepView, TrialStatus, TrialView } from './sweeps.ts';

export function trialView(row: TrialRow): TrialView {
  return {
    number: row.number,
    params: JSON.parse(row.params) as Params,
    status: row.status as TrialStatus,
    reason: row.reason,
    jobId: row.job_id,
    runId: row.run_id,
    value: row.value,
    lastStep: row.last_step,
    createdAt: row.created_at,
    endedAt: row.ended_at,
  };
}

/** @param counts of any sweeps, this one's among them. */
export function sweepView(
  row: SweepRow,
  counts: readonly { sweep_id: string; status: string; count: number }[],
  best: TrialRow | undefined,
): SweepView {
  const { spec } = JSON.parse(row.document) as SweepDocument;
  const trials = { pending: 0, running: 0, stopping: 0, complete: 0, stopped: 0, failed: 0, cancelled: 0 };
  for (const { sweep_id, status, count } of counts)
    if (sweep_id === row.sweep_id) trials[status as TrialStatus] = count;
  return {
    id: row.sweep_id,
    name: row.name,
    status: row.status as SweepStatus,
    reason: row.reason,
    algorithm: spec.algorithm.name,
    objective: spec.objective,
    maxTrialCount: spec.maxTrialCount,
    trials,
    best: best === undefined ? null : trialView(best),
    runId: row.run_id,
    experimentId: row.experiment_id,
    actor: row.actor,
    createdAt: row.created_at,
    endedAt: row.ended_at,
  };
}
