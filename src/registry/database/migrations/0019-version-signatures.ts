import type { MigrationStatements } from '../migrations.ts';

/** The signature over what a version consists of, made when that was fixed. */
export const versionSignatures: MigrationStatements = ({ int64, text, clustered }) => [
  `CREATE TABLE model_version_signatures (
    model_key ${int64} NOT NULL, version ${int64} NOT NULL,
    key_id ${text} NOT NULL, signature ${text} NOT NULL,
    PRIMARY KEY (model_key, version)
  ) ${clustered}`,
];
