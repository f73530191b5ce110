import type { MigrationStatements } from '../migrations.ts';

/** On SQLite runs are found by name through their name's tag, and through this list where somebody has deleted that. */
export const namesByTag: MigrationStatements = ({ kind, int64, clustered }) => [
  ...(kind === 'sqlite' ? ['DROP INDEX runs_by_name'] : []),
  `CREATE TABLE runs_without_name_tag (
    experiment_id ${int64} NOT NULL, run_key ${int64} NOT NULL,
    PRIMARY KEY (experiment_id, run_key)
  ) ${clustered}`,
  `INSERT INTO runs_without_name_tag SELECT experiment_id, run_key FROM runs r
    WHERE NOT EXISTS (SELECT 1 FROM tags t WHERE t.run_key = r.run_key AND t.key = 'mlflow.runName')`,
];
