import type { MigrationStatements } from '../migrations.ts';

/** What a version consisted of when it was registered: later uploads to the same paths do not change it. */
export const versionFiles: MigrationStatements = ({ int64, text, clustered }) => [
  `CREATE TABLE model_version_files (
    model_key ${int64} NOT NULL, version ${int64} NOT NULL, path ${text} NOT NULL,
    digest ${text} NOT NULL, size ${int64} NOT NULL, media_type ${text} NOT NULL,
    PRIMARY KEY (model_key, version, path)
  ) ${clustered}`,
  'CREATE INDEX model_version_files_by_digest ON model_version_files (digest)',
];
