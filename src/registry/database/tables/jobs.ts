import type { Generated } from 'kysely';

/** See migrations/0006-jobs.ts. Times are milliseconds since 1970. */
export interface JobTables {
  jobs: {
    /** Ordered by time of submission. */
    job_id: string;
    /** One more with every change. */
    version: number;
    name: string;
    runner: string;
    cpu: number;
    memory: number;
    gpu: number;
    status: string;
    reason: string;
    next_step: string;
    attempt: number;
    /** Attempts of earlier rounds, see Jobs.retry. */
    attempts_before: number;
    /** Of a retrying job: when it may begin again. */
    ready_at: number;
    exit_code: number | null;
    signal: string | null;
    run_id: string;
    experiment_id: string;
    progress: number | null;
    /** JSON: how far the output was read for metrics. */
    log_state: string;
    log_tail: string;
    /** JSON: numbers of the GPUs it has. */
    gpus: string;
    /** Server that drives it; '' = none yet. */
    owner: string;
    /** JSON: who asked for its end; '' = nobody. */
    cancel: string;
    actor: string;
    parent_kind: string;
    parent_id: string;
    idempotency_key: string | null;
    created_at: number;
    started_at: number | null;
    ended_at: number | null;
  };
  /** Written once. See migrations/0012-job-documents.ts. */
  job_documents: {
    job_id: string;
    /** JSON. */
    document: string;
  };
  job_attempts: {
    job_id: string;
    attempt: number;
    owner: string;
    phase: string;
    exit_code: number | null;
    signal: string | null;
    reason: string;
    started_at: number | null;
    ended_at: number | null;
  };
  job_history: {
    history_key: Generated<number>;
    job_id: string;
    at: number;
    status: string;
    reason: string;
    actor: string;
  };
  training_leases: { name: string; holder: string; token: number; until_time: number };
  training_servers: { server_id: string; host: string; last_seen: number };
}
