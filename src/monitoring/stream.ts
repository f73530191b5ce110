import { type FeedbackRecord, isWithoutValues, type LogRecord, type RecordConsumer } from '../eventlog/record.ts';
import { Counters, freeze } from './counters.ts';
import type { MonitorSpec } from './document.ts';
import { layoutOf, readRow, rowsOf, valueAt } from './features.ts';
import { exportRows, type LabelledRow, PendingLabels, type PendingRow, readLabel } from './labels.ts';
import type { Value } from './statistics/bins.ts';
import type { Exported, MonitorEvent, QualityWindow, Reference } from './types.ts';

/** A monitor as the log thread needs it. */
export interface MonitorPlan {
  name: string;
  spec: MonitorSpec;
  /** Grows when a person wants it to learn its references anew. */
  generation: number;
  /** Frozen ones, by version. */
  references: Reference[];
  /** From a file: what a version without one of its own begins with. */
  base?: Reference;
}

type Emit = (event: MonitorEvent) => void;

const MOST_SLICE_VALUES = 20;
const LABELS_MS = 500;

/**
 * Monitors on the log thread: rows are counted as they come, and what was counted goes to the control thread by window.
 * Nothing here decides anything. Never throws on records.
 */
export class MonitorStream implements RecordConsumer {
  private monitors = new Map<string, OneMonitor>();
  private readonly emit: Emit;

  constructor(emit: Emit) {
    this.emit = emit;
  }

  get active(): boolean {
    return this.monitors.size > 0;
  }

  /** Monitors that are as they were go on counting. */
  set(plans: readonly MonitorPlan[]): void {
    const next = new Map<string, OneMonitor>();
    for (const plan of plans) {
      const known = this.monitors.get(plan.name);
      next.set(plan.name, known !== undefined && isSame(known.plan, plan) ? known : new OneMonitor(plan, this.emit));
    }
    this.monitors = next;
  }

  consume(records: readonly LogRecord[]): void {
    for (const monitor of this.monitors.values()) for (const record of records) monitor.consume(record);
  }

  feedback(records: readonly FeedbackRecord[]): void {
    for (const monitor of this.monitors.values()) for (const record of records) monitor.feedback(record);
  }

  /** Ends windows that are old enough. */
  tick(now: number): void {
    for (const monitor of this.monitors.values()) monitor.tick(now);
  }

  /** How many labelled rows of requests since a time are kept. */
  labelled(name: string, since: number): number {
    return this.monitors.get(name)?.labelledSince(since) ?? 0;
  }

  /** Labelled rows of requests since a time, as a CSV file; what is exported is kept. Throws when it cannot be written. */
  export(name: string, since: number, file: string): Exported {
    const monitor = this.monitors.get(name);
    if (monitor === undefined) throw new Error(`there is no monitor ${name}`);
    return monitor.export(since, file);
  }
}

/** What is counted of one version. */
interface VersionState {
  version: string;
  digest: string;
  readers: ReturnType<typeof layoutOf>;
  names: string[];
  /** Rows of a reference that is not complete yet. */
  rows: { values: Value[]; slices: string[] }[];
  counters: Counters | undefined;
  window: { from: number; to: number; firstId: string; lastId: string; season: string };
  quality: QualityWindow | undefined;
}

class OneMonitor {
  readonly plan: MonitorPlan;
  private readonly emit: Emit;
  private readonly versions = new Map<string, VersionState>();
  private readonly sliceValues: Set<string>[];
  private readonly pending: PendingLabels | undefined;
  private labelled: LabelledRow[] = [];
  private labels = 0;
  private told = { at: 0, total: -1 };
  private readonly sketched: boolean;

  constructor(plan: MonitorPlan, emit: Emit) {
    this.plan = plan;
    this.emit = emit;
    const { slices, quality, statistics } = plan.spec;
    this.sliceValues = slices.map(({ values }) => new Set(values));
    if (quality !== undefined) this.pending = new PendingLabels(quality.pending, quality.wait);
    this.sketched = statistics.ks !== undefined || statistics.wasserstein !== undefined;
  }

