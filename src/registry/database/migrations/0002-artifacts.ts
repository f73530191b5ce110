import type { MigrationStatements } from '../migrations.ts';

/** Blobs, the artifact tree that names them, and uploads that are under way. */
export const artifacts: MigrationStatements = ({ int64, text, clustered }) => [
  `CREATE TABLE blobs (
    digest ${text} NOT NULL PRIMARY KEY,
    size ${int64} NOT NULL,
    claimed_time ${int64} NOT NULL,
    deleting_time ${int64}
  )`,
  'CREATE INDEX blobs_by_claim ON blobs (claimed_time)',
  `CREATE TABLE artifacts (
    path ${text} NOT NULL PRIMARY KEY,
    root_kind ${text} NOT NULL,
    root_id ${text} NOT NULL,
    digest ${text} NOT NULL,
    size ${int64} NOT NULL,
    media_type ${text} NOT NULL,
    created_time ${int64} NOT NULL
  ) ${clustered}`,
  'CREATE INDEX artifacts_by_digest ON artifacts (digest)',
  'CREATE INDEX artifacts_by_root ON artifacts (root_kind, root_id)',
  `CREATE TABLE uploads (
    upload_id ${text} NOT NULL PRIMARY KEY,
    path ${text} NOT NULL,
    media_type ${text} NOT NULL,
    size ${int64} NOT NULL,
    expected ${text} NOT NULL,
    received ${int64} NOT NULL,
    created_time ${int64} NOT NULL,
    touched_time ${int64} NOT NULL
  )`,
];
