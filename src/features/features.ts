import { join } from 'node:path';
import type { Logger } from 'pino';
import type { FeaturesConfig } from '../config/features-schema.ts';
import type { KafkaConfig } from '../config/kafka-schema.ts';
import { ConfigError } from '../config/yaml-file.ts';
import type { Source } from '../datasets/batch.ts';
import { type KafkaClients, kafkaClients, kafkaConfigured } from '../kafka/client.ts';
import type { RegistryDatabase } from '../registry/database/database.ts';
import { invalidArgument, SwitchyardError } from '../shared/errors.ts';
import { type Change, FeatureBook } from './documents/book.ts';
import { selectRefs, selectService, type View, viewOf } from './documents/catalog.ts';
import type { FeatureDocument, FeatureKind } from './documents/schema.ts';
import { FeatureStore, type TransformRow } from './documents/store.ts';
import { readTime } from './documents/values.ts';
import { getOnlineFeatures, readBody, readColumns, readNames } from './feast/online-features.ts';
import { eventsOf, newest, rowsOf } from './ingest/rows.ts';
import { addCount, FeatureTopics, type ViewCounts } from './ingest/topics.ts';
import { WindowTopics } from './ingest/window-topics.ts';
import { renderFeatures } from './metrics.ts';
import { type OfflineEvents, offlineEvents } from './offline/events.ts';
import { frameSource } from './offline/frame-source.ts';
import { type FeatureColumn, frameTimes, historicalFeatures } from './offline/historical.ts';
import { OfflineLog } from './offline/log.ts';
import { type OfflineRows, offlineRows, type Span } from './offline/materialize.ts';
import { snapshot } from './offline/snapshot.ts';
import type { SpreadRows } from './online/gateway-features.ts';
import { type EntityColumns, rowCount } from './online/read.ts';
import { type JoinCounts, sumJoins } from './serving/join.ts';
import type { Transforms } from './serving/plan.ts';
import { createOnlineStore } from './store/create-store.ts';
import { MemoryStore } from './store/memory-store.ts';
import type { IngestCounts, OnlineStore, Row } from './store/online-store.ts';
import { applyTransform, transformColumns } from './transforms/apply.ts';
import { fitTransform, transformDigest } from './transforms/fit.ts';
import { type FittedTransform, readFitted, readTransformSpec } from './transforms/spec.ts';
import { hasWindows, type WindowView } from './windows/events.ts';
import { snapshotAt, statesOf } from './windows/replay.ts';
import type { WindowEvent } from './windows/state.ts';
import { encodeState } from './windows/state-text.ts';
import { Turns } from './windows/turns.ts';

export interface FeaturesParts {
  config: FeaturesConfig;
  baseDir: string;
  dataDir: string;
  /** Rejects while the registry cannot be opened. */
  database(): Promise<RegistryDatabase>;
  /** Tells every gateway thread which documents there are. */
  publish(documents: readonly FeatureDocument[], transforms: Transforms): void;
  /** Puts rows into the memory of every gateway thread. */
  spread(rows: SpreadRows): void;
  /** Keeps rows as the next version of a dataset. */
  dataset(
    name: string,
    source: Source,
    origin: { kind: string; features: string[] },
    actor: string,
  ): Promise<{ name: string; version: number; digest: string }>;
  kafka: KafkaConfig;
  log: Logger;
}

/** What POST /push and its like may be called with, by Feast's paths. */
export type FeatureVerb = 'push' | 'write' | 'materialize' | 'materialize-incremental';

export interface PushResult {
  /** Rows that came, and those of them that were not older than what is kept. */
  rows: number;
  kept: number;
}

export interface MaterializeResult extends PushResult {
  view: string;
  from: string;
  until: string;
  rejected: number;
  problems: string[];
}

