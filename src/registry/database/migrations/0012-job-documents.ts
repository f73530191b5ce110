import type { MigrationStatements } from '../migrations.ts';

/**
 * Documents of jobs apart from what changes: SQLite compares whole rows of a table without row ids when it looks one up,
 * and every change of a job would write its document again.
 */
export const jobDocuments: MigrationStatements = ({ text }) => [
  `CREATE TABLE job_documents (job_id ${text} NOT NULL PRIMARY KEY, document ${text} NOT NULL)`,
  'INSERT INTO job_documents (job_id, document) SELECT job_id, document FROM jobs',
  'ALTER TABLE jobs DROP COLUMN document',
];
