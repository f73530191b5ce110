import type { MigrationStatements } from '../migrations.ts';

/** Runs that garbage collection has removed, as long as metrics of theirs are left; and the way to deleted runs. */
export const collectedRuns: MigrationStatements = ({ int64 }) => [
  `CREATE TABLE collected_runs (run_key ${int64} NOT NULL PRIMARY KEY)`,
  "CREATE INDEX runs_by_deletion ON runs (deleted_time) WHERE lifecycle_stage = 'deleted'",
];
