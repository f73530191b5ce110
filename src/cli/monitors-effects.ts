import type { MonitorWindowRow } from '../client/monitors.ts';
import { formatTable } from './table.ts';

interface Effect {
  slice: string;
  column: string;
  statistic: string;
  value: number;
  low: number;
  high: number;
  threshold: string;
  change: string;
}

interface Figure {
  statistic: string;
  value: number;
  threshold: number;
  interval: { low: number; high: number };
}

/** What a window keeps with intervals: columns of drift by statistic, or the metric of quality, by slice. */
export function effectsOf({ kind, detail }: MonitorWindowRow): Effect[] {
  if (kind === 'quality') return qualityOf(detail);
  const slices = Array.isArray(detail) ? (detail as Slice[]) : [];
  return slices.flatMap(({ slice, columns }) =>
    columns.flatMap(({ name, effects, change }) =>
      (effects ?? []).map(({ statistic, value, threshold, interval }) => ({
        slice,
        column: name,
        statistic,
        value,
        ...interval,
        threshold: short(threshold),
        change: change ?? '',
      })),
    ),
  );
}

interface Slice {
  slice: string;
  columns: { name: string; effects?: Figure[]; change?: string }[];
}

interface Quality {
  metric: string;
  low: number | null;
  high: number | null;
  slices: Record<string, { value: number; interval?: { low: number; high: number } }>;
}

function qualityOf(detail: unknown): Effect[] {
  const { metric, low, high, slices } = (detail ?? {}) as Partial<Quality>;
  const limits = [low == null ? '' : `≥ ${short(low)}`, high == null ? '' : `≤ ${short(high)}`].filter(Boolean);
  return Object.entries(slices ?? {}).flatMap(([slice, { value, interval }]) =>
    interval === undefined
      ? []
      : [{ slice, column: '', statistic: metric ?? '', value, ...interval, threshold: limits.join(', '), change: '' }],
  );
}

export function renderEffects(window: MonitorWindowRow): string {
  const cells = effectsOf(window).map((one) => [
    one.column || '-',
    one.slice || 'all rows',
    one.statistic,
    short(one.value),
    `${short(one.low)} … ${short(one.high)}`,
    one.threshold || '-',
    one.change || '-',
  ]);
  const head = ['column', 'slice', 'statistic', 'value', '95 % interval', 'allowed', 'largest change'];
  return `window ${window.window}:\n${formatTable(head, cells)}`;
}

function short(value: number): string {
  return String(Number(value.toPrecision(3)));
}
