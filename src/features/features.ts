import { join } from 'node:path';
import type { Logger } from 'pino';
import type { FeaturesConfig } from '../config/features-schema.ts';
import type { KafkaConfig } from '../config/kafka-schema.ts';
import { ConfigError } from '../config/yaml-file.ts';
import type { Source } from '../datasets/batch.ts';
import { kafkaClients, kafkaConfigured } from '../kafka/client.ts';
import type { Lag } from '../kafka/lag.ts';
import type { RegistryDatabase } from '../registry/database/database.ts';
import { invalidArgument } from '../shared/errors.ts';
import { type Change, FeatureBook } from './documents/book.ts';
import { type FeatureSet, type View, viewOf } from './documents/catalog.ts';
import type { FeatureDocument, FeatureKind } from './documents/schema.ts';
import { FeatureStore } from './documents/store.ts';
import { readTime } from './documents/values.ts';
import { getOnlineFeatures, readBody, readNames } from './feast/online-features.ts';
import type { ViewCounts } from './ingest/counts.ts';
import { type MaterializeResult, type MaterializeWish, materialize } from './ingest/materialize.ts';
import { FeatureTopics } from './ingest/topics.ts';
import { WindowTopics } from './ingest/window-topics.ts';
import { FeatureWriter, type PushResult } from './ingest/writer.ts';
import { renderFeatures } from './metrics.ts';
import { frameSource } from './offline/frame-source.ts';
import { OfflineLog } from './offline/log.ts';
import { type KnownWish, TrainingData } from './offline/training-data.ts';
import type { SpreadRows } from './online/gateway-features.ts';
import { type JoinCounts, sumJoins } from './serving/join.ts';
import type { Transforms } from './serving/plan.ts';
import { createOnlineStore } from './store/create-store.ts';
import { MemoryStore } from './store/memory-store.ts';
import type { OnlineStore } from './store/online-store.ts';
import {
  checkTransformName,
  FittedTransforms,
  type FittedView,
  fitColumns,
  fittedView,
  type TransformedRows,
} from './transforms/fitted-transforms.ts';
import { readTransformSpec } from './transforms/spec.ts';

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

export interface HistoricalWish extends KnownWish {
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
  transformed?: TransformedRows;
}

/** The feature store on the control thread: documents, everything that writes, and what the admin port asks. */
export class Features {
  /** Records of topics, by view and what became of them. */
  private readonly records: ViewCounts = new Map();
  /** Of each gateway thread, as it told last. */
  private readonly joins = new Map<number, JoinCounts>();
  private readonly parts: FeaturesParts;
  private readonly book: FeatureBook;
  private readonly store: OnlineStore;
  private readonly data: TrainingData;
  private readonly writer: FeatureWriter;
  private readonly topics: FeatureTopics;
  private readonly windowTopics: WindowTopics;
  private readonly fitted = new FittedTransforms();
  private opening: Promise<FeatureStore> | undefined;
  private closed = false;

  /** Reads the feature files. Throws ConfigError. */
  constructor(parts: FeaturesParts) {
    this.parts = parts;
    const { config, baseDir, dataDir, kafka, log } = parts;
    this.book = new FeatureBook(config.files, baseDir);
    this.book.readFiles();
    this.store = createOnlineStore(config);
    const set = (): FeatureSet => this.book.set;
    const offline = new OfflineLog(join(dataDir, 'features'));
    const { maxRows } = config;
    const clients = async () => (kafkaConfigured(kafka) ? kafkaClients(kafka, log) : undefined);
    this.data = new TrainingData({ set, log: offline, baseDir, maxRows, clients });
    const { store, data } = this;
    this.writer = new FeatureWriter({ set, store, offline, maxRows, spread: (rows) => parts.spread(rows), data });
    const fromTopics = { kafka, log, counts: this.records, kept: store.kind === 'redis', set };
    this.topics = new FeatureTopics({
      ...fromTopics,
      put: (tenant, view, rows) => this.writer.put(tenant, view, rows),
    });
    this.windowTopics = new WindowTopics({
      ...fromTopics,
      ingest: (tenant, view, events) => this.writer.ingest(tenant, view, events),
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

  /** Of the topics that views read. */
  lags(): Lag[] {
    return [...this.topics.lags(), ...this.windowTopics.lags()];
  }

  /** Prometheus text. */
  metrics(): string {
    const { counts, events } = this.writer;
    const joins = sumJoins([...this.joins.values()]);
    const dropped = this.store instanceof MemoryStore ? this.store.dropped : 0;
    return renderFeatures({ ...counts, joins, topics: this.records, events, dropped });
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
    if (verb === 'push')
      return this.writer.push(tenant, textOf(body, 'push_source_name'), body.df, body.to ?? 'online');
    if (verb === 'write') return this.writer.write(tenant, textOf(body, 'feature_view_name'), body.df);
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
  push(tenant: string, source: string, df: unknown, to: unknown): Promise<PushResult> {
    return this.writer.push(tenant, source, df, to);
  }

  /** From the views' files, their topics and what was pushed for training into the online store. */
  materialize(wish: MaterializeWish): Promise<MaterializeResult[]> {
    return materialize(wish, this.book.set, () => this.open(), this.data, this.writer);
  }

  /** What was known of entities at given times, as columns; with a fitted transform also what it makes of them. */
  async historical(wish: HistoricalWish): Promise<HistoricalRows> {
    const { frame, columns, times } = await this.data.known(wish);
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
    if (wish.transform !== undefined) rows.transformed = this.fitted.apply(wish.transform, columns, times.length);
    return rows;
  }

  /** Rejects with not_found naming the views there are. */
  async view(name: string): Promise<View> {
    await this.open();
    return viewOf(this.book.set, name);
  }

  /** Of every entity of a view its newest row up to a time, within the TTL. Rejects with failed_precondition when there is none. */
  async asOf(tenant: string, name: string, at: number): Promise<Source> {
    return this.data.asOf(tenant, await this.view(name), at);
  }

  /** Fits a transform on what was known at given times, and keeps it as the next version of its name. */
  async fit(wish: HistoricalWish & { name: string; steps: unknown; actor: string }): Promise<FittedView> {
    const spec = readTransformSpec(wish.steps);
    checkTransformName(wish.name);
    const { columns } = await this.data.known(wish);
    const fitted = fitColumns(spec, columns);
    const view = await this.fitted.keep(await this.open(), wish.name, fitted, wish.actor);
    this.publish();
    return view;
  }

  /** Every version of every fitted transform. */
  async transforms(): Promise<FittedView[]> {
    return (await (await this.open()).transforms()).map(fittedView);
  }

  /** Tells the gateways what there is, and reads the topics that views name. */
  publish(): void {
    this.parts.publish(this.book.documents, this.fitted.all);
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
    await this.fitted.read(store);
    this.publish();
    return store;
  }
}

function textOf(body: Record<string, unknown>, name: string): string {
  const value = body[name];
  if (typeof value === 'string' && value !== '') return value;
  throw invalidArgument(`${name} must be a text`);
}
