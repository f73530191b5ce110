import type { MigrationStatements } from '../migrations.ts';

/** What is watched of models, what was seen, and what followed from it. Times are milliseconds since 1970. */
export const monitors: MigrationStatements = ({ int64, text, serial, clustered }) => [
  `CREATE TABLE monitor_documents (name ${text} NOT NULL PRIMARY KEY, body ${text} NOT NULL, changed_at ${int64} NOT NULL)`,
  `CREATE TABLE monitor_references (
    monitor ${text} NOT NULL, version ${text} NOT NULL, digest ${text} NOT NULL,
    body ${text} NOT NULL, frozen_at ${int64} NOT NULL,
    PRIMARY KEY (monitor, version, digest)
  ) ${clustered}`,
  `CREATE TABLE monitor_windows (
    window_key ${serial},
    monitor ${text} NOT NULL, version ${text} NOT NULL, kind ${text} NOT NULL,
    state ${text} NOT NULL, reason ${text} NOT NULL, row_count ${int64} NOT NULL,
    from_at ${int64} NOT NULL, to_at ${int64} NOT NULL,
    first_id ${text} NOT NULL, last_id ${text} NOT NULL,
    body ${text} NOT NULL
  )`,
  'CREATE INDEX monitor_windows_by_monitor ON monitor_windows (monitor, window_key)',
  `CREATE TABLE monitor_states (name ${text} NOT NULL PRIMARY KEY, body ${text} NOT NULL, changed_at ${int64} NOT NULL)`,
  `CREATE TABLE monitor_retrainings (
    retraining_key ${serial},
    id ${text} NOT NULL UNIQUE,
    monitor ${text} NOT NULL, model ${text} NOT NULL, from_version ${text} NOT NULL,
    cause ${text} NOT NULL, reason ${text} NOT NULL, changed_at ${int64} NOT NULL,
    status ${text} NOT NULL, outcome ${text} NOT NULL,
    dataset ${text} NOT NULL, pipeline_run ${text} NOT NULL, version ${text} NOT NULL,
    created_at ${int64} NOT NULL, ended_at ${int64}
  )`,
  'CREATE INDEX monitor_retrainings_by_monitor ON monitor_retrainings (monitor, retraining_key)',
];
