import type { Generated } from 'kysely';

/** See migrations/0011-monitors.ts. Times are milliseconds since 1970; bodies are JSON. */
export interface MonitorTables {
  monitor_documents: { name: string; body: string; changed_at: number };
  monitor_references: { monitor: string; version: string; digest: string; body: string; frozen_at: number };
  monitor_windows: {
    window_key: Generated<number>;
    monitor: string;
    version: string;
    kind: 'drift' | 'quality';
    state: string;
    reason: string;
    row_count: number;
    from_at: number;
    to_at: number;
    /** Of the first and the last request in it. */
    first_id: string;
    last_id: string;
    body: string;
  };
  monitor_states: { name: string; body: string; changed_at: number };
  monitor_retrainings: {
    retraining_key: Generated<number>;
    id: string;
    monitor: string;
    model: string;
    /** The version that was left. */
    from_version: string;
    cause: string;
    reason: string;
    /** Since when the data is as it was learnt. */
    changed_at: number;
    status: string;
    outcome: string;
    dataset: string;
    pipeline_run: string;
    /** What came out; '' = nothing (yet). */
    version: string;
    created_at: number;
    ended_at: number | null;
  };
  /** See migrations/0016-monitor-alerts.ts. */
  monitor_alerts: {
    alert_key: Generated<number>;
    monitor: string;
    version: string;
    signal: string;
    /** The worst that it reached. */
    level: string;
    reason: string;
    /** The window with which its level was reached. */
    window_key: number;
    /** When its first bad window began. */
    changed_at: number;
    begun_at: number;
    /** When it became an alert. */
    alert_at: number | null;
    ended_at: number | null;
    end_reason: string;
  };
}
