import type { MigrationStatements } from '../migrations.ts';

/** Which routes of which gateways lead to a version, and how often they decided for it. */
export const versionTraffic: MigrationStatements = ({ int64, text }) => [
  `CREATE TABLE version_routes (
    model_key ${int64} NOT NULL,
    version ${int64} NOT NULL,
    gateway_id ${text} NOT NULL,
    route ${text} NOT NULL,
    variant ${text} NOT NULL,
    first_at ${int64} NOT NULL,
    last_at ${int64} NOT NULL,
    PRIMARY KEY (model_key, version, gateway_id, route, variant)
  )`,
  `CREATE TABLE version_decisions (
    model_key ${int64} NOT NULL,
    version ${int64} NOT NULL,
    gateway_id ${text} NOT NULL,
    started_at ${int64} NOT NULL,
    route ${text} NOT NULL,
    variant ${text} NOT NULL,
    role ${text} NOT NULL,
    requests ${int64} NOT NULL,
    errors ${int64} NOT NULL,
    first_at ${int64} NOT NULL,
    last_at ${int64} NOT NULL,
    PRIMARY KEY (model_key, version, gateway_id, started_at, route, variant, role)
  )`,
];