  consume(record: LogRecord): void {
    const { spec } = this.plan;
    if (record.status !== 'ok' || record.shadow || record.model !== spec.model || record.version === '') return;
    if (spec.route !== undefined && record.route !== spec.route) return;
    // Values that lie apart are not missing: large requests would look like drift.
    if (isWithoutValues(record)) return;
    // A record that comes again, as from a topic.
    if (this.pending?.has(record.id)) return;
    const state = this.versionOf(record);
    const rows = rowsOf(record, spec.columns.batched);
    const waiting: PendingRow[] = [];
    for (let row = 0; row < rows; row++) {
      const values = readRow(state.readers, record, row);
      const slices = this.slicesOf(record, row);
      this.count(state, record, values, slices);
      const predicted =
        spec.quality === undefined ? undefined : valueAt(record, spec.quality.prediction, row, spec.columns.batched);
      if (predicted !== undefined)
        waiting.push({
          id: record.id,
          time: record.time,
          version: record.version,
          entity: record.entity,
          predicted,
          columns: state.names,
          values,
          slices,
        });
    }
    if (waiting.length > 0) this.learn(this.pending?.add(record.id, waiting) ?? []);
  }

  feedback({ id, label, time }: FeedbackRecord): void {
    const { quality } = this.plan.spec;
    if (quality === undefined || label === undefined) return;
    const value = readLabel(label, quality.field);
    if (value !== undefined) this.learn(this.pending?.take(id, value, time) ?? []);
  }

  private learn(rows: readonly LabelledRow[]): void {
    const { retrain } = this.plan.spec;
    for (const row of rows) {
      this.labels++;
      this.judge(row);
      if (retrain === undefined) continue;
      this.labelled.push(row);
      if (this.labelled.length > 1.25 * retrain.data.rows) this.labelled = this.labelled.slice(-retrain.data.rows);
    }
  }

  tick(now: number): void {
    for (const state of this.versions.values()) {
      const { counters, window } = state;
      if (counters !== undefined && counters.rows > 0 && now - window.from >= this.plan.spec.window.atMost)
        this.close(state);
    }
    this.pending?.expire(now);
    if (this.pending === undefined || this.labels === this.told.total || now - this.told.at < LABELS_MS) return;
    this.told = { at: now, total: this.labels };
    const { size: pending, unmatched } = this.pending;
    const labels = { monitor: this.plan.name, total: this.labels, pending, unmatched, kept: this.labelled.length };
    this.emit({ kind: 'labels', labels });
  }

  labelledSince(since: number): number {
    return this.labelled.reduce((count, { time }) => count + (time >= since ? 1 : 0), 0);
  }

  export(since: number, file: string): Exported {
    const { retrain } = this.plan.spec;
    const rows = this.labelled.filter(({ time }) => time >= since).slice(-(retrain?.data.rows ?? 0));
    return exportRows(rows, file, retrain?.data.columns ?? {});
  }

  private versionOf(record: LogRecord): VersionState {
    const known = this.versions.get(record.version);
    if (known !== undefined && known.digest === record.digest) return known;
    const { spec, references, base, name } = this.plan;
    const readers = layoutOf(record, spec.columns);
    const state: VersionState = {
      version: record.version,
      digest: record.digest,
      readers,
      names: readers.map((reader) => reader.name),
      rows: [],
      counters: undefined,
      window: emptyWindow(),
      quality: undefined,
    };
    this.versions.set(record.version, state);
    const own = references.find(({ version, digest }) => version === record.version && digest === record.digest);
    const fits = (reference: Reference | undefined): Reference | undefined => {
      if (reference === undefined) return undefined;
      const columns = new Map(reference.columns.map((column) => [column.name, column]));
      return state.names.some((column) => columns.has(column)) ? reference : undefined;
    };
    const found = fits(own) ?? fits(base);
    if (found === undefined) return state;
    if (own === undefined) {
      const reference = {
        ...found,
        monitor: name,
        version: record.version,
        digest: record.digest,
        frozenAt: Date.now(),
      };
      this.emit({ kind: 'reference', reference });
    }
    this.begin(state, found);
    return state;
  }

  /** From here on rows are counted in the reference's bins: only columns that it has. */
  private begin(state: VersionState, reference: Reference): void {
    const readers = new Map(state.readers.map((reader) => [reader.name, reader]));
    const missing = { column: '', output: false, width: 1, take: 0 as const };
    state.readers = reference.columns.map(({ name }) => readers.get(name) ?? { name, ...missing });
    state.names = reference.columns.map(({ name }) => name);
    state.counters = new Counters(reference.columns, this.sketched);
    state.rows = [];
  }

