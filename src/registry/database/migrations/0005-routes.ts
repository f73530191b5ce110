import type { MigrationStatements } from '../migrations.ts';

/** Routes made over the API, and where all routes stand: what their controllers decided, as JSON. */
export const routes: MigrationStatements = ({ int64, text, clustered }) => [
  `CREATE TABLE route_documents (
    kind ${text} NOT NULL, name ${text} NOT NULL, body ${text} NOT NULL, changed_at ${int64} NOT NULL,
    PRIMARY KEY (kind, name)
  ) ${clustered}`,
  `CREATE TABLE route_standings (
    route ${text} PRIMARY KEY, standing ${text} NOT NULL, changed_at ${int64} NOT NULL
  ) ${clustered}`,
];
