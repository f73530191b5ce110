import type { MigrationStatements } from '../migrations.ts';

/** Every alarm of a monitor, from its first bad window to its end. Times are milliseconds since 1970. */
export const monitorAlerts: MigrationStatements = ({ int64, text, serial }) => [
  `CREATE TABLE monitor_alerts (
    alert_key ${serial},
    monitor ${text} NOT NULL, version ${text} NOT NULL, signal ${text} NOT NULL,
    level ${text} NOT NULL, reason ${text} NOT NULL, window_key ${int64} NOT NULL,
    changed_at ${int64} NOT NULL, begun_at ${int64} NOT NULL, alert_at ${int64},
    ended_at ${int64}, end_reason ${text} NOT NULL
  )`,
  'CREATE INDEX monitor_alerts_by_monitor ON monitor_alerts (monitor, alert_key)',
  'CREATE INDEX monitor_retrainings_by_version ON monitor_retrainings (model, version, retraining_key)',
];
