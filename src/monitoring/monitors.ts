import { resolve } from 'node:path';
import type { MonitoringConfig } from '../config/monitoring-schema.ts';
import { ConfigError } from '../config/yaml-file.ts';
import type { Registry } from '../registry/registry.ts';
import { SwitchyardError } from '../shared/errors.ts';
import { RegistryCalls } from '../training/pipelines/tracking.ts';
import type { Finding } from './alarm.ts';
import { Alarms } from './alarms.ts';
import { type AlertRow, AlertStore } from './alert-store.ts';
import type { MonitorDocument } from './document.ts';
import { type Lineage, lineageOf } from './lineage.ts';
import { MonitorBook, type MonitorChange } from './load.ts';
import { MonitorMetrics } from './metrics.ts';
import { judgeQuality, qualityInterval, qualityValue } from './quality.ts';
import type { RecordSource } from './record-search.ts';
import { referenceFromFile } from './reference-file.ts';
import { Retrainer, type RetrainerParts } from './retrainer.ts';
import { freshRetrainState } from './retraining.ts';
import { isLearning, withSeason } from './seasons.ts';
import { freshState, type MonitorState, MonitorStore, type RetrainingRow, type WindowRow } from './store.ts';
import type { MonitorPlan } from './stream.ts';
import { type GivenFacts, type RequestTrace, traceRequest } from './trace-request.ts';
import type { LabelCount, MonitorEvent, MonitorListener, QualityWindow, Reference, WindowSums } from './types.ts';
import { judgeWindow } from './verdict.ts';
import { type MonitorView, viewOf } from './view.ts';

const TICK_MS = 1000;

/** The log thread, as monitors use it. */
export interface MonitorFeed extends NonNullable<RetrainerParts['feed']> {
  monitor(plans: MonitorPlan[], listener: MonitorListener): void;
}

export interface MonitorsParts extends RetrainerParts {
  config: MonitoringConfig;
  baseDir: string;
  feed: MonitorFeed | undefined;
  registry(): Promise<Registry>;
  /** Where the records of requests are kept. */
  records: RecordSource;
}

/** What there is once the registry is open. */
interface Opened {
  store: MonitorStore;
  alerts: AlertStore;
  alarms: Alarms;
  registry: Registry;
  calls: RegistryCalls;
  retrainer: Retrainer;
}

/** Monitors as the admin port and src/main.ts hold them: judges windows, tells of alarms, has models retrained. */
export class Monitors {
  private readonly parts: MonitorsParts;
  private readonly book: MonitorBook;
  private readonly metricsText = new MonitorMetrics();
  private readonly references = new Map<string, Reference[]>();
  private readonly generations = new Map<string, number>();
  private readonly labels = new Map<string, LabelCount>();
  private readonly lastWindows = new Map<string, WindowRow>();
  private opening: Promise<Opened> | undefined;
  /** One thing after the other: windows are judged in the order they ended. */
  private last: Promise<unknown> = Promise.resolve();
  private timer: NodeJS.Timeout | undefined;
  private ticking = false;
  private closed = false;

  /** Reads the monitor files. Throws ConfigError. */
  constructor(parts: MonitorsParts) {
    this.parts = parts;
    this.book = new MonitorBook(parts.config.files, parts.baseDir);
    this.book.readFiles();
    if (this.book.all.size > 0 && parts.feed === undefined)
      throw new ConfigError(['monitoring.files: monitors read the event log; set eventLog.enabled: true']);
  }

  /** Begins to watch, now or when the registry can be opened. Never rejects. */
  async start(): Promise<void> {
    for (let wait = 1000; !this.closed; wait = Math.min(2 * wait, 30_000)) {
      try {
        await this.open();
        this.timer = setInterval(() => this.tick(), TICK_MS);
        this.timer.unref();
        return;
      } catch (error) {
        this.parts.log('warn', 'monitors wait for the registry', { err: error });
        await new Promise((next) => setTimeout(next, wait).unref());
      }
    }
  }

  async close(): Promise<void> {
    this.closed = true;
    clearInterval(this.timer);
    await this.last;
  }

  metrics(): string {
    return this.metricsText.text();
  }

