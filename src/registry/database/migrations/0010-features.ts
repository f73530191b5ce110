import type { MigrationStatements } from '../migrations.ts';

/** Feature views made over the API, fitted transforms, and how far each view is materialised. */
export const features: MigrationStatements = ({ int64, text, clustered }) => [
  `CREATE TABLE feature_documents (
    kind ${text} NOT NULL, name ${text} NOT NULL, body ${text} NOT NULL, changed_at ${int64} NOT NULL,
    PRIMARY KEY (kind, name)
  ) ${clustered}`,
  `CREATE TABLE feature_materializations (
    feature_view ${text} NOT NULL, tenant ${text} NOT NULL, until ${int64} NOT NULL, changed_at ${int64} NOT NULL,
    PRIMARY KEY (feature_view, tenant)
  ) ${clustered}`,
  `CREATE TABLE feature_transforms (
    name ${text} NOT NULL, version ${int64} NOT NULL, kind ${text} NOT NULL, state ${text} NOT NULL,
    digest ${text} NOT NULL, actor ${text} NOT NULL, created_at ${int64} NOT NULL,
    PRIMARY KEY (name, version)
  ) ${clustered}`,
];
