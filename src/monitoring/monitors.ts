import { createHash } from 'node:crypto';
import { join, resolve } from 'node:path';
import type { MonitoringConfig } from '../config/monitoring-schema.ts';
import { ConfigError } from '../config/yaml-file.ts';
import type { Registry } from '../registry/registry.ts';
import { SwitchyardError, toSwitchyardError } from '../shared/errors.ts';
import type { RunWish } from '../training/pipelines/pipelines.ts';
import { RegistryCalls } from '../training/pipelines/tracking.ts';
import type { FullRunView } from '../training/pipelines/view.ts';
import { nextDue } from '../training/triggers/causes.ts';
import { type Alarm, type Finding, QUIET, withFinding } from './alarm.ts';
import { addSums } from './counters.ts';
import type { MonitorDocument, RetrainSpec } from './document.ts';
import { type Lineage, lineageOf } from './lineage.ts';
import { MonitorBook, type MonitorChange } from './load.ts';
import { MonitorMetrics } from './metrics.ts';
import { judgeQuality, qualityValue } from './quality.ts';
import { referenceFromFile } from './reference-file.ts';
import {
  decideRetraining,
  freshRetrainState,
  isOver,
  type RetrainState,
  type Want,
  withBreaker,
  withEnd,
  withStart,
} from './retraining.ts';
import { alarmOf, freshState, type MonitorState, MonitorStore, type RetrainingRow, type WindowRow } from './store.ts';
import type { MonitorPlan } from './stream.ts';
import type { Exported, LabelCount, MonitorEvent, QualityWindow, Reference, WindowSums } from './types.ts';
import { judgeWindow } from './verdict.ts';

const TICK_MS = 1000;

/** The log thread, as monitors use it. */
export interface MonitorFeed {
  monitor(plans: MonitorPlan[], listener: (event: MonitorEvent) => void): void;
  labelledRows(monitor: string, since: number): Promise<number>;
  exportLabels(monitor: string, since: number, file: string): Promise<Exported>;
}

/** A canary as a route tells of it. */
export interface RolloutFacts {
  route: string;
  phase: string;
  reason: string;
  /** What the controller noted, oldest first. */
  history: { at: number; message: string }[];
}

export interface MonitorsParts {
  config: MonitoringConfig;
  baseDir: string;
  dataDir: string;
  /** Undefined: nothing is logged. */
  feed: MonitorFeed | undefined;
  registry(): Promise<Registry>;
  pipelines: { run(wish: RunWish): Promise<FullRunView>; getRun(id: string): Promise<FullRunView> };
  /** The last rollout of a version of a model, if a route has one. */
  rollout(model: string, version: string): RolloutFacts | undefined;
  log(level: 'info' | 'warn' | 'error', message: string, fields: object): void;
}

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

