import type { RegistryDatabase } from '../registry/database/database.ts';
import type { MonitorTables } from '../registry/database/tables/monitors.ts';
import type { Alarm } from './alarm.ts';

export interface AlertRow {
  key: number;
  monitor: string;
  version: string;
  /** drift, or a metric of quality. */
  signal: string;
  level: 'warning' | 'alert';
  reason: string;
  window: number;
  /** When its first bad window began; milliseconds since 1970, as all times. */
  changedAt: number;
  begunAt: number;
  alertAt: number | null;
  endedAt: number | null;
  endReason: string;
}

type Stored = Omit<MonitorTables['monitor_alerts'], 'alert_key'> & { alert_key: number };

const KEPT = 1000;

/** The history of alarms: what rang, from which window on, and what ended it. The newest thousand of each monitor. */
export class AlertStore {
  private readonly database: RegistryDatabase;

  constructor(database: RegistryDatabase) {
    this.database = database;
  }

  /** An alarm began, or it rose. */
  rang(monitor: string, version: string, signal: string, alarm: Alarm, window: number): Promise<void> {
    const level = alarm.level === 'alert' ? 'alert' : 'warning';
    const reached = { level, reason: alarm.reason.slice(0, 2000), window_key: window };
    return this.database.write(async (db) => {
      const open = await db
        .selectFrom('monitor_alerts')
        .select('alert_key')
        .where('monitor', '=', monitor)
        .where('version', '=', version)
        .where('signal', '=', signal)
        .where('ended_at', 'is', null)
        .orderBy('alert_key', 'desc')
        .executeTakeFirst();
      const alert_at = level === 'alert' ? alarm.since : null;
      if (open !== undefined) {
        await db
          .updateTable('monitor_alerts')
          .set({ ...reached, alert_at })
          .where('alert_key', '=', open.alert_key)
          .execute();
        return;
      }
      const { alert_key } = await db
        .insertInto('monitor_alerts')
        .values({
          ...reached,
          monitor,
          version,
          signal,
          alert_at,
          changed_at: alarm.changedAt,
          begun_at: alarm.since,
          ended_at: null,
          end_reason: '',
        })
        .returning('alert_key')
        .executeTakeFirstOrThrow();
      if (alert_key % 100 !== 0) return;
      const oldest = await db
        .selectFrom('monitor_alerts')
        .select('alert_key')
        .where('monitor', '=', monitor)
        .orderBy('alert_key', 'desc')
        .offset(KEPT)
        .limit(1)
        .executeTakeFirst();
      if (oldest !== undefined)
        await db
          .deleteFrom('monitor_alerts')
          .where('monitor', '=', monitor)
          .where('alert_key', '<=', oldest.alert_key)
          .execute();
    });
  }

  ended(monitor: string, version: string, signal: string, at: number, reason: string): Promise<void> {
    return this.database.write(async (db) => {
      await db
        .updateTable('monitor_alerts')
        .set({ ended_at: at, end_reason: reason.slice(0, 2000) })
        .where('monitor', '=', monitor)
        .where('version', '=', version)
        .where('signal', '=', signal)
        .where('ended_at', 'is', null)
        .execute();
    });
  }

  /** Newest first. */
  async list(monitor: string, before: number, limit: number): Promise<AlertRow[]> {
    const rows = await this.database.read((db) =>
      db
        .selectFrom('monitor_alerts')
        .selectAll()
        .where('monitor', '=', monitor)
        .where('alert_key', '<', before)
        .orderBy('alert_key', 'desc')
        .limit(limit)
        .execute(),
    );
    return rows.map((row) => alertOf(row as Stored));
  }

  /** Those of a version that windows of a time belong to, oldest first. */
  async during(monitor: string, version: string, from: number, to: number): Promise<AlertRow[]> {
    const rows = await this.database.read((db) =>
      db
        .selectFrom('monitor_alerts')
        .selectAll()
        .where('monitor', '=', monitor)
        .where('version', '=', version)
        .where('changed_at', '<=', to)
        .where((where) => where.or([where('ended_at', 'is', null), where('ended_at', '>=', from)]))
        .orderBy('alert_key')
        .limit(50)
        .execute(),
    );
    return rows.map((row) => alertOf(row as Stored));
  }
}

function alertOf(row: Stored): AlertRow {
  const time = (value: number | null): number | null => (value === null ? null : Number(value));
  return {
    key: Number(row.alert_key),
    monitor: row.monitor,
    version: row.version,
    signal: row.signal,
    level: row.level as AlertRow['level'],
    reason: row.reason,
    window: Number(row.window_key),
    changedAt: Number(row.changed_at),
    begunAt: Number(row.begun_at),
    alertAt: time(row.alert_at),
    endedAt: time(row.ended_at),
    endReason: row.end_reason,
  };
}