  documents(): { name: string; origin: 'file' | 'api'; document: MonitorDocument }[] {
    return [...this.book.all].map(([name, document]) => ({ name, origin: this.book.origin(name), document }));
  }

  /** All changes or none. Throws SwitchyardError with every problem. */
  async change(changes: readonly MonitorChange[], dryRun: boolean): Promise<void> {
    this.book.check(changes);
    if (this.parts.feed === undefined)
      throw new SwitchyardError('failed_precondition', 'monitors read the event log; set eventLog.enabled: true');
    if (dryRun) return;
    const { store } = await this.open();
    const rows = changes.map(({ name, body }) => ({
      name,
      body: body === undefined ? undefined : JSON.stringify(body),
    }));
    await store.putDocuments(rows, Date.now());
    this.book.change(changes);
    for (const { name, body } of changes) if (body === undefined) this.metricsText.forget(name);
    await this.plan();
  }

  /** Reads the files again. Returns the problems; with any, everything stays as it was. */
  async reload(): Promise<string[]> {
    try {
      this.book.readFiles();
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      return error.problems;
    }
    await this.plan();
    return [];
  }

  async list(): Promise<MonitorView[]> {
    const { store } = await this.open();
    return Promise.all([...this.book.all].map(async ([name, doc]) => this.view(name, doc, await store.state(name))));
  }

  /** Throws not_found. */
  async get(name: string): Promise<MonitorView & { document: MonitorDocument }> {
    const document = this.find(name);
    const { store } = await this.open();
    return { ...this.view(name, document, await store.state(name)), document };
  }

  async windows(name: string, before: number, limit: number): Promise<WindowRow[]> {
    this.find(name);
    return (await this.open()).store.windows(name, before, limit);
  }

  /** Retrainings, newest first, each from the requests that began it to what became of it. */
  async lineage(name: string, before: number, limit: number): Promise<Lineage[]> {
    this.find(name);
    const { store } = await this.open();
    const rows = await store.retrainings(name, before, limit);
    return Promise.all(rows.map((row) => this.descent(row)));
  }

  /** The retrainings that brought a version, newest first: the way back from what serves to the requests. */
  async origin(model: string, version: string, before: number, limit: number): Promise<Lineage[]> {
    const { store } = await this.open();
    const rows = await store.retrainingsTo(model, version, before, limit);
    return Promise.all(rows.map((row) => this.descent(row)));
  }

  /** Alarms, newest first: what rang, from which window on, and what ended it. */
  async alerts(name: string, before: number, limit: number): Promise<AlertRow[]> {
    this.find(name);
    return (await this.open()).alerts.list(name, before, limit);
  }

  /** The way of one request, from its record to what it was learnt for. `given` helps where its record is gone. */
  async trace(id: string, given: GivenFacts): Promise<RequestTrace> {
    const { store, alerts, registry } = await this.open();
    return traceRequest(id, given, {
      documents: [...this.book.all.values()],
      references: (monitor) => this.references.get(monitor) ?? [],
      records: this.parts.records,
      database: registry.database,
      lineage: (row) => this.descent(row),
      store,
      alerts,
    });
  }

  private async descent(row: RetrainingRow): Promise<Lineage> {
    const { store, calls } = await this.open();
    const alias = this.book.all.get(row.monitor)?.spec.retrain?.alias ?? 'champion';
    return lineageOf(row, alias, store, calls, this.parts);
  }

  /** A person's word: references are learnt anew, alarms end, the breaker closes. */
  async reset(name: string, by: { actor: string; reason: string }): Promise<MonitorView> {
    const document = this.find(name);
    const { store, alarms } = await this.open();
    await this.inOrder(async () => {
      const reason = `reset by ${by.actor}: ${by.reason}`;
      await alarms.end(
        document,
        (state) => ({
          ...freshState(),
          champion: state.champion,
          retired: state.retired,
          generation: state.generation + 1,
          retrain: {
            ...state.retrain,
            breaker: freshRetrainState().breaker,
            inVain: 0,
            waiting: '',
          },
        }),
        (state) => Object.keys(state.alarms),
        reason,
      );
      await store.dropReferences(name);
      this.parts.log('info', 'a monitor was reset', { monitor: name, ...by });
      await this.plan();
    });
    return this.view(name, document, await store.state(name));
  }