export interface HistoricalWish {
  tenant: string;
  /** "view:feature" each, or the name of a feature service. */
  selection: readonly string[] | string;
  /** Columns of keys, and `event_timestamp`. */
  entities: unknown;
  fullNames?: boolean;
  /** name@version */
  transform?: string | undefined;
  /** Also kept as the next version of this dataset, by whom. */
  dataset?: string | undefined;
  actor?: string;
}

export interface HistoricalRows {
  rows: number;
  columns: Record<string, readonly unknown[]>;
  dataset?: { name: string; version: number; digest: string };
  transformed?: { name: string; digest: string; columns: string[]; rows: number[][] };
}

export interface FittedView {
  name: string;
  version: number;
  digest: string;
  columns: string[];
  state: FittedTransform;
  actor: string;
  created_at: number;
}

const DESTINATIONS = ['online', 'offline', 'online_and_offline'] as const;
type Destination = (typeof DESTINATIONS)[number];

/** Where materialize begins for a view that was never materialised and whose values do not age: Feast's year. */
const FIRST_SPAN_MS = 365 * 24 * 3600 * 1000;

/** The feature store on the control thread: documents, everything that writes, and what the admin port asks. */
export class Features {
  private readonly counts = { pushed: 0, kept: 0 };
  /** Records of topics, and pushed events, by view and what became of them. */
  private readonly records: ViewCounts = new Map();
  private readonly events: ViewCounts = new Map();
  /** Of each gateway thread, as it told last. */
  private readonly joins = new Map<number, JoinCounts>();
  private readonly parts: FeaturesParts;
  private readonly book: FeatureBook;
  private readonly store: OnlineStore;
  private readonly offline: OfflineLog;
  private readonly topics: FeatureTopics;
  private readonly windowTopics: WindowTopics;
  /** Who changes the windows of a view. */
  private readonly turns = new Turns();
  private fitted: Map<string, FittedTransform> = new Map();
  private opening: Promise<FeatureStore> | undefined;
  private closed = false;

  /** Reads the feature files. Throws ConfigError. */
  constructor(parts: FeaturesParts) {
    this.parts = parts;
    this.book = new FeatureBook(parts.config.files, parts.baseDir);
    this.book.readFiles();
    this.store = createOnlineStore(parts.config);
    this.offline = new OfflineLog(join(parts.dataDir, 'features'));
    const { kafka, log } = parts;
    const fromTopics = {
      kafka,
      log,
      counts: this.records,
      kept: this.store.kind === 'redis',
      set: () => this.book.set,
    };
    this.topics = new FeatureTopics({
      ...fromTopics,
      put: (tenant, view, rows) => this.put(tenant, view, rows),
    });
    this.windowTopics = new WindowTopics({
      ...fromTopics,
      ingest: (tenant, view, events) => this.ingest(tenant, view, events),
    });
  }

  /** The documents of the database come in as soon as it can be opened. Never rejects. */
  async start(): Promise<void> {
    for (let wait = 1000; !this.closed; wait = Math.min(2 * wait, 30_000)) {
      try {
        await this.open();
        return;
      } catch (error) {
        this.parts.log.warn({ err: error }, 'feature documents wait for the registry');
        await new Promise((resolve) => setTimeout(resolve, wait).unref());
      }
    }
  }

  async close(): Promise<void> {
    this.closed = true;
    await Promise.all([this.topics.close(), this.windowTopics.close()]);
    this.store.close();
  }

  /** What a gateway thread has joined since it started. */
  joined(gateway: number, counts: JoinCounts): void {
    this.joins.set(gateway, counts);
  }

  /** Prometheus text. */
  metrics(): string {
    const joins = sumJoins([...this.joins.values()]);
    const dropped = this.store instanceof MemoryStore ? this.store.dropped : 0;
    return renderFeatures({ ...this.counts, joins, topics: this.records, events: this.events, dropped });
  }

