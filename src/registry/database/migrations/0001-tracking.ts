import type { MigrationStatements } from '../migrations.ts';

/**
 * Experiments, runs and logged models. Runs have a number of their own besides MLflow's 32 letters, for the tables that
 * hold many rows per run; these also know the experiment, so that an index finds a value within it. Indexes hold the
 * first 100 letters of values: PostgreSQL's take no long ones. The column json has a row as answers show it: a page of
 * runs is put together from these without taking the values apart.
 */
export const tracking: MigrationStatements = ({ int64, real, text, serial, clustered }) => [
  `CREATE TABLE experiments (
    experiment_id ${serial},
    name ${text} NOT NULL UNIQUE,
    artifact_location ${text} NOT NULL,
    lifecycle_stage ${text} NOT NULL,
    creation_time ${int64} NOT NULL,
    last_update_time ${int64} NOT NULL
  )`,
  `CREATE TABLE experiment_tags (
    experiment_id ${int64} NOT NULL, key ${text} NOT NULL, value ${text} NOT NULL,
    PRIMARY KEY (experiment_id, key)
  ) ${clustered}`,

  `CREATE TABLE runs (
    run_key ${serial},
    run_id ${text} NOT NULL UNIQUE,
    experiment_id ${int64} NOT NULL,
    run_name ${text} NOT NULL,
    user_id ${text} NOT NULL,
    status ${text} NOT NULL,
    lifecycle_stage ${text} NOT NULL,
    start_time ${int64} NOT NULL,
    end_time ${int64},
    deleted_time ${int64},
    artifact_uri ${text} NOT NULL
  )`,
  'CREATE INDEX runs_by_start ON runs (experiment_id, lifecycle_stage, start_time DESC, run_id)',
  'CREATE INDEX runs_by_end ON runs (experiment_id, end_time)',
  'CREATE INDEX runs_by_name ON runs (experiment_id, run_name)',
  'CREATE INDEX runs_by_status ON runs (experiment_id, status)',

  ...['params', 'tags'].flatMap((table) => [
    `CREATE TABLE ${table} (
      run_key ${int64} NOT NULL, key ${text} NOT NULL, value ${text} NOT NULL, experiment_id ${int64} NOT NULL,
      json ${text} NOT NULL,
      PRIMARY KEY (run_key, key)
    ) ${clustered}`,
    `CREATE INDEX ${table}_by_value ON ${table} (experiment_id, key, substr(value, 1, 100), run_key)`,
  ]),
  `CREATE TABLE metrics (
    run_key ${int64} NOT NULL, key ${text} NOT NULL, timestamp ${int64} NOT NULL, step ${int64} NOT NULL,
    value ${real} NOT NULL, is_nan ${int64} NOT NULL,
    PRIMARY KEY (run_key, key, timestamp, step, value, is_nan)
  ) ${clustered}`,
  `CREATE TABLE latest_metrics (
    run_key ${int64} NOT NULL, key ${text} NOT NULL, value ${real} NOT NULL, is_nan ${int64} NOT NULL,
    timestamp ${int64} NOT NULL, step ${int64} NOT NULL, experiment_id ${int64} NOT NULL, json ${text} NOT NULL,
    PRIMARY KEY (run_key, key)
  ) ${clustered}`,
  'CREATE INDEX latest_metrics_by_value ON latest_metrics (experiment_id, key, is_nan, value, run_key)',

  `CREATE TABLE datasets (
    dataset_key ${serial},
    experiment_id ${int64} NOT NULL, name ${text} NOT NULL, digest ${text} NOT NULL,
    source_type ${text} NOT NULL, source ${text} NOT NULL, schema ${text}, profile ${text},
    UNIQUE (experiment_id, name, digest)
  )`,
  `CREATE TABLE run_datasets (
    run_key ${int64} NOT NULL, dataset_key ${int64} NOT NULL, tags ${text} NOT NULL, context ${text} NOT NULL,
    PRIMARY KEY (run_key, dataset_key)
  ) ${clustered}`,
  'CREATE INDEX run_datasets_by_dataset ON run_datasets (dataset_key, run_key)',
  `CREATE TABLE run_models (
    run_key ${int64} NOT NULL, direction ${text} NOT NULL, model_id ${text} NOT NULL, step ${int64} NOT NULL,
    PRIMARY KEY (run_key, direction, model_id)
  ) ${clustered}`,

  `CREATE TABLE logged_models (
    model_key ${serial},
    model_id ${text} NOT NULL UNIQUE,
    experiment_id ${int64} NOT NULL,
    name ${text} NOT NULL,
    artifact_uri ${text} NOT NULL,
    model_type ${text} NOT NULL,
    source_run_id ${text} NOT NULL,
    status ${text} NOT NULL,
    status_message ${text} NOT NULL,
    lifecycle_stage ${text} NOT NULL,
    creation_time ${int64} NOT NULL,
    last_update_time ${int64} NOT NULL
  )`,
  'CREATE INDEX logged_models_by_creation ON logged_models (experiment_id, lifecycle_stage, creation_time DESC, model_id)',
  'CREATE INDEX logged_models_by_run ON logged_models (source_run_id)',
  ...['logged_model_params', 'logged_model_tags'].map(
    (table) => `CREATE TABLE ${table} (
      model_key ${int64} NOT NULL, key ${text} NOT NULL, value ${text} NOT NULL,
      PRIMARY KEY (model_key, key)
    ) ${clustered}`,
  ),
  `CREATE TABLE logged_model_metrics (
    model_key ${int64} NOT NULL, key ${text} NOT NULL, timestamp ${int64} NOT NULL, step ${int64} NOT NULL,
    run_id ${text} NOT NULL, value ${real} NOT NULL, is_nan ${int64} NOT NULL,
    dataset_name ${text} NOT NULL, dataset_digest ${text} NOT NULL,
    PRIMARY KEY (model_key, key, timestamp, step, run_id)
  ) ${clustered}`,

  `INSERT INTO experiments (experiment_id, name, artifact_location, lifecycle_stage, creation_time, last_update_time)
   VALUES (0, 'Default', 'mlflow-artifacts:/0', 'active', 0, 0)`,
];