  private find(name: string): MonitorDocument {
    const found = this.book.all.get(name);
    if (found !== undefined) return found;
    const known = [...this.book.all.keys()].join(', ') || 'none';
    throw new SwitchyardError(
      'not_found',
      `there is no monitor ${JSON.stringify(name.slice(0, 140))}; there are ${known}`,
    );
  }

  private open(): Promise<Opened> {
    this.opening ??= this.wire().catch((error: unknown) => {
      this.opening = undefined;
      throw error;
    });
    return this.opening;
  }

  private async wire(): Promise<Opened> {
    const registry = await this.parts.registry();
    const store = new MonitorStore(registry.commits, this.parts.config.keepWindows);
    const calls = new RegistryCalls(registry.rest.routes);
    for (const problem of this.book.restore(await store.documents()))
      this.parts.log('error', 'a monitor made over the API is left out', { problem });
    registry.events.subscribe(({ type }) => {
      if (type === 'model_version_alias.created') this.tick();
    });
    const alerts = new AlertStore(registry.database);
    const { log } = this.parts;
    const alarms = new Alarms({ store, alerts, metrics: this.metricsText, log, rang: () => this.tick() });
    await this.plan(store);
    const monitorsOf = (model: string) =>
      [...this.book.all].flatMap(([name, { spec }]) => (spec.model === model ? [name] : []));
    const retrainer = new Retrainer(store, this.metricsText, this.parts, monitorsOf);
    return { store, alerts, alarms, registry, calls, retrainer };
  }

  /** Tells the log thread what to count. */
  private async plan(known?: MonitorStore): Promise<void> {
    const { feed } = this.parts;
    if (feed === undefined) return;
    const store = known ?? (await this.open()).store;
    const plans: MonitorPlan[] = [];
    for (const [name, { spec }] of this.book.all) {
      const references = await store.references(name);
      this.references.set(name, references);
      const { generation } = await store.state(name);
      this.generations.set(name, generation);
      const base = await this.baseOf(name, spec);
      plans.push({ name, spec, generation, references, ...(base === undefined ? {} : { base }) });
    }
    feed.monitor(plans, (event, again) => this.inOrder(() => this.event(event, again)));
  }

  private async baseOf(name: string, spec: MonitorDocument['spec']): Promise<Reference | undefined> {
    if (spec.reference.file === undefined) return undefined;
    try {
      return await referenceFromFile(name, spec, resolve(this.parts.baseDir, spec.reference.file));
    } catch (error) {
      this.parts.log('error', 'the reference of a monitor cannot be read; it watches nothing', {
        monitor: name,
        err: error,
      });
      return undefined;
    }
  }

  /** Resolves with whether it was done; never rejects. */
  private inOrder(work: () => Promise<void>): Promise<boolean> {
    const done = this.last.then(work).then(
      () => true,
      (error: unknown) => {
        this.parts.log('error', 'a monitor could not be looked after', { err: error });
        return false;
      },
    );
    this.last = done;
    return done;
  }

  private async event(event: MonitorEvent, again: boolean): Promise<void> {
    if (event.kind === 'labels') {
      this.labels.set(event.labels.monitor, event.labels);
      this.metricsText.labels(event.labels);
      return;
    }
    const name = event.kind === 'reference' ? event.reference.monitor : event.window.monitor;
    const document = this.book.all.get(name);
    if (document === undefined || (again && (await this.isKnown(event)))) return;
    if (event.kind === 'reference') await this.frozen(event.reference);
    else if (event.kind === 'window') await this.judge(document, event.window);
    else await this.judgeQuality(document, event.window);
  }

  private async isKnown(event: Exclude<MonitorEvent, { kind: 'labels' }>): Promise<boolean> {
    if (event.kind === 'reference') {
      const { monitor, version, digest, frozenAt } = event.reference;
      const known = this.references.get(monitor)?.find((each) => each.version === version && each.digest === digest);
      return known?.frozenAt === frozenAt;
    }
    const { store } = await this.open();
    return store.hasWindow(event.kind === 'window' ? 'drift' : 'quality', event.window);
  }

