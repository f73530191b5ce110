import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type FSWatcher, watch } from 'chokidar';
import type { Logger } from 'pino';
import type { KafkaConfig } from '../../config/kafka-schema.ts';
import type { Config } from '../../config/schema.ts';
import { ConfigError } from '../../config/yaml-file.ts';
import type { RouteRule } from '../../eventlog/handover/targets.ts';
import type { RolloutEvent } from '../../experiments/rollout/state.ts';
import type { RouteActivity } from '../../gateway/route-activity.ts';
import { kafkaConfigured } from '../../kafka/client.ts';
import type { Lag } from '../../kafka/lag.ts';
import type { AliasTable } from '../../pipeline/routed/route-version.ts';
import type { ServingTable } from '../../pipeline/types.ts';
import { steadyTime } from '../../shared/clock.ts';
import { SwitchyardError } from '../../shared/errors.ts';
import type { GatewayFleet } from '../gateway-fleet.ts';
import { AliasMemory } from './alias-memory.ts';
import { type AliasSource, RouteAliases } from './aliases.ts';
import { RouteCluster } from './cluster.ts';
import { Feedback, type FeedbackAnswer, readForwarded } from './feedback.ts';
import type { TopicEvent } from './feedback-batch.ts';
import { type LiveRoute, rewardsOf } from './live.ts';
import { RewardTopics, renderRewardTopics } from './reward-topics.ts';
import { rolloutOf } from './rollout-control.ts';
import { type DocumentKind, RouteBook } from './route-book.ts';
import { watchedPaths } from './route-files.ts';
import { renderRoutes, renderUnmatchedFeedback } from './route-metrics.ts';
import type { RouteStore } from './route-store.ts';
import { type RouteWarning, warningsOf } from './route-warnings.ts';
import { RouteRuntime } from './runtime.ts';
import { type DecisionCount, type RouteTarget, VersionTraffic } from './version-traffic.ts';
import { kindOf, routeRow, routeView } from './view.ts';
import { WaitingJournal } from './waiting-journal.ts';

export interface RoutesParts {
  config: Config['routes'];
  kafka: KafkaConfig;
  baseDir: string;
  dataDir: string;
  fleet: Pick<GatewayFleet, 'setRoutes' | 'setRouteState' | 'setAliases' | 'routingTaken' | 'flushRoutes'>;
  table(): ServingTable;
  /** Names of all models, loaded or not. */
  models(): Promise<ReadonlySet<string>>;
  /** The storage is a file of this process: a start waits for it as long as nothing fails, however slow the machine is. */
  embedded: boolean;
  /** Of the registry that models come from. */
  aliases: AliasSource;
  /** How often they are read although nothing tells that they moved. */
  aliasPollMs: number;
  /** Of the registry of this process; rejects while it cannot be opened. */
  storage(): Promise<{ store: RouteStore; subscribe(listener: (type: string) => void): void }>;
  /** Writes feedback of topics to the event log. Rejects when it is not kept. */
  record(events: readonly unknown[], learnt: TopicEvent[]): Promise<TopicEvent[]>;
  log: Logger;
}

const TICK_MS = 250;
/** Name of a gateway that shares nothing. */
const ALONE = 'this';
/** A start waits so long for the database and Redis, and goes on without what they know. */
const START_MS = 5000;
const MAX_MISMATCHES = 20;
/** A change is answered after so long although a thread or the registry holds it up: it is made, and will be in force. */
const IN_FORCE_MS = 5000;

/** Routes on the control thread: files and API in, states to the gateway threads, everything about them out. */
export class Routes {
  private readonly parts: RoutesParts;
  private readonly book: RouteBook;
  private readonly aliases: RouteAliases;
  private readonly runtime: RouteRuntime;
  private readonly cluster: RouteCluster | undefined;
  private readonly feedbackJoin: Feedback;
  private readonly rewardTopics: RewardTopics;
  private readonly marker: string;
  private readonly versionTraffic = new VersionTraffic();
  private modelNames: ReadonlySet<string> = new Set();
  private watcher: FSWatcher | undefined;
  private timers: NodeJS.Timeout[] = [];
  private storage: ReturnType<RoutesParts['storage']> | undefined;

