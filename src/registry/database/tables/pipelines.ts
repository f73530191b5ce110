import type { Generated } from 'kysely';

export type PipelineRunStatus = 'running' | 'succeeded' | 'failed' | 'held' | 'cancelled';
export type PipelineStepStatus = 'waiting' | 'running' | 'succeeded' | 'skipped' | 'failed' | 'held' | 'cancelled';
export type FiringOutcome = 'fired' | 'waiting' | 'refused' | 'failed';

/** See migrations/0008-pipelines.ts. Times are milliseconds since 1970. */
export interface PipelineTables {
  pipeline_documents: { kind: string; name: string; body: string; changed_at: number };
  pipeline_runs: {
    run_key: Generated<number>;
    id: string;
    pipeline: string;
    environment: string;
    status: PipelineRunStatus;
    reason: string;
    /** JSON: the document as it runs, without expressions. */
    document: string;
    /** JSON: the settings of the environment when the run began. */
    environment_spec: string;
    /** JSON */
    parameters: string;
    actor: string;
    /** Why it was started. */
    cause: string;
    /** '' = by hand. */
    trigger_name: string;
    /** The run of the registry that its steps' runs are children of. */
    tracking_run: string;
    experiment_id: string;
    owner: string;
    lease_until: number;
    /** Who wants it cancelled, and why; '' = nobody. */
    cancelled_by: string;
    created_at: number;
    ended_at: number | null;
  };
  pipeline_steps: {
    run_id: string;
    step: string;
    kind: string;
    status: PipelineStepStatus;
    reason: string;
    cache_key: string;
    /** JSON: what later steps read. */
    outputs: string;
    job_id: string;
    /** Counts the times that a person resumed the step: part of its job's idempotency key. */
    job_round: number;
    tracking_run: string;
    /** The run whose step gave the outputs. */
    skipped_from: string;
    started_at: number | null;
    ended_at: number | null;
  };
  evaluations: {
    evaluation_key: Generated<number>;
    id: string;
    /** '' = not registered (yet). */
    model: string;
    version: string;
    model_digest: string;
    dataset_digest: string;
    dataset_name: string;
    spec_digest: string;
    /** JSON */
    spec: string;
    /** JSON */
    result: string;
    pipeline_run: string;
    step: string;
    tracking_run: string;
    created_at: number;
  };
  trigger_states: { name: string; state: string; changed_at: number };
  trigger_firings: {
    firing_key: Generated<number>;
    trigger_name: string;
    at: number;
    outcome: FiringOutcome;
    reason: string;
    pipeline_run: string;
  };
  /** What only one of several servers does. */
  pipeline_leases: { name: string; owner: string; until: number };
}