  private async frozen(reference: Reference): Promise<void> {
    const { store } = await this.open();
    await store.putReference(reference);
    const list = this.references.get(reference.monitor) ?? [];
    const others = list.filter(({ version, digest }) => version !== reference.version || digest !== reference.digest);
    this.references.set(reference.monitor, [...others, reference]);
    const { monitor, version, source, columns } = reference;
    this.parts.log('info', 'a reference is frozen', { monitor, version, source, columns: columns.length });
  }

  private async judge(document: MonitorDocument, window: WindowSums): Promise<void> {
    const { spec } = document;
    const reference = this.references
      .get(window.monitor)
      ?.find(({ version, digest }) => version === window.version && digest === window.digest);
    if (reference === undefined) return;
    const { store, alarms } = await this.open();
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
    const key = await store.addWindow(row);
    // Behind it: a window that is told again must not be added twice.
    if (learning) await this.frozen(withSeason(reference, window));
    this.lastWindows.set(window.monitor, { ...row, key });
    this.metricsText.window(window, verdict);
    const finding: Finding = verdict.state === 'drifted' ? 'bad' : verdict.state === 'ok' ? 'good' : 'unknown';
    await alarms.take(document, 'drift', version, finding, { from, to, reason: verdict.reason, key });
  }

  private async judgeQuality(document: MonitorDocument, window: QualityWindow): Promise<void> {
    const { quality } = document.spec;
    if (quality === undefined) return;
    const { store, alarms } = await this.open();
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
      const judged = judgeQuality(rule, sums, after.first[place] ?? []);
      const slices = Object.fromEntries(
        Object.entries(window.slices).map(([slice, own]) => [
          slice,
          { rows: own.rows, value: qualityValue(rule.metric, own), interval: qualityInterval(rule.metric, own) },
        ]),
      );
      const state = judged.finding === 'bad' ? 'bad' : judged.finding === 'good' ? 'ok' : 'learning';
      const reason = judged.reason || `${rule.metric} is ${value.toFixed(4)}`;
      const interval = qualityInterval(rule.metric, sums);
      const body = { metric: rule.metric, value, interval, low: judged.low, high: judged.high, slices };
      const key = await store.addWindow({
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
      this.metricsText.quality(monitor, version, rule.metric, value);
      await alarms.take(document, rule.metric, version, judged.finding, { from, to, reason, key });
    }
  }

  /** Looks after promotions and retrainings, once for any number of reasons to. */
  private tick(): void {
    if (this.ticking || this.closed) return;
    this.ticking = true;
    void this.inOrder(async () => {
      this.ticking = false;
      for (const document of this.book.all.values()) {
        const { retrain } = document.spec;
        await this.followChampion(document);
        if (retrain === undefined) continue;
        const { retrainer } = await this.open();
        await retrainer.look(document, retrain, this.labels.get(document.metadata.name)?.total);
      }
    });
  }

  /** A version that took another one's place ends the alarms of that one: its own reference counts from now on. */
  private async followChampion(document: MonitorDocument): Promise<void> {
    const { store, alarms, calls } = await this.open();
    const { name } = document.metadata;
    const alias = document.spec.retrain?.alias ?? 'champion';
    const found = await calls.find('mlflowGetModelVersionByAlias', { name: document.spec.model, alias });
    const champion = (found?.model_version.version as string | undefined) ?? '';
    const known = await store.state(name);
    if (champion === '' || champion === known.champion) return;
    await alarms.end(
      document,
      (state) => ({
        ...state,
        champion,
        retired: [...state.retired, state.champion]
          .filter((version) => version !== '' && version !== champion)
          .slice(-100),
        alarms: Object.fromEntries(Object.entries(state.alarms).filter(([place]) => place.split('/')[1] === champion)),
      }),
      ({ alarms: of }) =>
        known.champion === '' ? [] : Object.keys(of).filter((place) => place.split('/')[1] !== champion),
      `version ${champion} took its place`,
    );
  }

  private view(name: string, document: MonitorDocument, state: MonitorState): MonitorView {
    return viewOf(name, document, state, {
      origin: this.book.origin(name),
      references: this.references.get(name) ?? [],
      labels: this.labels.get(name),
      window: this.lastWindows.get(name),
    });
  }
}
