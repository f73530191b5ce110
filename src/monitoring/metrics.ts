import { escapeLabel } from '../telemetry/prometheus.ts';
import type { Level } from './alarm.ts';
import type { LabelCount, WindowSums } from './types.ts';
import type { WindowVerdict } from './verdict.ts';

type Labels = Record<string, string>;

const HELP: Record<string, [type: 'gauge' | 'counter', help: string]> = {
  level: ['gauge', 'Alarm of a signal (drift, or a metric of quality): 0 = ok, 1 = warning, 2 = alert'],
  window_rows: ['gauge', 'Rows of the last window'],
  window_drifted_columns: ['gauge', 'Columns of the last window that are flagged'],
  windows_total: ['counter', 'Windows judged, by what they said'],
  largest_effect: ['gauge', 'The largest distance of a column to its reference, in units of its threshold'],
  quality: ['gauge', 'Figure of the last labelled window'],
  labels_total: ['counter', 'Labelled rows since the log thread began'],
  labels_unmatched_total: ['counter', 'Labels for requests that are not known'],
  retrainings_total: ['counter', 'Retrainings that ended, by how'],
  breaker_open: ['gauge', '1: retraining stopped until a person resets the monitor'],
};
const LEVELS: Record<Level, number> = { ok: 0, warning: 1, alert: 2 };

/** The figures of monitors in Prometheus' text format. */
export class MonitorMetrics {
  private readonly values = new Map<string, Map<string, { labels: Labels; value: number }>>();

  level(monitor: string, signal: string, version: string, level: Level): void {
    this.set('level', { monitor, signal, version }, LEVELS[level]);
  }

  window({ monitor, version }: WindowSums, verdict: WindowVerdict): void {
    this.set('window_rows', { monitor, version }, verdict.rows);
    this.add('windows_total', { monitor, state: verdict.state }, 1);
    for (const { slice, drifted, columns } of verdict.slices) {
      this.set('window_drifted_columns', { monitor, version, slice }, drifted);
      const effects = columns.map(({ value, threshold }) => value / threshold);
      if (effects.length > 0) this.set('largest_effect', { monitor, version, slice }, Math.max(...effects));
    }
  }

  quality(monitor: string, version: string, metric: string, value: number): void {
    this.set('quality', { monitor, version, metric }, value);
  }

  labels({ monitor, total, unmatched }: LabelCount): void {
    this.set('labels_total', { monitor }, total);
    this.set('labels_unmatched_total', { monitor }, unmatched);
  }

  retraining(monitor: string, status: string): void {
    this.add('retrainings_total', { monitor, status }, 1);
  }

  breaker(monitor: string, open: boolean): void {
    this.set('breaker_open', { monitor }, open ? 1 : 0);
  }

  /** A monitor that is no more. */
  forget(monitor: string): void {
    for (const series of this.values.values())
      for (const [key, { labels }] of series) if (labels.monitor === monitor) series.delete(key);
  }

  text(): string {
    const blocks = Object.entries(HELP).map(([name, [type, help]]) => {
      const series = this.series(name);
      const full = `switchyard_monitor_${name}`;
      const lines = [...series.values()].map(({ labels, value }) => {
        const text = Object.entries(labels).map(([key, own]) => `${key}="${escapeLabel(own)}"`);
        return `${full}{${text.join()}} ${value}`;
      });
      return `# HELP ${full} ${help}\n# TYPE ${full} ${type}\n${lines.map((line) => `${line}\n`).join('')}`;
    });
    return blocks.join('');
  }

  private set(name: string, labels: Labels, value: number): void {
    this.series(name).set(JSON.stringify(labels), { labels, value });
  }

  private add(name: string, labels: Labels, value: number): void {
    const before = this.series(name).get(JSON.stringify(labels))?.value ?? 0;
    this.set(name, labels, before + value);
  }

  private series(name: string): Map<string, { labels: Labels; value: number }> {
    const found = this.values.get(name) ?? new Map();
    this.values.set(name, found);
    return found;
  }
}
