import { type FeedbackRecord, isWithoutValues, type LogRecord } from '../eventlog/record.ts';
import { steadyTime } from '../shared/clock.ts';
import { Counters, freeze } from './counters.ts';
import { layoutOf, readRow, rowsOf, valueAt } from './features.ts';
import type { LabelJournal, LabelStore } from './label-store.ts';
import { exportRows, type LabelledRow, PendingLabels, type PendingRow, readLabel } from './labels.ts';
import type { Value } from './statistics/bins.ts';
import type { MonitorPlan } from './stream.ts';
import type { Exported, FrozenColumn, MonitorEvent, QualityWindow, Reference, SliceSums } from './types.ts';
import type { WindowStore } from './window-store.ts';

const MOST_SLICE_VALUES = 20;
const LABELS_MS = 500;

type Emit = (event: MonitorEvent) => void;

/** Where a monitor keeps what outlives the process. */
export interface WatcherStores {
  labels: LabelStore;
  windows: WindowStore;
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
  /** Of the reference that it is counted by; 0: there is none yet. */
  frozenAt: number;
  /** In the order of `names`, where there is a reference. */
  columns: FrozenColumn[];
  window: { from: number; to: number; firstId: string; lastId: string; season: string };
  /** When the window's first record came here: its own time says nothing of that. */
  openedAt: number;
}

/** What is kept of the windows of a monitor: its versions', with their sums. */
interface KeptCounts {
  slices: string[][];
  versions: (Omit<VersionState, 'counters'> & { sums: Record<string, SliceSums> | undefined })[];
}

/** A monitor on the log thread: counts its rows, joins its labels, and tells of windows that are full. */
export class Watcher {
  readonly plan: MonitorPlan;
  private readonly emit: Emit;
  private readonly versions = new Map<string, VersionState>();
  private readonly sliceValues: Set<string>[];
  private readonly pending: PendingLabels | undefined;
  private labelled: LabelledRow[] = [];
  private labels = 0;
  private told = { at: 0, total: -1, unmatched: -1 };
  private kept = { labels: 0, unmatched: 0 };
  private readonly sketched: boolean;
  private readonly journal: LabelJournal | undefined;
  private readonly windows: WindowStore | undefined;
  /** Something was counted since it was kept. */
  private changed = false;
  /** By version: windows of quality that are not full. */
  private quality = new Map<string, QualityWindow>();

  constructor(plan: MonitorPlan, emit: Emit, stores: WatcherStores | undefined) {
    this.plan = plan;
    this.emit = emit;
    const { slices, quality, statistics } = plan.spec;
    this.sliceValues = slices.map(({ values }) => new Set(values));
    if (quality !== undefined) {
      const known = stores?.labels.load(plan.name, printOf(plan));
      this.journal = stores?.labels.of(plan.name);
      this.pending = new PendingLabels(quality.pending, quality.wait, this.journal, known);
      if (known !== undefined) {
        ({ labels: this.labels, labelled: this.labelled, quality: this.quality } = known);
        this.kept = { labels: known.labels, unmatched: known.unmatched };
      }
    }
    this.sketched = statistics.ks !== undefined || statistics.wasserstein !== undefined;
    this.windows = stores?.windows;
    const kept = this.windows?.load<KeptCounts>(plan.name, settingsOf(plan));
    if (kept !== undefined) this.restore(kept);
  }

  /** Goes on with windows where they were. Those of a reference that is another one by now begin anew. */
  private restore({ slices, versions }: KeptCounts): void {
    slices.forEach((values, i) => {
      for (const value of values) this.sliceValues[i].add(value);
    });
    for (const { sums, ...kept } of versions) {
      const { version, digest, frozenAt, columns } = kept;
      const own = this.plan.references.find((each) => each.version === version && each.digest === digest);
      if (own !== undefined && own.frozenAt !== frozenAt) continue;
      const counters = sums === undefined ? undefined : new Counters(columns, this.sketched);
      counters?.begin(sums ?? {});
      this.versions.set(version, { ...kept, counters });
    }
  }

