import type { MigrationStatements } from '../migrations.ts';

/** Training jobs with their attempts, which server drives them, and who decides what starts. See src/training. */
export const jobs: MigrationStatements = ({ int64, real, text, serial, clustered }) => [
  `CREATE TABLE jobs (
    job_id ${text} PRIMARY KEY, version ${int64} NOT NULL, name ${text} NOT NULL, document ${text} NOT NULL,
    runner ${text} NOT NULL, cpu ${real} NOT NULL, memory ${int64} NOT NULL, gpu ${int64} NOT NULL,
    status ${text} NOT NULL, reason ${text} NOT NULL, next_step ${text} NOT NULL,
    attempt ${int64} NOT NULL, attempts_before ${int64} NOT NULL, ready_at ${int64} NOT NULL,
    exit_code ${int64}, signal ${text}, run_id ${text} NOT NULL, experiment_id ${text} NOT NULL,
    progress ${real}, log_state ${text} NOT NULL, log_tail ${text} NOT NULL, gpus ${text} NOT NULL,
    owner ${text} NOT NULL, cancel ${text} NOT NULL, actor ${text} NOT NULL,
    parent_kind ${text} NOT NULL, parent_id ${text} NOT NULL, idempotency_key ${text},
    created_at ${int64} NOT NULL, started_at ${int64}, ended_at ${int64}
  ) ${clustered}`,
  'CREATE UNIQUE INDEX jobs_idempotency ON jobs (idempotency_key)',
  'CREATE INDEX jobs_status ON jobs (status, job_id)',
  'CREATE INDEX jobs_name ON jobs (name, job_id)',
  'CREATE INDEX jobs_parent ON jobs (parent_kind, parent_id, job_id)',
  `CREATE TABLE job_attempts (
    job_id ${text} NOT NULL, attempt ${int64} NOT NULL, owner ${text} NOT NULL, phase ${text} NOT NULL,
    exit_code ${int64}, signal ${text}, reason ${text} NOT NULL, started_at ${int64}, ended_at ${int64},
    PRIMARY KEY (job_id, attempt)
  ) ${clustered}`,
  `CREATE TABLE job_history (
    history_key ${serial}, job_id ${text} NOT NULL, at ${int64} NOT NULL, status ${text} NOT NULL,
    reason ${text} NOT NULL, actor ${text} NOT NULL
  )`,
  'CREATE INDEX job_history_job ON job_history (job_id, history_key)',
  `CREATE TABLE training_leases (
    name ${text} PRIMARY KEY, holder ${text} NOT NULL, token ${int64} NOT NULL, until_time ${int64} NOT NULL
  ) ${clustered}`,
  `CREATE TABLE training_servers (
    server_id ${text} PRIMARY KEY, host ${text} NOT NULL, last_seen ${int64} NOT NULL
  ) ${clustered}`,
];
