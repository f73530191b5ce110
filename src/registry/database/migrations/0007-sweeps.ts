import type { MigrationStatements } from '../migrations.ts';

/**
 * Sweeps and their trials. A trial is kept before its job is submitted, and the job's idempotency key is made of both
 * numbers: whoever goes on with a sweep finds every trial once. `value` is NULL until there is one, and where it is NaN.
 */
export const sweeps: MigrationStatements = ({ int64, real, text, clustered }) => [
  `CREATE TABLE sweeps (
    sweep_id ${text} PRIMARY KEY,
    name ${text} NOT NULL,
    document ${text} NOT NULL,
    status ${text} NOT NULL,
    outcome ${text} NOT NULL,
    reason ${text} NOT NULL,
    seed ${int64} NOT NULL,
    run_id ${text} NOT NULL,
    experiment_id ${text} NOT NULL,
    idempotency_key ${text} UNIQUE,
    actor ${text} NOT NULL,
    created_at ${int64} NOT NULL,
    ended_at ${int64}
  ) ${clustered}`,
  'CREATE INDEX sweeps_by_creation ON sweeps (created_at DESC, sweep_id DESC)',
  'CREATE INDEX sweeps_by_status ON sweeps (status)',
  `CREATE TABLE sweep_trials (
    sweep_id ${text} NOT NULL,
    number ${int64} NOT NULL,
    params ${text} NOT NULL,
    bracket ${int64} NOT NULL,
    status ${text} NOT NULL,
    reason ${text} NOT NULL,
    job_id ${text},
    run_id ${text},
    value ${real},
    last_step ${int64} NOT NULL,
    rungs ${text} NOT NULL,
    created_at ${int64} NOT NULL,
    ended_at ${int64},
    PRIMARY KEY (sweep_id, number)
  ) ${clustered}`,
];