  /** Reads the route files. Throws ConfigError. */
  constructor(parts: RoutesParts) {
    this.parts = parts;
    const { config, baseDir, fleet, log } = parts;
    this.marker = join(parts.dataDir, 'routes-in-registry');
    this.book = new RouteBook(config.files, baseDir, {
      knowsModel: () => (model) => this.modelNames.has(model),
      kafka: kafkaConfigured(parts.kafka),
    });
    this.book.readFiles(true);
    const tell = (message: string, fields: object): void => log.warn(fields, message);
    const publishAliases = (table: AliasTable): void => this.runtime.versionsChange(() => fleet.setAliases(table));
    const memory = new AliasMemory(join(parts.dataDir, 'route-aliases.json'), (err) =>
      tell('what aliases mean cannot be kept on disk', { err }),
    );
    this.aliases = new RouteAliases(parts.aliases, parts.table, publishAliases, tell, memory);
    this.cluster = config.redisUrl === undefined ? undefined : this.createCluster(config.redisUrl);
    this.runtime = new RouteRuntime({
      publishRoutes: (routes, states) => {
        fleet.setRoutes(routes, states);
        this.rewardTopics.follow(routes.flatMap((route) => rewardsOf(route)?.topic ?? []));
      },
      publishState: (route, state) => fleet.setRouteState(route, state),
      table: parts.table,
      aliases: this.aliases,
      aliasSource: parts.aliases,
      node: this.cluster?.id ?? ALONE,
      fleet: this.cluster,
      save: async (standings) => (await this.opened()).store.putStandings(standings),
      journal: (route, print) =>
        new WaitingJournal({
          folder: join(parts.dataDir, 'routes', encodeURIComponent(route)),
          print,
          owner: this.cluster?.id ?? ALONE,
          problem: (message, fields) => log.error({ route, ...fields }, message),
        }),
      log: (level, message, fields) => log[level](fields, message),
      now: steadyTime,
    });
    this.feedbackJoin = new Feedback({
      routes: () => this.runtime.routes.values(),
      flush: () => fleet.flushRoutes(),
      kept: () => this.runtime.flush(),
      forward: this.cluster === undefined ? undefined : (events) => this.cluster!.forwardRewards(events),
      now: steadyTime,
    });
    this.rewardTopics = new RewardTopics({
      kafka: parts.kafka,
      take: (events) => this.takeFromTopic(events),
      log,
    });
  }

  /** Puts routes up as they stood before. Call it when the models are known, before readiness. */
  async start(): Promise<void> {
    await this.learnModels();
    const expected = this.book.set.routes.length > 0 || existsSync(this.marker);
    if (expected) await this.restoreInTime();
    else void this.restore();
    if (this.runtime.routes.size === 0) this.runtime.replace(this.book.set);
    // Versions are still being loaded: those are told by the status.
    this.warn(this.warnings().filter(({ model }) => !this.modelNames.has(model)));
    if (this.cluster !== undefined) await this.cluster.start(START_MS);
    await this.runtime.recover();
    // The first request finds what bandits know already.
    this.runtime.tick();
    this.timers.push(setInterval(() => this.runtime.tick(), TICK_MS));
    this.timers.push(setInterval(() => void this.aliases.refresh(), this.parts.aliasPollMs));
    for (const timer of this.timers) timer.unref();
    this.watchFiles();
  }

  activity(activity: RouteActivity): void {
    this.runtime.activity(activity);
    const modelOf = (route: string, variant: string): string | undefined =>
      this.runtime.routes.get(route)?.document.spec.variants[variant]?.model;
    this.versionTraffic.add(activity, modelOf, Date.now());
  }

  /** The versions that routes lead to now, and what was decided for versions since the start. */
  traffic(): { routes: RouteTarget[]; decisions: DecisionCount[] } {
    const routes = [...this.runtime.routes.values()].flatMap(({ name, document }) =>
      Object.entries(this.runtime.versions(document)).flatMap(([variant, version]) =>
        version === '' ? [] : [{ route: name, variant, model: document.spec.variants[variant].model, version }],
      ),
    );
    return { routes, decisions: this.versionTraffic.list() };
  }