  private counts(): KeptCounts {
    return {
      slices: this.sliceValues.map((values) => [...values]),
      versions: [...this.versions.values()]
        .filter((state) => !this.isFoundAgain(state))
        .map(({ counters, ...state }) => ({ ...state, sums: counters?.sums() })),
    };
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
      this.countRow(state, record, values, slices);
      const predicted =
        spec.quality === undefined ? undefined : valueAt(record, spec.quality.prediction, row, spec.columns.batched);
      if (predicted !== undefined)
        waiting.push({
          id: record.id,
          time: record.time,
          tenant: record.tenant,
          version: record.version,
          entity: record.entity,
          predicted,
          columns: state.names,
          values,
          slices,
        });
    }
    if (waiting.length > 0) this.learn(this.pending?.add(record.id, waiting, steadyTime()) ?? []);
  }

  feedback({ id, label, tenant }: FeedbackRecord): void {
    const { quality } = this.plan.spec;
    if (quality === undefined || label === undefined) return;
    const value = readLabel(label, quality.field);
    // Null is what a redaction leaves of it.
    if (value !== undefined && value !== null) this.learn(this.pending?.take(id, value, tenant, steadyTime()) ?? []);
  }

  /** Nothing is counted by a reference that the plan has: versions of long ago are left out. */
  private isFoundAgain({ version, digest, counters }: VersionState): boolean {
    const known = this.plan.references.some((each) => each.version === version && each.digest === digest);
    return known && counters?.rows === 0;
  }

  /** Writes down what has changed; it is there with the journal's next flush. */
  keep(): void {
    if (this.changed) this.windows?.save(this.plan.name, settingsOf(this.plan), this.counts());
    this.changed = false;
    if (this.journal === undefined) return;
    const { labels, quality } = this;
    const unmatched = this.pending?.unmatched ?? 0;
    if (labels === this.kept.labels && unmatched === this.kept.unmatched) return;
    this.journal.counts({ labels, unmatched, quality });
    this.kept = { labels, unmatched };
  }

  private learn(rows: readonly LabelledRow[]): void {
    const { retrain } = this.plan.spec;
    if (rows.length > 0 && retrain !== undefined) this.journal?.labelled(rows);
    for (const row of rows) {
      this.labels++;
      this.judge(row);
      if (retrain === undefined) continue;
      this.labelled.push(row);
      if (this.labelled.length <= 1.25 * retrain.data.rows) continue;
      this.labelled = this.labelled.slice(-retrain.data.rows);
      this.journal?.trim(retrain.data.rows);
    }
  }

  /** @param now steadyTime(): labels are waited for, and windows are open, as time passes */
  tick(now: number): void {
    for (const state of this.versions.values()) {
      const { counters, openedAt } = state;
      if (counters !== undefined && counters.rows > 0 && now - openedAt >= this.plan.spec.window.atMost)
        this.close(state);
    }
    this.pending?.expire(now);
    if (this.pending === undefined || now - this.told.at < LABELS_MS) return;
    const { size: pending, unmatched } = this.pending;
    if (this.labels === this.told.total && unmatched === this.told.unmatched) return;
    this.told = { at: now, total: this.labels, unmatched };
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
      frozenAt: 0,
      columns: [],
      window: emptyWindow(),
      openedAt: 0,
    };
    // Another model under the same number.
    if (known !== undefined) this.quality.delete(record.version);
    this.versions.set(record.version, state);
    const own = references.find(({ version, digest }) => version === record.version && digest === record.digest);
    const fits = (reference: Reference | undefined): Reference | undefined => {
      if (reference === undefined) return undefined;
      const columns = new Map(reference.columns.map((column) => [column.name, column]));
      return state.names.some((column) => columns.has(column)) ? reference : undefined;
    };
    const found = fits(own) ?? fits(base);
    if (found === undefined) return state;
    const { version, digest } = record;
    const reference = own ?? { ...found, monitor: name, version, digest, frozenAt: Date.now() };
    if (own === undefined) this.emit({ kind: 'reference', reference });
    this.begin(state, reference);
    return state;
  }

  /** From here on rows are counted in the reference's bins: only columns that it has. */
  private begin(state: VersionState, reference: Reference): void {
    const readers = new Map(state.readers.map((reader) => [reader.name, reader]));
    const missing = { column: '', output: false, width: 1, take: 0 as const };
    state.readers = reference.columns.map(({ name }) => readers.get(name) ?? { name, ...missing });
    state.names = reference.columns.map(({ name }) => name);
    state.counters = new Counters(reference.columns, this.sketched);
    state.frozenAt = reference.frozenAt;
    state.columns = reference.columns;
    state.rows = [];
  }

  private countRow(state: VersionState, record: LogRecord, values: Value[], slices: string[]): void {
    const { spec, name } = this.plan;
    this.changed = true;
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
    if (state.counters.rows === 0) {
      Object.assign(window, { from: record.time, firstId: record.id, season });
      state.openedAt = steadyTime();
    }
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
    this.changed = true;
    this.emit({ kind: 'window', window: { monitor: this.plan.name, version, digest, ...state.window, slices } });
    state.window = emptyWindow();
  }

  private judge(row: LabelledRow): void {
    const { quality } = this.plan.spec;
    if (quality === undefined) return;
    const window = this.quality.get(row.version) ?? {
      monitor: this.plan.name,
      version: row.version,
      from: row.time,
      to: row.time,
      firstId: row.id,
      lastId: row.id,
      slices: {},
    };
    this.quality.set(row.version, window);
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
    this.quality.delete(row.version);
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

/** What windows are counted by: those of other settings do not fit. */
export function settingsOf({ generation, spec }: MonitorPlan): string {
  return JSON.stringify([generation, spec]);
}

/** What labels are joined by: those of other settings do not fit. */
function printOf({ generation, spec: { model, route, quality, columns, slices } }: MonitorPlan): string {
  return JSON.stringify([generation, model, route, quality?.prediction, quality?.field, columns, slices]);
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
