import { resolve } from 'node:path';
import type { MonitoringConfig } from '../config/monitoring-schema.ts';
import { ConfigError } from '../config/yaml-file.ts';
import type { Registry } from '../registry/registry.ts';
import { SwitchyardError } from '../shared/errors.ts';
import { RegistryCalls } from '../training/pipelines/tracking.ts';
import { Alarms } from './alarms.ts';
import { type AlertRow, AlertStore } from './alert-store.ts';
import type { MonitorDocument } from './document.ts';
import { Judge } from './judge.ts';
import { JudgedWindowStore, type WindowRow } from './judged-window-store.ts';
import { type Lineage, lineageOf } from './lineage.ts';
import { MonitorBook, type MonitorChange } from './load.ts';
import { MonitorMetrics } from './metrics.ts';
import type { RecordSource } from './record-search.ts';
import { referenceFromFile } from './reference-file.ts';
import { Retrainer, type RetrainerParts } from './retrainer.ts';
import { type RetrainingRow, RetrainingStore } from './retraining-store.ts';
import { afterReset, outlivedAlarms, withChampion } from './state.ts';
import { MonitorStore } from './store.ts';
import type { MonitorPlan } from './stream.ts';
import { type GivenFacts, type RequestTrace, traceRequest } from './trace-request.ts';
import type { MonitorListener, Reference } from './types.ts';
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
  judged: JudgedWindowStore;
  retrainings: RetrainingStore;
  alerts: AlertStore;
  alarms: Alarms;
  judge: Judge;
  registry: Registry;
  calls: RegistryCalls;
  retrainer: Retrainer;
}

/** Monitors as the admin port and src/main.ts hold them: which there are, what they saw and did, and when each part acts. */
export class Monitors {
  private readonly parts: MonitorsParts;
  private readonly book: MonitorBook;
  private readonly metricsText = new MonitorMetrics();
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
    const opened = await this.open();
    return Promise.all([...this.book.all].map(([name, document]) => this.view(name, document, opened)));
  }

  /** Throws not_found. */
  async get(name: string): Promise<MonitorView & { document: MonitorDocument }> {
    const document = this.find(name);
    return { ...(await this.view(name, document, await this.open())), document };
  }

  async windows(name: string, before: number, limit: number): Promise<WindowRow[]> {
    this.find(name);
    return (await this.open()).judged.list(name, before, limit);
  }

  /** Retrainings, newest first, each from the requests that began it to what became of it. */
  async lineage(name: string, before: number, limit: number): Promise<Lineage[]> {
    this.find(name);
    const { retrainings } = await this.open();
    const rows = await retrainings.list(name, before, limit);
    return Promise.all(rows.map((row) => this.descent(row)));
  }

  /** The retrainings that brought a version, newest first: the way back from what serves to the requests. */
  async origin(model: string, version: string, before: number, limit: number): Promise<Lineage[]> {
    const { retrainings } = await this.open();
    const rows = await retrainings.bringing(model, version, before, limit);
    return Promise.all(rows.map((row) => this.descent(row)));
  }

  /** Alarms, newest first: what rang, from which window on, and what ended it. */
  async alerts(name: string, before: number, limit: number): Promise<AlertRow[]> {
    this.find(name);
    return (await this.open()).alerts.list(name, before, limit);
  }

  /** The way of one request, from its record to what it was learnt for. `given` helps where its record is gone. */
  async trace(id: string, given: GivenFacts): Promise<RequestTrace> {
    const { judge, judged, retrainings, alerts, registry } = await this.open();
    return traceRequest(id, given, {
      documents: [...this.book.all.values()],
      references: (monitor) => judge.referencesOf(monitor),
      records: this.parts.records,
      database: registry.database,
      lineage: (row) => this.descent(row),
      judged,
      retrainings,
      alerts,
    });
  }

  private async descent(row: RetrainingRow): Promise<Lineage> {
    const { judged, calls } = await this.open();
    const alias = this.book.all.get(row.monitor)?.spec.retrain?.alias ?? 'champion';
    return lineageOf(row, alias, judged, calls, this.parts);
  }

  /** A person's word: references are learnt anew, alarms end, the breaker closes. */
  async reset(name: string, by: { actor: string; reason: string }): Promise<MonitorView> {
    const document = this.find(name);
    const opened = await this.open();
    const { store, alarms } = opened;
    await this.inOrder(async () => {
      const reason = `reset by ${by.actor}: ${by.reason}`;
      await alarms.end(document, afterReset, (state) => Object.keys(state.alarms), reason);
      await store.dropReferences(name);
      this.parts.log('info', 'a monitor was reset', { monitor: name, ...by });
      await this.plan();
    });
    return this.view(name, document, opened);
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
    const store = new MonitorStore(registry.commits);
    const judged = new JudgedWindowStore(registry.database, this.parts.config.keepWindows);
    const retrainings = new RetrainingStore(registry.database);
    const calls = new RegistryCalls(registry.rest.routes);
    for (const problem of this.book.restore(await store.documents()))
      this.parts.log('error', 'a monitor made over the API is left out', { problem });
    registry.events.subscribe(({ type }) => {
      if (type === 'model_version_alias.created') this.tick();
    });
    const alerts = new AlertStore(registry.database);
    const { log } = this.parts;
    const metrics = this.metricsText;
    const alarms = new Alarms({ store, alerts, metrics, log, rang: () => this.tick() });
    const judge = new Judge({ document: (name) => this.book.all.get(name), store, judged, alarms, metrics, log });
    await this.plan({ store, judge });
    const monitorsOf = (model: string) =>
      [...this.book.all].flatMap(([name, { spec }]) => (spec.model === model ? [name] : []));
    const retrainer = new Retrainer(store, retrainings, metrics, this.parts, monitorsOf);
    return { store, judged, retrainings, alerts, alarms, judge, registry, calls, retrainer };
  }

  /** Tells the log thread what to count. */
  private async plan(known?: Pick<Opened, 'store' | 'judge'>): Promise<void> {
    const { feed } = this.parts;
    if (feed === undefined) return;
    const { store, judge } = known ?? (await this.open());
    const plans: MonitorPlan[] = [];
    for (const [name, { spec }] of this.book.all) {
      const references = await judge.learnReferences(name);
      const { generation } = await store.state(name);
      const base = await this.baseOf(name, spec);
      plans.push({ name, spec, generation, references, ...(base === undefined ? {} : { base }) });
    }
    feed.monitor(plans, (event, again) => this.inOrder(() => judge.take(event, again)));
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
        const { retrainer, judge } = await this.open();
        await retrainer.look(document, retrain, judge.labelsOf(document.metadata.name)?.total);
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
      (state) => withChampion(state, champion),
      (state) => outlivedAlarms(state, champion),
      `version ${champion} took its place`,
    );
  }

  private async view(name: string, document: MonitorDocument, { store, judge }: Opened): Promise<MonitorView> {
    return viewOf(name, document, await store.state(name), {
      origin: this.book.origin(name),
      references: judge.referencesOf(name),
      labels: judge.labelsOf(name),
      window: judge.lastWindowOf(name),
    });
  }
}
