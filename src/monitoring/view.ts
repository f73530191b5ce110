import { type Alarm, QUIET } from './alarm.ts';
import type { MonitorDocument } from './document.ts';
import type { WindowRow } from './judged-window-store.ts';
import type { MonitorState } from './state.ts';
import type { LabelCount, Reference } from './types.ts';

export interface MonitorView {
  name: string;
  model: string;
  origin: 'file' | 'api';
  /** The worst of its alarms. */
  level: Alarm['level'];
  reason: string;
  version: string;
  references: { version: string; frozen_at: number; source: string; rows: number; columns: number }[];
  alarms: { signal: string; version: string; level: string; since: number; reason: string }[];
  last_window: { state: string; reason: string; rows: number; to: number } | null;
  labels: { total: number; pending: number; unmatched: number; kept: number };
  retraining: { active: string | null; waiting: string; breaker: string; last: string | null; in_vain: number } | null;
}

/** What is known of a monitor besides its state. */
interface Known {
  origin: 'file' | 'api';
  references: readonly Reference[];
  labels: LabelCount | undefined;
  window: WindowRow | undefined;
}

/** A monitor as the admin port shows it. */
export function viewOf(name: string, { spec }: MonitorDocument, state: MonitorState, known: Known): MonitorView {
  const alarms = Object.entries(state.alarms).map(([place, { level, since, reason }]) => {
    const [signal, version] = place.split('/');
    return { signal, version, level, since, reason };
  });
  const rank = { ok: 0, warning: 1, alert: 2 };
  const worst = alarms.reduce((most, alarm) => (rank[alarm.level] > rank[most.level] ? alarm : most), {
    ...QUIET,
    version: state.champion,
  } as { level: Alarm['level']; reason: string; version: string });
  const { retrain } = state;
  const { total = 0, pending = 0, unmatched = 0, kept = 0 } = known.labels ?? {};
  const { window } = known;
  return {
    name,
    model: spec.model,
    origin: known.origin,
    level: worst.level,
    reason: worst.reason,
    version: state.champion,
    references: known.references.map((one) => ({
      version: one.version,
      frozen_at: one.frozenAt,
      source: one.source,
      rows: one.slices['']?.rows ?? 0,
      columns: one.columns.length,
    })),
    alarms,
    last_window:
      window === undefined ? null : { state: window.state, reason: window.reason, rows: window.rows, to: window.to },
    labels: { total, pending, unmatched, kept },
    retraining:
      spec.retrain === undefined
        ? null
        : {
            active: retrain.active?.id ?? null,
            waiting: retrain.waiting,
            breaker: retrain.breaker.open ? retrain.breaker.reason : '',
            last: retrain.last?.id ?? null,
            in_vain: retrain.inVain,
          },
  };
}
