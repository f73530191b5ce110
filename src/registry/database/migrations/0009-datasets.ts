import type { MigrationStatements } from '../migrations.ts';

/**
 * Datasets as people share them: a name, and versions whose Parquet lies in the blob store. `tracking`'s table "datasets"
 * holds what clients noted of any data; a version is found there by `mlflow_digest`. Beside them the schemas that data is
 * validated by.
 */
export const datasets: MigrationStatements = ({ int64, text, serial, clustered }) => [
  `CREATE TABLE dataset_names (
    name ${text} NOT NULL PRIMARY KEY,
    description ${text} NOT NULL, owner ${text} NOT NULL, readers ${text} NOT NULL,
    last_version ${int64} NOT NULL, created_at ${int64} NOT NULL
  ) ${clustered}`,
  `CREATE TABLE dataset_versions (
    version_key ${serial},
    name ${text} NOT NULL, version ${int64} NOT NULL,
    kind ${text} NOT NULL,
    digest ${text} NOT NULL, mlflow_digest ${text} NOT NULL,
    size ${int64} NOT NULL, row_count ${int64} NOT NULL,
    schema ${text} NOT NULL, profile ${text} NOT NULL,
    source ${text} NOT NULL, parents ${text} NOT NULL, run_id ${text} NOT NULL,
    rejects ${int64} NOT NULL, rejects_digest ${text} NOT NULL,
    actor ${text} NOT NULL, created_at ${int64} NOT NULL,
    UNIQUE (name, version)
  )`,
  'CREATE INDEX dataset_versions_by_digest ON dataset_versions (digest)',
  'CREATE INDEX dataset_versions_by_rejects ON dataset_versions (rejects_digest)',
  'CREATE INDEX dataset_versions_by_mlflow_digest ON dataset_versions (mlflow_digest)',
  `CREATE TABLE dataset_tags (
    version_key ${int64} NOT NULL, key ${text} NOT NULL, value ${text} NOT NULL,
    PRIMARY KEY (version_key, key)
  ) ${clustered}`,
  `CREATE TABLE data_schemas (
    name ${text} NOT NULL, version ${int64} NOT NULL,
    body ${text} NOT NULL, dataset ${text} NOT NULL, actor ${text} NOT NULL, created_at ${int64} NOT NULL,
    PRIMARY KEY (name, version)
  ) ${clustered}`,
];