  documents(kind: FeatureKind): { name: string; origin: 'file' | 'api'; document: FeatureDocument }[] {
    return this.book.documents
      .filter((document) => document.kind === kind)
      .map((document) => ({
        name: document.metadata.name,
        origin: this.book.origin(kind, document.metadata.name),
        document,
      }))
      .sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** All changes or none. Rejects with every problem. */
  async change(changes: readonly Change[], dryRun: boolean): Promise<void> {
    const store = await this.open();
    this.book.change(changes, true);
    if (dryRun) return;
    await store.putDocuments(
      changes.map(({ kind, name, body }) => ({
        kind,
        name,
        body: body === undefined ? undefined : JSON.stringify(body),
      })),
    );
    this.book.change(changes, false);
    this.publish();
  }

  /** Reads the files again. Returns the problems; with any, everything stays as it was. */
  reload(): string[] {
    try {
      this.book.readFiles();
    } catch (error) {
      if (error instanceof ConfigError) return error.problems;
      throw error;
    }
    this.publish();
    return [];
  }

  /** As Feast's feature server answers it: JSON text. */
  async online(tenant: string, body: Uint8Array): Promise<string> {
    return getOnlineFeatures(this.store, this.book.set, tenant, body, this.parts.config.maxRows);
  }

  /** One of Feast's writing calls, with its body as it was sent. */
  async call(verb: FeatureVerb, tenant: string, bytes: Uint8Array): Promise<object> {
    const body = readBody(bytes);
    if (verb === 'push') return this.push(tenant, textOf(body, 'push_source_name'), body.df, body.to ?? 'online');
    if (verb === 'write') return this.writeOnline(tenant, textOf(body, 'feature_view_name'), body.df);
    const views = body.feature_views ?? null;
    const wish = { views: views === null ? undefined : readNames(views, 'feature_views'), tenant };
    if (verb === 'materialize-incremental') {
      return { views: await this.materialize({ ...wish, until: readTime(body.end_ts, 'end_ts') }) };
    }
    const all = body.disable_event_timestamp === true;
    const from = all ? 0 : readTime(body.start_ts, 'start_ts');
    const until = all ? Date.now() : readTime(body.end_ts, 'end_ts');
    return { views: await this.materialize({ ...wish, from, until }) };
  }

  /** Rows for the views with this push source. @param df columns by name */
  async push(tenant: string, source: string, df: unknown, to: unknown): Promise<PushResult> {
    if (!DESTINATIONS.includes(to as Destination))
      throw invalidArgument(
        `to: ${JSON.stringify(to)?.slice(0, 100)} is not a supported push format; allowed: ${DESTINATIONS.join(', ')}`,
      );
    const views = [...this.book.set.views.values()].filter((view) => pushName(view) === source);
    if (views.length === 0) {
      const there = [...new Set([...this.book.set.views.values()].map(pushName))].slice(0, 20).join(', ') || 'none';
      throw new SwitchyardError(
        'not_found',
        `Unable to find push source ${JSON.stringify(source)}; there are ${there}`,
      );
    }
    const columns = readColumns(df, 'df');
    // All of them are checked before any is written.
    const writes = views.map((view) => this.writeOf(tenant, view, columns, to as Destination));
    const result: PushResult = { rows: 0, kept: 0 };
    for (const write of writes) {
      const { rows, kept } = await write();
      result.rows += rows;
      result.kept += kept;
    }
    return result;
  }

  /** Checks rows; the returned function writes them. Throws invalid_argument. */
  private writeOf(tenant: string, view: View, columns: EntityColumns, to: Destination): () => Promise<PushResult> {
    if (hasWindows(view)) return this.eventWrite(tenant, view, columns, to);
    const rows = rowsOf(view, columns, this.parts.config.maxRows, Date.now());
    return async () => {
      if (to !== 'online') await this.offline.append(tenant, view, rows);
      return { rows: rows.length, kept: to === 'offline' ? 0 : await this.put(tenant, view, rows) };
    };
  }

  /** The same for events of a view with aggregates. */
  private eventWrite(
    tenant: string,
    view: WindowView,
    columns: EntityColumns,
    to: Destination,
  ): () => Promise<PushResult> {
    const now = Date.now();
    const events = eventsOf(view, columns, this.parts.config.maxRows, now);
    return () =>
      this.turns.take(view.name, async () => {
        if (to !== 'online') await this.offline.appendEvents(tenant, view, columns, events.length, now);
        if (to === 'offline') return { rows: events.length, kept: 0 };
        const counts = await this.ingest(tenant, view, events);
        for (const [result, count] of Object.entries(counts)) addCount(this.events, view.name, result, count);
        return { rows: events.length, kept: counts.kept };
      });
  }

  /** Events that were checked before, into the windows of their entities. */
  private async ingest(tenant: string, view: WindowView, events: readonly WindowEvent[]): Promise<IngestCounts> {
    const counts = await this.store.ingest(tenant, view, events);
    if (this.store.kind === 'memory') this.parts.spread({ tenant, view: view.name, events });
    this.counts.pushed += events.length;
    this.counts.kept += counts.kept;
    return counts;
  }

  /** Makes the windows of a view anew, of its file and what was pushed for training. */
  private async rebuild(tenant: string, view: WindowView): Promise<OfflineEvents & { kept: number }> {
    if (view.document.spec.source.kafka !== undefined)
      return { events: [], rejected: 0, problems: [`the windows of ${view.name} are made of its topic`], kept: 0 };
    return this.turns.take(view.name, async () => {
      const found = await offlineEvents(this.offline, this.parts.baseDir, tenant, view, undefined);
      const states = statesOf(view.windows, found.events);
      await this.store.replace(tenant, view, states);
      if (this.store.kind === 'memory') {
        const texts = [...states].map(([key, state]) => [key, encodeState(state)] as const);
        this.parts.spread({ tenant, view: view.name, states: texts });
      }
      return { ...found, kept: found.events.length };
    });
  }

  /** Rows that were checked before, such as those of a topic. Resolves with how many were kept. */
  async put(tenant: string, view: View, rows: readonly Row[]): Promise<number> {
    const kept = await this.store.write(tenant, view, rows);
    if (this.store.kind === 'memory') this.parts.spread({ tenant, view: view.name, rows });
    this.counts.pushed += rows.length;
    this.counts.kept += kept;
    return kept;
  }

  /** From the views' files, their topics and what was pushed for training into the online store. `from` absent: since the last time. */
  async materialize(wish: {
    views: readonly string[] | undefined;
    tenant: string;
    from?: number;
    until: number;
  }): Promise<MaterializeResult[]> {
    const { tenant, until } = wish;
    if (wish.from !== undefined && wish.from >= until)
      throw invalidArgument(`start_ts (${isoTime(wish.from)}) must be before end_ts (${isoTime(until)})`);
    const { views } = this.book.set;
    const chosen =
      wish.views === undefined ? [...views.values()] : wish.views.map((name) => viewOf(this.book.set, name));
    const store = await this.open();
    const results: MaterializeResult[] = [];
    for (const view of chosen) {
      const from = wish.from ?? (await store.materialized(view.name, tenant)) ?? until - (view.ttlMs || FIRST_SPAN_MS);
      const done = { view: view.name, from: isoTime(from), until: isoTime(until) };
      if (hasWindows(view)) {
        const { events, kept, rejected, problems } = await this.rebuild(tenant, view);
        results.push({ ...done, rows: events.length, kept, rejected, problems });
        continue;
      }
      const span = { from, until, now: Date.now() };
      const { rows, rejected, problems } = await this.allRows(tenant, view, span);
      const kept = await this.put(tenant, view, newest(rows));
      await store.putMaterialized(view.name, tenant, until);
      results.push({ ...done, rows: rows.length, kept, rejected, problems });
    }
    return results;
  }

  /** What was known of entities at given times, as columns; with a fitted transform also what it makes of them. */
  async historical(wish: HistoricalWish): Promise<HistoricalRows> {
    const { frame, columns, times } = await this.known(wish);
    const names = [
      ...frame.keys(),
      ...columns.map(({ view, name }) => (wish.fullNames ? `${view.name}__${name}` : name)),
    ];
    const cells = [...frame.values(), ...columns.map(({ values }) => values)];
    const rows: HistoricalRows = {
      columns: Object.fromEntries(names.map((name, i) => [name, cells[i]])),
      rows: times.length,
    };
    if (wish.dataset !== undefined) {
      const source = frameSource(frame, times, columns, names.slice(frame.size));
      const views = columns.map(({ view, name }) => `${view.name}:${name}`);
      rows.dataset = await this.parts.dataset(
        wish.dataset,
        source,
        { kind: 'features', features: views },
        wish.actor ?? '',
      );
    }
    if (wish.transform === undefined) return rows;
    const fitted = this.fitted.get(wish.transform);
    if (fitted === undefined) throw new SwitchyardError('not_found', `there is no transform ${wish.transform}`);
    const sources = fitted.map(({ feature }) => columnOf(columns, feature));
    const made = times.map((_, row) => {
      const out: number[] = [];
      applyTransform(fitted, (step) => sources[step].values[row], out, 0);
      return out;
    });
    const transformed = {
      name: wish.transform,
      digest: transformDigest(fitted),
      columns: transformColumns(fitted),
      rows: made,
    };
    return { ...rows, transformed };
  }

  /** Rejects with not_found naming the views there are. */
  async view(name: string): Promise<View> {
    await this.open();
    return viewOf(this.book.set, name);
  }

  /** Of every entity of a view its newest row up to a time, within the TTL. Rejects with failed_precondition when there is none. */
  async asOf(tenant: string, name: string, at: number): Promise<Source> {
    const view = await this.view(name);
    // Up to and with that very millisecond.
    const span = { from: Number.NEGATIVE_INFINITY, until: at + 1, now: Date.now() };
    const { rows, rejected, problems } = hasWindows(view)
      ? await this.windowRows(tenant, view, at)
      : await this.allRows(tenant, view, span);
    const source = snapshot(view, rows, at);
    if (source !== undefined) return source;
    const bad = rejected === 0 ? '' : ` (${rejected} lines are no rows, the first: ${problems[0]})`;
    throw new SwitchyardError(
      'failed_precondition',
      `feature view ${name} has no rows for training up to ${isoTime(at)}${bad}; push rows with to: offline, give the view a file or a topic, or choose another time`,
    );
  }

  /** The same of a view of aggregates: of every entity what its windows held then. */
  private async windowRows(tenant: string, view: WindowView, at: number): Promise<OfflineRows> {
    const { events, ...rest } = await this.allEvents(tenant, view);
    return { rows: snapshotAt(view.windows, events, at), ...rest };
  }

  private async allEvents(tenant: string, view: WindowView): Promise<OfflineEvents> {
    return offlineEvents(this.offline, this.parts.baseDir, tenant, view, await this.clients());
  }

  private async allRows(tenant: string, view: View, span: Span): Promise<OfflineRows> {
    return offlineRows(this.offline, this.parts.baseDir, tenant, view, span, await this.clients());
  }

  /** Undefined: no broker is configured. */
  private async clients(): Promise<KafkaClients | undefined> {
    const { kafka, log } = this.parts;
    return kafkaConfigured(kafka) ? kafkaClients(kafka, log) : undefined;
  }

  /** Fits a transform on what was known at given times, and keeps it as the next version of its name. */
  async fit(wish: HistoricalWish & { name: string; steps: unknown; actor: string }): Promise<FittedView> {
    const spec = readTransformSpec(wish.steps);
    if (!/^[A-Za-z_][\w-]{0,62}$/.test(wish.name))
      throw invalidArgument('name: a letter or "_", then letters, digits, "_" and "-"');
    const { columns } = await this.known(wish);
    const fitted = fitTransform(spec, (feature) => columnOf(columns, feature).values);
    const store = await this.open();
    const digest = transformDigest(fitted);
    const { name, actor } = wish;
    const row = await store.putTransform({ name, kind: 'columns', state: JSON.stringify(fitted), digest, actor });
    await this.readTransforms(store);
    this.publish();
    return viewOfTransform(row);
  }

  /** Every version of every fitted transform. */
  async transforms(): Promise<FittedView[]> {
    return (await (await this.open()).transforms()).map(viewOfTransform);
  }

  private async known({ tenant, selection, entities }: HistoricalWish) {
    const frame = readColumns(entities, 'entities');
    rowCount(frame, this.parts.config.maxRows);
    const times = frameTimes(frame);
    const { set } = this.book;
    const selections = typeof selection === 'string' ? selectService(set, selection) : selectRefs(set, selection);
    const span = { from: Number.NEGATIVE_INFINITY, until: Number.POSITIVE_INFINITY, now: Date.now() };
    const columns = await historicalFeatures(
      selections,
      frame,
      times,
      async (view) => (await this.allRows(tenant, view, span)).rows,
      async (view) => (await this.allEvents(tenant, view)).events,
    );
    return { frame, times, columns };
  }

  private async readTransforms(store: FeatureStore): Promise<void> {
    const rows = await store.transforms();
    this.fitted = new Map(rows.map(({ name, version, state }) => [`${name}@${version}`, readFitted(state)]));
  }

  private async writeOnline(tenant: string, name: string, df: unknown): Promise<PushResult> {
    const view = viewOf(this.book.set, name);
    const columns = new Map(readColumns(df, 'df'));
    // Feast's own clients call it so, whatever the source's column is called.
    const time = columns.get('event_timestamp');
    if (!columns.has(view.timestamp) && time !== undefined) columns.set(view.timestamp, time);
    return this.writeOf(tenant, view, columns, 'online')();
  }

  /** Tells the gateways what there is, and reads the topics that views name. */
  publish(): void {
    this.parts.publish(this.book.documents, this.fitted);
    if (kafkaConfigured(this.parts.kafka)) {
      this.topics.follow();
      this.windowTopics.follow();
      return;
    }
    for (const { name, document } of this.book.set.views.values())
      if (document.spec.source.kafka !== undefined)
        this.parts.log.warn(
          { view: name },
          'a feature view names a topic, and no broker is configured in kafka.brokers',
        );
  }

  private open(): Promise<FeatureStore> {
    this.opening ??= this.restore().catch((error: unknown) => {
      this.opening = undefined;
      throw error;
    });
    return this.opening;
  }

  private async restore(): Promise<FeatureStore> {
    const store = new FeatureStore(await this.parts.database(), Date.now);
    const problems = this.book.restore(await store.documents());
    for (const problem of problems) this.parts.log.error({ problem }, 'a feature document cannot be used any more');
    await this.readTransforms(store);
    this.publish();
    return store;
  }
}

function viewOfTransform({ state, name, version, digest, actor, created_at }: TransformRow): FittedView {
  const fitted = readFitted(state);
  return { name, version, digest, columns: transformColumns(fitted), state: fitted, actor, created_at };
}

/** Throws invalid_argument naming what there is. */
function columnOf(columns: readonly FeatureColumn[], feature: string): FeatureColumn {
  const found = columns.find(({ view, name }) => name === feature || `${view.name}:${name}` === feature);
  if (found !== undefined) return found;
  const there = columns.map(({ view, name }) => `${view.name}:${name}`).join(', ');
  throw invalidArgument(`the transform takes the feature ${feature}, which was not asked for; there are ${there}`);
}

function pushName({ name, document }: View): string {
  return document.spec.source.push ?? name;
}

function textOf(body: Record<string, unknown>, name: string): string {
  const value = body[name];
  if (typeof value === 'string' && value !== '') return value;
  throw invalidArgument(`${name} must be a text`);
}

function isoTime(ms: number): string {
  return new Date(ms).toISOString();
}