  private count(state: VersionState, record: LogRecord, values: Value[], slices: string[]): void {
    const { spec, name } = this.plan;
    if (state.counters === undefined) {
      if (spec.reference.records === undefined) return;
      state.rows.push({ values, slices });
      if (state.rows.length < spec.reference.records) return;
      const reference: Reference = {
        monitor: name,
        version: state.version,
        digest: state.digest,
        frozenAt: Date.now(),
        source: `the first ${state.rows.length} rows`,
        ...freeze(state.names, state.rows, this.sketched),
      };
      this.emit({ kind: 'reference', reference });
      this.begin(state, reference);
      return;
    }
    const season = seasonOf(record.time, spec.reference.seasonal);
    if (state.counters.rows > 0 && season !== state.window.season) this.close(state);
    const { window } = state;
    if (state.counters.rows === 0) Object.assign(window, { from: record.time, firstId: record.id, season });
    // Threads and partitions come one after the other: the times of records do not only rise.
    window.from = Math.min(window.from, record.time);
    window.to = Math.max(window.to, record.time);
    window.lastId = record.id;
    state.counters.add(values, slices);
    if (state.counters.rows >= spec.window.rows) this.close(state);
  }

  private close(state: VersionState): void {
    const { version, digest } = state;
    const slices = state.counters?.take() ?? {};
    this.emit({ kind: 'window', window: { monitor: this.plan.name, version, digest, ...state.window, slices } });
    state.window = emptyWindow();
  }

  private judge(row: LabelledRow): void {
    const state = this.versions.get(row.version);
    const { quality } = this.plan.spec;
    if (state === undefined || quality === undefined) return;
    state.quality ??= {
      monitor: this.plan.name,
      version: row.version,
      from: row.time,
      to: row.time,
      firstId: row.id,
      lastId: row.id,
      slices: {},
    };
    const window = state.quality;
    window.lastId = row.id;
    window.from = Math.min(window.from, row.time);
    window.to = Math.max(window.to, row.time);
    const difference = Number(row.predicted) - Number(row.label);
    const correct = typeof row.label === 'number' ? difference === 0 : String(row.predicted) === String(row.label);
    for (const name of ['', ...row.slices]) {
      const sums = window.slices[name] ?? { rows: 0, correct: 0, absolute: 0, square: 0, fourth: 0 };
      window.slices[name] = sums;
      sums.rows++;
      sums.correct += correct ? 1 : 0;
      if (!Number.isFinite(difference)) continue;
      sums.absolute += Math.abs(difference);
      sums.square += difference * difference;
      sums.fourth += difference ** 4;
    }
    if (window.slices[''].rows < quality.window.rows) return;
    this.emit({ kind: 'quality', window });
    state.quality = undefined;
  }

  private slicesOf(record: LogRecord, row: number): string[] {
    return this.plan.spec.slices.flatMap(({ by, values }, i) => {
      const found = by.includes('.')
        ? valueAt(record, by, row, this.plan.spec.columns.batched)
        : record[by as 'tenant' | 'route' | 'variant' | 'protocol' | 'entity'];
      if (found === undefined) return [];
      const text = String(found).slice(0, 100);
      const known = this.sliceValues[i];
      if (!known.has(text)) {
        if (values !== undefined || known.size >= MOST_SLICE_VALUES) return [];
        known.add(text);
      }
      return [`${by}=${text}`];
    });
  }
}

function isSame(a: MonitorPlan, b: MonitorPlan): boolean {
  return a.generation === b.generation && JSON.stringify(a.spec) === JSON.stringify(b.spec);
}

function emptyWindow(): VersionState['window'] {
  return { from: 0, to: 0, firstId: '', lastId: '', season: '' };
}

/** The hour a time lies in, in UTC: '13', or '2-13' with the day of the week (0 = Sunday). */
export function seasonOf(time: number, seasonal: 'hourOfDay' | 'hourOfWeek' | undefined): string {
  if (seasonal === undefined) return '';
  const date = new Date(time);
  return seasonal === 'hourOfDay' ? String(date.getUTCHours()) : `${date.getUTCDay()}-${date.getUTCHours()}`;
}
