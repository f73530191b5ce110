import type { MigrationStatements } from '../migrations.ts';

/**
 * Pipelines: documents made over the API, runs with their steps, evaluations, and what triggers remember and did. A
 * run's `owner` executes it until `lease_until`; then any server may take it over.
 */
export const pipelines: MigrationStatements = ({ int64, text, serial, clustered }) => [
  `CREATE TABLE pipeline_documents (
    kind ${text} NOT NULL, name ${text} NOT NULL, body ${text} NOT NULL, changed_at ${int64} NOT NULL,
    PRIMARY KEY (kind, name)
  ) ${clustered}`,
  `CREATE TABLE pipeline_runs (
    run_key ${serial},
    id ${text} NOT NULL UNIQUE,
    pipeline ${text} NOT NULL, environment ${text} NOT NULL,
    status ${text} NOT NULL, reason ${text} NOT NULL,
    document ${text} NOT NULL, environment_spec ${text} NOT NULL, parameters ${text} NOT NULL,
    actor ${text} NOT NULL, cause ${text} NOT NULL, trigger_name ${text} NOT NULL,
    tracking_run ${text} NOT NULL, experiment_id ${text} NOT NULL,
    owner ${text} NOT NULL, lease_until ${int64} NOT NULL,
    cancelled_by ${text} NOT NULL,
    created_at ${int64} NOT NULL, ended_at ${int64}
  )`,
  'CREATE INDEX pipeline_runs_by_pipeline ON pipeline_runs (pipeline, run_key)',
  'CREATE INDEX pipeline_runs_by_status ON pipeline_runs (status, run_key)',
  `CREATE TABLE pipeline_steps (
    run_id ${text} NOT NULL, step ${text} NOT NULL,
    kind ${text} NOT NULL, status ${text} NOT NULL, reason ${text} NOT NULL,
    cache_key ${text} NOT NULL, outputs ${text} NOT NULL,
    job_id ${text} NOT NULL, job_round ${int64} NOT NULL, tracking_run ${text} NOT NULL, skipped_from ${text} NOT NULL,
    started_at ${int64}, ended_at ${int64},
    PRIMARY KEY (run_id, step)
  ) ${clustered}`,
  'CREATE INDEX pipeline_steps_by_key ON pipeline_steps (cache_key, status, ended_at)',
  `CREATE TABLE evaluations (
    evaluation_key ${serial},
    id ${text} NOT NULL UNIQUE,
    model ${text} NOT NULL, version ${text} NOT NULL,
    model_digest ${text} NOT NULL, dataset_digest ${text} NOT NULL, dataset_name ${text} NOT NULL,
    spec_digest ${text} NOT NULL, spec ${text} NOT NULL, result ${text} NOT NULL,
    pipeline_run ${text} NOT NULL, step ${text} NOT NULL, tracking_run ${text} NOT NULL,
    created_at ${int64} NOT NULL
  )`,
  'CREATE INDEX evaluations_by_model ON evaluations (model, evaluation_key)',
  'CREATE INDEX evaluations_by_content ON evaluations (model_digest, dataset_digest, spec_digest)',
  `CREATE TABLE trigger_states (name ${text} NOT NULL PRIMARY KEY, state ${text} NOT NULL, changed_at ${int64} NOT NULL)`,
  `CREATE TABLE trigger_firings (
    firing_key ${serial},
    trigger_name ${text} NOT NULL, at ${int64} NOT NULL, outcome ${text} NOT NULL, reason ${text} NOT NULL,
    pipeline_run ${text} NOT NULL
  )`,
  'CREATE INDEX trigger_firings_by_trigger ON trigger_firings (trigger_name, firing_key)',
  `CREATE TABLE pipeline_leases (name ${text} NOT NULL PRIMARY KEY, owner ${text} NOT NULL, until ${int64} NOT NULL)`,
];