/** Monitors as the admin port and src/main.ts hold them: judges windows, tells of alarms, retrains. */
export class Monitors {
  private readonly parts: MonitorsParts;
  private readonly book: MonitorBook;
  private readonly metricsText = new MonitorMetrics();
  private readonly references = new Map<string, Reference[]>();
  private readonly generations = new Map<string, number>();
  private readonly labels = new Map<string, LabelCount>();
  private readonly lastWindows = new Map<string, WindowRow>();
  private opening: Promise<{ store: MonitorStore; registry: Registry; calls: RegistryCalls }> | undefined;
  /** One thing after the other: windows are judged in the order they ended. */
  private last: Promise<void> = Promise.resolve();
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
    const { store, calls } = await this.open();
    const rows = await store.retrainings(name, before, limit);
    return Promise.all(rows.map((row) => lineageOf(row, this.find(name), store, calls, this.parts)));
  }

  /** A person's word: references are learnt anew, alarms end, the breaker closes. */
  async reset(name: string, by: { actor: string; reason: string }): Promise<MonitorView> {
    const document = this.find(name);
    const { store } = await this.open();
    await this.inOrder(async () => {
      const { before } = await store.update(name, Date.now(), (state) => ({
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
      }));
      await store.dropReferences(name);
      await this.tellCleared(document, before, Object.keys(before.alarms), `reset by ${by.actor}: ${by.reason}`);
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

  private open() {
    this.opening ??= this.wire().catch((error: unknown) => {
      this.opening = undefined;
      throw error;
    });
    return this.opening;
  }

  private async wire() {
    const registry = await this.parts.registry();
    const store = new MonitorStore(registry.database, this.parts.config.keepWindows);
    const calls = new RegistryCalls(registry.rest.routes);
    for (const problem of this.book.restore(await store.documents()))
      this.parts.log('error', 'a monitor made over the API is left out', { problem });
    registry.events.subscribe(({ type }) => {
      if (type === 'model_version_alias.created') this.tick();
    });
    await this.plan(store);
    return { store, registry, calls };
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
    feed.monitor(plans, (event) => void this.inOrder(() => this.event(event)));
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

  private inOrder(work: () => Promise<void>): Promise<void> {
    const done = this.last.then(work);
    this.last = done.catch((error: unknown) => {
      this.parts.log('error', 'a monitor could not be looked after', { err: error });
    });
    return this.last;
  }

  private async event(event: MonitorEvent): Promise<void> {
    if (event.kind === 'labels') {
      this.labels.set(event.labels.monitor, event.labels);
      this.metricsText.labels(event.labels);
      return;
    }
    const name = event.kind === 'reference' ? event.reference.monitor : event.window.monitor;
    const document = this.book.all.get(name);
    if (document === undefined) return;
    if (event.kind === 'reference') await this.frozen(event.reference);
    else if (event.kind === 'window') await this.judge(document, event.window);
    else await this.judgeQuality(document, event.window);
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
    const { store } = await this.open();
    const learning = spec.reference.seasonal !== undefined && window.from < reference.frozenAt + spec.reference.learn;
    if (learning) {
      const seasons = { ...reference.seasons };
      const sums = window.slices[''];
      seasons[window.season] = seasons[window.season] === undefined ? sums : addSums(seasons[window.season], sums);
      await this.frozen({ ...reference, seasons });
    }
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
    this.lastWindows.set(window.monitor, { ...row, key });
    this.metricsText.window(window, verdict);
    const finding: Finding = verdict.state === 'drifted' ? 'bad' : verdict.state === 'ok' ? 'good' : 'unknown';
    await this.found(document, 'drift', version, finding, { from, to, reason: verdict.reason, key });
  }

  private async judgeQuality(document: MonitorDocument, window: QualityWindow): Promise<void> {
    const { quality } = document.spec;
    if (quality === undefined) return;
    const { store } = await this.open();
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
          { rows: own.rows, value: qualityValue(rule.metric, own) },
        ]),
      );
      const state = judged.finding === 'bad' ? 'bad' : judged.finding === 'good' ? 'ok' : 'learning';
      const reason = judged.reason || `${rule.metric} is ${value.toFixed(4)}`;
      const body = { metric: rule.metric, value, low: judged.low, high: judged.high, slices };
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
      await this.found(document, rule.metric, version, judged.finding, { from, to, reason, key });
    }
  }

  /** Takes in what a window said, and tells when the level has changed by it. */
  private async found(
    document: MonitorDocument,
    signal: string,
    version: string,
    finding: Finding,
    window: { from: number; to: number; reason: string; key: number },
  ): Promise<void> {
    const { store, registry } = await this.open();
    const { name } = document.metadata;
    const place = `${signal}/${version}`;
    const { before, after } = await store.update(name, Date.now(), (state) => {
      if (state.retired.includes(version)) return state;
      const alarm = withFinding(alarmOf(state, place), document.spec.alert, finding, window);
      return { ...state, alarms: { ...state.alarms, [place]: alarm } };
    });
    const [old, now] = [alarmOf(before, place), alarmOf(after, place)];
    this.metricsText.level(name, signal, version, now.level);
    if (old.level === now.level) return;
    const { model } = document.spec;
    const facts = { monitor: name, model, version, signal, level: now.level, reason: now.reason, window: window.key };
    if (now.level === 'ok') {
      registry.events.emit('drift.deleted', { name: model, ...facts, reason: 'as the reference again' });
      this.parts.log('info', 'an alarm ended', told(facts));
      return;
    }
    registry.events.emit('drift.set', { name: model, ...facts });
    this.parts.log('warn', now.level === 'alert' ? 'a model drifts' : 'a model may drift', told(facts));
    this.tick();
  }

  private async tellCleared(
    document: MonitorDocument,
    state: MonitorState,
    places: readonly string[],
    reason: string,
  ): Promise<void> {
    const { registry } = await this.open();
    const { name } = document.metadata;
    const { model } = document.spec;
    for (const place of places) {
      const [signal, version] = place.split('/');
      this.metricsText.level(name, signal, version, 'ok');
      if (alarmOf(state, place).level === 'ok') continue;
      const facts = { monitor: name, model, version, signal, level: 'ok', reason };
      registry.events.emit('drift.deleted', { name: model, ...facts });
      this.parts.log('info', 'an alarm ended', told(facts));
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
        await this.watch(document, retrain);
        await this.consider(document, retrain);
      }
    });
  }

  /** A version that took another one's place ends the alarms of that one: its own reference counts from now on. */
  private async followChampion(document: MonitorDocument): Promise<void> {
    const { store, calls } = await this.open();
    const { name } = document.metadata;
    const alias = document.spec.retrain?.alias ?? 'champion';
    const found = await calls.find('mlflowGetModelVersionByAlias', { name: document.spec.model, alias });
    const champion = (found?.model_version.version as string | undefined) ?? '';
    const known = await store.state(name);
    if (champion === '' || champion === known.champion) return;
    const others = (state: MonitorState): string[] =>
      Object.keys(state.alarms).filter((place) => place.split('/')[1] !== champion);
    const { before } = await store.update(name, Date.now(), (state) => ({
      ...state,
      champion,
      retired: [...state.retired, state.champion]
        .filter((version) => version !== '' && version !== champion)
        .slice(-100),
      alarms: Object.fromEntries(Object.entries(state.alarms).filter(([place]) => place.split('/')[1] === champion)),
    }));
    if (known.champion !== '')
      await this.tellCleared(document, before, others(before), `version ${champion} took its place`);
  }

  /** How the retraining that goes on stands. */
  private async watch({ metadata: { name }, spec: { model } }: MonitorDocument, spec: RetrainSpec): Promise<void> {
    const { store } = await this.open();
    const { active } = (await store.state(name)).retrain;
    if (active === null) return;
    const row = await store.retraining(active.id);
    if (row === undefined)
      return this.finish(name, { id: active.id, status: 'failed', version: '' }, 'it is not known');
    if (isOver(row.status))
      return this.finish(name, { id: row.id, status: row.status, version: row.version }, row.outcome);
    let run: FullRunView;
    try {
      run = await this.parts.pipelines.getRun(row.pipelineRun);
    } catch (error) {
      if (toSwitchyardError(error).code !== 'not_found') throw error;
      return this.finish(name, { id: row.id, status: 'failed', version: '' }, 'the server ended before it could begin');
    }
    if (run.status === 'failed' || run.status === 'cancelled')
      return this.finish(name, { id: row.id, status: 'failed', version: '' }, `pipeline run ${run.id}: ${run.reason}`);
    if (run.status !== 'succeeded') return;
    const version = registeredBy(run, model);
    if (version === undefined)
      return this.finish(
        name,
        { id: row.id, status: 'failed', version: '' },
        `pipeline run ${run.id} registered no version of ${model}`,
      );
    const { champion } = await store.state(name);
    if (champion === version)
      return this.finish(name, { id: row.id, status: 'promoted', version }, `version ${version} is ${spec.alias}`);
    if (row.status === 'running') {
      const outcome = `version ${version} passed its gate, and waits to be ${spec.alias}`;
      await store.changeRetraining(row.id, { status: 'canary', version, outcome });
      this.parts.log('info', 'a retrained version waits for its promotion', { monitor: name, version, run: run.id });
    }
    const rollout = this.parts.rollout(model, version);
    if (rollout?.phase === 'rolledBack')
      return this.finish(
        name,
        { id: row.id, status: 'notPromoted', version },
        `route ${rollout.route} rolled it back: ${rollout.reason}`,
      );
    if (Date.now() - (run.ended_at ?? row.createdAt) > spec.promoteWithin)
      return this.finish(
        name,
        { id: row.id, status: 'notPromoted', version },
        `version ${version} was not promoted in time`,
      );
  }

  private async finish(
    name: string,
    end: { id: string; status: RetrainingRow['status']; version: string },
    outcome: string,
  ): Promise<void> {
    const { store } = await this.open();
    const now = Date.now();
    await store.changeRetraining(end.id, { status: end.status, outcome, version: end.version, endedAt: now });
    await store.update(name, now, (state) => ({ ...state, retrain: withEnd(state.retrain, end, now) }));
    this.metricsText.retraining(name, end.status);
    const level = end.status === 'promoted' ? 'info' : 'warn';
    this.parts.log(level, 'a retraining ended', { monitor: name, retraining: end.id, status: end.status, outcome });
  }

  private async consider(document: MonitorDocument, spec: RetrainSpec): Promise<void> {
    const { feed } = this.parts;
    const { name } = document.metadata;
    const { store } = await this.open();
    const now = Date.now();
    let state = await store.state(name);
    if (spec.on.schedule !== undefined && state.retrain.due === 0) {
      const due = nextDue(spec.on.schedule, now) ?? Number.MAX_SAFE_INTEGER;
      state = (await store.update(name, now, (old) => ({ ...old, retrain: { ...old.retrain, due } }))).after;
    }
    const labels = this.labels.get(name)?.total ?? 0;
    const want = wanted(spec, state, labels, now);
    if (want === undefined || feed === undefined) return this.waits(name, state.retrain, '');
    const since = spec.data.since === 'all' ? 0 : want.changedAt;
    const rows = await feed.labelledRows(name, since);
    const decision = decideRetraining(spec, state.retrain, want, rows, now);
    if (decision.what === 'wait') return this.waits(name, state.retrain, `${want.reason}; ${decision.reason}`);
    if (decision.what === 'trip') {
      await store.update(name, now, (old) => ({ ...old, retrain: withBreaker(old.retrain, decision.reason, now) }));
      this.metricsText.breaker(name, true);
      this.parts.log('error', 'retraining stops until a person resets the monitor', {
        monitor: name,
        reason: decision.reason,
      });
      return;
    }
    if (decision.what === 'start') await this.begin(document, spec, state, want, since, labels);
  }

  private async waits(name: string, { waiting }: RetrainState, reason: string): Promise<void> {
    // Figures in the reason change all the time; what it waits for is told once.
    const shape = (text: string): string => text.replace(/\d+/g, '0');
    if (shape(waiting) === shape(reason)) return;
    const { store } = await this.open();
    await store.update(name, Date.now(), (state) => ({ ...state, retrain: { ...state.retrain, waiting: reason } }));
    if (reason !== '') this.parts.log('info', 'a retraining waits', { monitor: name, reason });
  }

  /** What is to be done is written down first: a server that ends in between does not do it twice. */
  private async begin(
    document: MonitorDocument,
    spec: RetrainSpec,
    state: MonitorState,
    want: Want,
    since: number,
    labels: number,
  ): Promise<void> {
    const { store } = await this.open();
    const { name } = document.metadata;
    const now = Date.now();
    const id = createHash('sha256')
      .update(`${name}\0${want.key}\0${state.retrain.last?.id ?? ''}\0${state.generation}`)
      .digest('hex')
      .slice(0, 16);
    const file = join(this.parts.dataDir, 'monitoring', name, `${id}.csv`);
    const exported = await this.parts.feed!.exportLabels(name, since, file);
    await store.addRetraining({
      id,
      monitor: name,
      model: document.spec.model,
      fromVersion: want.version,
      cause: want.cause,
      reason: want.reason,
      changedAt: want.changedAt,
      status: 'running',
      outcome: '',
      dataset: { ...exported, file },
      pipelineRun: id,
      version: '',
      createdAt: now,
      endedAt: null,
    });
    await store.update(name, now, (old) => ({
      ...old,
      retrain: { ...withStart(spec, old.retrain, id, want, now), labelsAt: labels, due: 0 },
    }));
    const facts = { monitor: name, retraining: id, cause: want.cause, reason: want.reason, rows: exported.rows };
    try {
      await this.parts.pipelines.run({
        pipeline: spec.pipeline,
        environment: spec.environment,
        parameters: { ...spec.parameters, [spec.data.parameter]: file },
        actor: `monitor ${name}`,
        reason: `${want.cause}: ${want.reason}`,
        idempotencyKey: id,
      });
      this.parts.log('info', 'a retraining began', facts);
    } catch (error) {
      const outcome = `the pipeline could not begin: ${toSwitchyardError(error).message}`;
      await this.finish(name, { id, status: 'failed', version: '' }, outcome);
    }
  }

  private view(name: string, { spec }: MonitorDocument, state: MonitorState): MonitorView {
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
    const { total = 0, pending = 0, unmatched = 0, kept = 0 } = this.labels.get(name) ?? {};
    const window = this.lastWindows.get(name);
    return {
      name,
      model: spec.model,
      origin: this.book.origin(name),
      level: worst.level,
      reason: worst.reason,
      version: state.champion,
      references: (this.references.get(name) ?? []).map((one) => ({
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
}

/** As the log has it: `level` is the line's own there. */
function told({ level, ...facts }: { level: string; [name: string]: unknown }): object {
  return { ...facts, alarm: level };
}

/** Why a monitor wants to retrain now; undefined: it does not. The champion's windows count, not a candidate's. */
function wanted(spec: RetrainSpec, state: MonitorState, labels: number, now: number): Want | undefined {
  const { champion, retrain, alarms } = state;
  for (const [place, alarm] of Object.entries(alarms)) {
    const [signal, version] = place.split('/');
    const cause = signal === 'drift' ? 'drift' : 'quality';
    if (alarm.level !== 'alert' || version !== champion || !spec.on[cause]) continue;
    return { cause, version, reason: alarm.reason, changedAt: alarm.changedAt, key: `${place}/${alarm.since}` };
  }
  // The log thread counts from its start.
  const fresh = labels - (labels < retrain.labelsAt ? 0 : retrain.labelsAt);
  if (spec.on.labels !== undefined && fresh >= spec.on.labels)
    return { cause: 'labels', version: champion, reason: `${fresh} new labels`, changedAt: 0, key: `labels/${labels}` };
  if (spec.on.schedule !== undefined && retrain.due > 0 && now >= retrain.due) {
    const reason = `schedule ${spec.on.schedule.cron}, due ${new Date(retrain.due).toISOString()}`;
    return { cause: 'schedule', version: champion, reason, changedAt: 0, key: `schedule/${retrain.due}` };
  }
  return undefined;
}

/** The version of the model that a run registered. */
function registeredBy(run: FullRunView, model: string): string | undefined {
  for (const { kind, values } of run.steps) {
    const found = values.version as { name?: string; version?: string } | undefined;
    if (kind === 'register' && found?.name === model) return found.version;
  }
  return undefined;
}
