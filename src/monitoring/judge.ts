import type { Finding } from './alarm.ts';
import type { Alarms } from './alarms.ts';
import type { MonitorDocument } from './document.ts';
import type { JudgedWindowStore, WindowRow } from './judged-window-store.ts';
import type { MonitorMetrics } from './metrics.ts';
import { judgeQuality, qualityInterval, qualityValue } from './quality.ts';
import { isLearning, withSeason } from './seasons.ts';
import type { MonitorStore } from './store.ts';
import type { LabelCount, MonitorEvent, QualityWindow, Reference, WindowSums } from './types.ts';
import { judgeWindow } from './verdict.ts';

interface JudgeParts {
  document(monitor: string): MonitorDocument | undefined;
  store: MonitorStore;
  judged: JudgedWindowStore;
  alarms: Alarms;
  metrics: MonitorMetrics;
  log(level: 'info' | 'warn' | 'error', message: string, fields: object): void;
}

/**
 * Takes in what the log thread counted, one event after the other: keeps references, judges windows against them, keeps
 * the verdicts and hands their findings to the alarms.
 */
export class Judge {
  private readonly parts: JudgeParts;
  private readonly references = new Map<string, Reference[]>();
  private readonly labels = new Map<string, LabelCount>();
  private readonly lastWindows = new Map<string, WindowRow>();

  constructor(parts: JudgeParts) {
    this.parts = parts;
  }

  referencesOf(monitor: string): readonly Reference[] {
    return this.references.get(monitor) ?? [];
  }

  /** As of the last event; undefined: none has come. */
  labelsOf(monitor: string): LabelCount | undefined {
    return this.labels.get(monitor);
  }

  lastWindowOf(monitor: string): WindowRow | undefined {
    return this.lastWindows.get(monitor);
  }

  /** Reads again what windows of a monitor are judged against. */
  async learnReferences(monitor: string): Promise<Reference[]> {
    const references = await this.parts.store.references(monitor);
    this.references.set(monitor, references);
    return references;
  }

  /** @param again it may have been told before */
  async take(event: MonitorEvent, again: boolean): Promise<void> {
    if (event.kind === 'labels') {
      this.labels.set(event.labels.monitor, event.labels);
      this.parts.metrics.labels(event.labels);
      return;
    }
    const name = event.kind === 'reference' ? event.reference.monitor : event.window.monitor;
    const document = this.parts.document(name);
    if (document === undefined || (again && (await this.isKnown(event)))) return;
    if (event.kind === 'reference') await this.frozen(event.reference);
    else if (event.kind === 'window') await this.judgeDrift(document, event.window);
    else await this.judgeQuality(document, event.window);
  }

  private async isKnown(event: Exclude<MonitorEvent, { kind: 'labels' }>): Promise<boolean> {
    if (event.kind === 'reference') {
      const { monitor, version, digest, frozenAt } = event.reference;
      const known = this.references.get(monitor)?.find((each) => each.version === version && each.digest === digest);
      return known?.frozenAt === frozenAt;
    }
    return this.parts.judged.has(event.kind === 'window' ? 'drift' : 'quality', event.window);
  }

  private async frozen(reference: Reference): Promise<void> {
    await this.parts.store.putReference(reference);
    const list = this.references.get(reference.monitor) ?? [];
    const others = list.filter(({ version, digest }) => version !== reference.version || digest !== reference.digest);
    this.references.set(reference.monitor, [...others, reference]);
    const { monitor, version, source, columns } = reference;
    this.parts.log('info', 'a reference is frozen', { monitor, version, source, columns: columns.length });
  }

  private async judgeDrift(document: MonitorDocument, window: WindowSums): Promise<void> {
    const { spec } = document;
    const reference = this.references
      .get(window.monitor)
      ?.find(({ version, digest }) => version === window.version && digest === window.digest);
    if (reference === undefined) return;
    const { judged, metrics, alarms } = this.parts;
    const learning = isLearning(spec, reference, window.from);
    const verdict = learning
      ? { state: 'learning' as const, reason: 'added to the reference', rows: window.slices['']?.rows ?? 0, slices: [] }
      : judgeWindow(spec, reference, window);
    const { version, from, to, firstId, lastId } = window;
    const row = {
      monitor: window.monitor,
      version,
      kind: 'drift' as const,
      state: verdict.state,
      reason: verdict.reason,
      rows: verdict.rows,
      from,
      to,
      firstId,
      lastId,
      body: verdict.slices,
    };
    const key = await judged.add(row);
    // Behind it: a window that is told again must not be added twice.
    if (learning) await this.frozen(withSeason(reference, window));
    this.lastWindows.set(window.monitor, { ...row, key });
    metrics.window(window, verdict);
    const finding: Finding = verdict.state === 'drifted' ? 'bad' : verdict.state === 'ok' ? 'good' : 'unknown';
    await alarms.take(document, 'drift', version, finding, { from, to, reason: verdict.reason, key });
  }

  private async judgeQuality(document: MonitorDocument, window: QualityWindow): Promise<void> {
    const { quality } = document.spec;
    if (quality === undefined) return;
    const { store, judged, metrics, alarms } = this.parts;
    const { version, monitor, from, to, firstId, lastId } = window;
    const sums = window.slices[''];
    const now = Date.now();
    for (const rule of quality.metrics) {
      const value = qualityValue(rule.metric, sums);
      const place = `${rule.metric}/${version}`;
      const { after } = await store.update(monitor, now, (state) => {
        const known = state.first[place] ?? [];
        if (rule.sigmas === undefined || known.length >= rule.windows) return state;
        return { ...state, first: { ...state.first, [place]: [...known, value] } };
      });
      const verdict = judgeQuality(rule, sums, after.first[place] ?? []);
      const slices = Object.fromEntries(
        Object.entries(window.slices).map(([slice, own]) => [
          slice,
          { rows: own.rows, value: qualityValue(rule.metric, own), interval: qualityInterval(rule.metric, own) },
        ]),
      );
      const state = verdict.finding === 'bad' ? 'bad' : verdict.finding === 'good' ? 'ok' : 'learning';
      const reason = verdict.reason || `${rule.metric} is ${value.toFixed(4)}`;
      const interval = qualityInterval(rule.metric, sums);
      const body = { metric: rule.metric, value, interval, low: verdict.low, high: verdict.high, slices };
      const key = await judged.add({
        monitor,
        version,
        kind: 'quality',
        state,
        reason,
        rows: sums.rows,
        from,
        to,
        firstId,
        lastId,
        body,
      });
      metrics.quality(monitor, version, rule.metric, value);
      await alarms.take(document, rule.metric, version, verdict.finding, { from, to, reason, key });
    }
  }
}
