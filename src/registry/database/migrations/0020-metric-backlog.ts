import type { MigrationStatements } from '../migrations.ts';

/** Points that were answered for and are not in their tables yet: see tracking/metric-backlog.ts. */
export const metricBacklog: MigrationStatements = ({ kind, int64, text, serial }) => [
  `CREATE TABLE metric_backlog (
    batch_key ${kind === 'sqlite' ? 'INTEGER PRIMARY KEY' : serial},
    run_key ${int64} NOT NULL, experiment_id ${int64} NOT NULL,
    points ${text} NOT NULL
  )`,
];