  /** What routes say of logging, and which requests they are about. */
  logRules(): RouteRule[] {
    return [...this.runtime.routes.values()].map(({ name, document: { spec } }) => {
      const names = spec.match?.map(({ model }) => model?.exact) ?? [name];
      const asked = names.filter((one) => one !== undefined);
      return {
        route: name,
        asked: asked.length === names.length ? asked : undefined,
        models: Object.values(spec.variants).map(({ model }) => model),
        rule: spec.log,
      };
    });
  }

  /** Threads are about to get another serving table. */
  tableChanges(): void {
    this.runtime.withhold();
  }

  /** The serving table has changed. */
  tableChanged(): void {
    this.runtime.giveBack();
    this.aliases.settle();
  }

  /** Aliases have moved in the registry. Resolves when routes go by them, or they cannot be read. Never rejects. */
  aliasesMoved(): Promise<unknown> {
    return this.aliases.refresh();
  }

  /** @param tenant who sends it; '': it is for all tenants */
  feedback(body: unknown, tenant: string): Promise<FeedbackAnswer> {
    return this.feedbackJoin.take(body, tenant);
  }

  /** Events that a topic brought, learnt from and written down. Rejects when they must come again. */
  async takeFromTopic(events: readonly unknown[]): Promise<TopicEvent[]> {
    return this.parts.record(events, await this.feedbackJoin.takeAll(events, '', true));
  }

  /** Of the topics of rewards. */
  lags(): Lag[] {
    return this.rewardTopics.lags();
  }

  metrics(): string {
    return (
      renderRoutes(this.runtime.routes.values(), (document) => this.runtime.versions(document)) +
      renderUnmatchedFeedback(this.feedbackJoin.counts) +
      renderRewardTopics(this.rewardTopics.counts)
    );
  }

  status(): object {
    const { generation, problems } = this.book.status;
    const fleet = this.cluster?.describe();
    const rewards = this.rewardTopics.describe();
    return {
      generation,
      problems,
      warnings: this.warnings().map(({ message }) => message),
      unmatched_feedback: Object.fromEntries(this.feedbackJoin.counts),
      ...(fleet === undefined ? {} : { gateway: fleet }),
      ...(rewards.topics.length === 0 ? {} : { reward_topics: rewards }),
    };
  }

