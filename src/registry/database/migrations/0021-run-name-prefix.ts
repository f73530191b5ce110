import type { MigrationStatements } from '../migrations.ts';

/** Names of runs have up to 8,000 characters, more than PostgreSQL takes into an index: it holds how they begin. */
export const runNamePrefix: MigrationStatements = () => [
  'DROP INDEX runs_by_name',
  'CREATE INDEX runs_by_name ON runs (experiment_id, substr(run_name, 1, 100))',
];