  list(): { name: string; row: object }[] {
    return [...this.runtime.routes.values()]
      .map((live) => ({ name: live.name, row: routeRow(live, this.originOf(live)) }))
      .sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** Throws not_found. */
  get(name: string): object {
    const live = this.find(name);
    return routeView(
      live,
      this.originOf(live),
      this.runtime.data(live),
      this.runtime.versions(live.document),
      steadyTime(),
    );
  }

  /** The rollout of a version of a model, when a route has one or had it last. */
  rolloutOf(
    model: string,
    version: string,
  ): { route: string; phase: string; reason: string; history: { at: number; message: string }[] } | undefined {
    for (const { name, document, standing } of this.runtime.routes.values()) {
      const state = rolloutOf(standing)?.state;
      const { canary } = document.spec.strategy;
      if (state === undefined || canary === undefined || state.candidateVersion !== version) continue;
      if (document.spec.variants[canary.candidate]?.model !== model) continue;
      return { route: name, phase: state.phase, reason: state.reason, history: state.history };
    }
    return undefined;
  }

  /** Mismatches of shadows, the newest last. Throws not_found. */
  mismatches(name: string): object[] {
    const { sums } = this.runtime.data(this.find(name));
    return [...sums.shadows.values()].flatMap(({ examples }) => examples).slice(-MAX_MISMATCHES);
  }

  /** Reads the files again; resolves when they are in force. @returns the problems; with any, everything stays as it was. */
  async reload(): Promise<string[]> {
    await this.learnModels();
    try {
      this.book.readFiles();
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      this.parts.log.error({ problems: error.problems }, 'the new routes cannot be used; the old ones go on');
      return error.problems;
    }
    this.runtime.replace(this.book.set);
    await this.inForce();
    this.warn(this.warnings());
    this.parts.log.info({ routes: this.book.set.routes.length }, 'routes reloaded');
    return [];
  }

  /** Routes and templates over the API: all of them, or none. Resolves when they are in force. Throws SwitchyardError. */
  async change(
    changes: readonly { kind: DocumentKind; name: string; body: string | undefined }[],
    dryRun: boolean,
  ): Promise<void> {
    await this.learnModels();
    if (dryRun) return this.book.change(changes, true);
    const { store } = await this.opened();
    this.book.change(changes, true);
    await store.putDocuments(changes);
    this.book.change(changes, false);
    mkdirSync(this.parts.dataDir, { recursive: true });
    writeFileSync(this.marker, '');
    this.runtime.replace(this.book.set);
    await this.cluster?.documentsChanged().catch(() => {});
    await this.inForce();
  }

  /** A person's word on a rollout. @returns the route as it is in force with it. Throws not_found and failed_precondition. */
  async command(name: string, event: RolloutEvent): Promise<object> {
    const live = this.find(name);
    if (kindOf(live) !== 'canary')
      throw new SwitchyardError('failed_precondition', `route ${name} has no canary; its strategy is ${kindOf(live)}`);
    if (live.standing.rollout === undefined)
      throw new SwitchyardError(
        'failed_precondition',
        `the rollout of ${name} waits for both its versions to be loaded`,
      );
    if (this.cluster === undefined) this.runtime.command(live, event);
    else await this.forward(name, event);
    const view = this.get(name);
    // With several gateways it is in Redis.
    await this.inForce(this.cluster === undefined ? this.runtime.saved() : undefined);
    return view;
  }

  async close(): Promise<void> {
    for (const timer of this.timers) clearInterval(timer);
    await this.watcher?.close();
    await this.rewardTopics.close();
    await this.runtime.close();
    await this.cluster?.close();
  }

  /**
   * Resolves when this gateway's threads route by all that was changed before the call, or have had their time.
   *
   * @param kept what else has to come first
   */
  private async inForce(kept?: Promise<void>): Promise<void> {
    const taken = this.aliases
      .settled()
      .then(() => this.parts.fleet.routingTaken())
      .then(() => kept)
      .then(() => true);
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<false>((resolve) => {
      timer = setTimeout(resolve, IN_FORCE_MS, false);
    });
    if (!(await Promise.race([taken, late])))
      this.parts.log.warn({ ms: IN_FORCE_MS }, 'changed routes are not yet in force everywhere');
    clearTimeout(timer);
  }

  private async forward(name: string, event: RolloutEvent): Promise<void> {
    try {
      await this.cluster?.forwardCommand(name, event);
    } catch {
      throw new SwitchyardError('unavailable', 'no gateway decides now because Redis does not answer; try again');
    }
  }

  private find(name: string): LiveRoute {
    const live = this.runtime.routes.get(name);
    if (live !== undefined) return live;
    throw new SwitchyardError('not_found', `there is no route ${JSON.stringify(name.slice(0, 140))}`);
  }

  private originOf({ name }: LiveRoute): 'api' | 'file' {
    return this.book.isStored('Route', name) ? 'api' : 'file';
  }

  private opened(): ReturnType<RoutesParts['storage']> {
    this.storage ??= this.parts.storage().then(
      (storage) => {
        storage.subscribe((type) => {
          if (type.startsWith('model_version_alias.')) void this.aliases.refresh();
        });
        return storage;
      },
      (error) => {
        this.storage = undefined;
        throw error;
      },
    );
    return this.storage;
  }

  /** Resolves when what the database knows is here, or has been waited for long enough. */
  private restoreInTime(): Promise<void> {
    return new Promise((resolve) => {
      const hurry = (): void => void setTimeout(resolve, START_MS).unref();
      if (!this.parts.embedded) hurry();
      void this.restore(hurry).then(resolve);
    });
  }

  /**
   * What the database knows, now or when it can be opened. Never rejects.
   *
   * @param failed called for each time it could not be read
   */
  private async restore(failed = (): void => {}): Promise<void> {
    for (let wait = 500; ; wait = Math.min(wait * 2, 10_000)) {
      try {
        const { store } = await this.opened();
        const { documents, standings } = await store.load();
        this.runtime.restore(standings);
        for (const problem of this.book.restore(documents))
          this.parts.log.error({ problem }, 'routes made over the API are left out');
        this.runtime.replace(this.book.set);
        return;
      } catch (error) {
        this.parts.log.warn({ err: error }, 'where routes stood cannot be read; it is tried again');
        failed();
        await new Promise((resolve) => setTimeout(resolve, wait).unref());
      }
    }
  }

  private async learnModels(): Promise<void> {
    this.modelNames = await this.parts.models();
  }

  private warnings(): RouteWarning[] {
    return warningsOf([...this.runtime.routes.values()], {
      models: this.parts.table().models,
      names: this.modelNames,
      places: this.book.set.places,
      versions: (document) => this.runtime.versions(document),
    });
  }

  private warn(warnings: readonly RouteWarning[]): void {
    for (const { message, ...fields } of warnings)
      this.parts.log.warn({ ...fields, problem: message }, 'a route names what is not there (yet)');
  }

  private watchFiles(): void {
    const paths = watchedPaths(this.parts.config.files, this.parts.baseDir);
    if (paths.length === 0) return;
    this.watcher = watch(paths, {
      ignoreInitial: true,
      depth: 0,
      awaitWriteFinish: { stabilityThreshold: 50, pollInterval: 20 },
    });
    // What changed before the watcher was ready is not told by it.
    this.watcher.on('ready', () => {
      if (this.book.filesChanged()) void this.reload();
    });
    let waiting: NodeJS.Timeout | undefined;
    this.watcher.on('all', () => {
      // Several files that change together are one change.
      clearTimeout(waiting);
      waiting = setTimeout(() => void this.reload(), 50);
    });
  }

  private createCluster(url: string): RouteCluster {
    const { config, log } = this.parts;
    const settings = { url, leaseMs: config.leaseSeconds * 1000, staleMs: config.staleSeconds * 1000 };
    return new RouteCluster(settings, () => this.runtime.contributions(), {
      onStanding: (route, standing) => this.runtime.follow(route, standing),
      onDocuments: () => void this.rereadDocuments(),
      onRewards: async (events) => {
        const rewards = events.map(readForwarded);
        await this.runtime.recover();
        if (this.runtime.predecessors().length > 0) throw new Error('the decisions they may be for are not there yet');
        await this.parts.fleet.flushRoutes();
        const known = rewards.map((event) => event !== undefined && this.feedbackJoin.reward(event) !== 'unknown');
        await this.runtime.flush();
        return known;
      },
      onUnclaimed: (count) => this.feedbackJoin.unclaimed(count),
      predecessors: () => this.runtime.predecessors(),
      onCommand: async (route, id, command) => {
        const live = this.runtime.routes.get(route);
        return live === undefined ? 'unknown' : this.runtime.carryOut(live, id, command as RolloutEvent);
      },
      onLeading: () => void this.runtime.lead(),
      onTold: (sums) => this.runtime.told(sums),
      onTakenForGone: (id) => this.runtime.rename(id),
      kept: (name, sums) => this.runtime.kept(name, sums),
      log: (level, message, fields) => log[level](fields, message),
    });
  }

  /** Another gateway's API has changed them. Never rejects. */
  private async rereadDocuments(): Promise<void> {
    try {
      const { store } = await this.opened();
      await this.learnModels();
      for (const problem of this.book.restore((await store.load()).documents))
        this.parts.log.error({ problem }, 'routes made over the API are left out');
      this.runtime.replace(this.book.set);
    } catch (error) {
      this.parts.log.warn({ err: error }, 'routes of another gateway cannot be read');
    }
  }
}
