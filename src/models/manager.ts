import type { ServingTable, VersionStatus } from '../pipeline/types.ts';
import { type Clock, monotonicMs } from '../shared/clock.ts';
import { SwitchyardError, toSwitchyardError } from '../shared/errors.ts';
import { fitAtStart } from './budget.ts';
import { CatalogueFollower } from './catalogue-follower.ts';
import { DEFAULT_MAX_BATCH_SIZE } from './config/complete.ts';
import { createEntry, failureOf } from './entry.ts';
import { KeptRecords } from './kept-records.ts';
import { recordCrash } from './lifecycle.ts';
import { LoadRequests } from './load-requests.ts';
import { countRows, VersionLoader } from './loader.ts';
import type { ModelManagerDeps, ModelManagerOptions } from './manager-options.ts';
import { ModelSet } from './model-set.ts';
import { Poller } from './poller.ts';
import { laterByTimer, Reconciler } from './reconciler.ts';
import { Catalogue } from './repository/catalogue.ts';
import type { ScannedModel } from './repository/scan.ts';
import { Coalesced } from './serial.ts';
import { absencesOf, buildTable, ensembleProblems, versionIndex } from './table.ts';

export function createModelManager(options: ModelManagerOptions, deps: ModelManagerDeps): ModelManager {
  return new ModelManager(options, deps);
}

/**
 * Keeps what is served equal to what should be: repositories, load requests, crashes and the memory budget change the
 * wish, `reconcile` makes it so, one operation at a time for each model. Lives in the control thread.
 */
export class ModelManager {
  private readonly options: ModelManagerOptions;
  private readonly deps: ModelManagerDeps;
  private readonly clock: Clock;
  private readonly budget: number;
  private readonly catalogue: Catalogue;
  private readonly records: KeptRecords;
  private readonly loader: VersionLoader;
  private readonly reconciler: Reconciler;
  private readonly models: ModelSet;
  private readonly follower: CatalogueFollower;
  private readonly loadRequests: LoadRequests;
  private readonly publisher: Coalesced;
  private readonly scanner: Coalesced;
  private readonly poller: Poller | undefined;
  private readonly crashes = new Map<string, number[]>();
  private looking: Promise<void> | undefined;
  private started = false;
  private generation = 0;
  private current: ServingTable = { generation: 0, models: new Map() };

  constructor(options: ModelManagerOptions, deps: ModelManagerDeps) {
    this.options = options;
    this.deps = deps;
    this.clock = deps.clock ?? monotonicMs;
    this.budget = options.memoryBudgetBytes ?? 0;
    this.catalogue = new Catalogue(options.repositories);
    this.records = new KeptRecords(options.dataDir, deps.log);
    const loaderOptions = {
      preflight: options.preflight ?? true,
      parallelLoads: options.parallelLoads ?? 2,
      defaultMaxBatchSize: options.defaultMaxBatchSize ?? DEFAULT_MAX_BATCH_SIZE,
      runtimeId: options.runtimeId ?? '',
    };
    this.loader = new VersionLoader(loaderOptions, {
      pool: deps.pool,
      preflight: deps.preflight,
      verdicts: this.records.verdicts,
      noteUnproven: (...version) => this.records.noteUnproven(...version),
      digests: this.records.digests,
      metricsRow: deps.metricsRow ?? countRows(),
    });
    this.publisher = new Coalesced(() => {
      this.current = buildTable(this.models.entries, ++this.generation);
      return deps.publish(this.current);
    });
    this.scanner = new Coalesced(() => this.addNewModels());
    this.reconciler = new Reconciler({
      loader: this.loader,
      pool: deps.pool,
      quarantine: this.records.quarantine,
      publish: () => this.publisher.request(),
      source: { gpus: options.gpus ?? 0, defaultIsolation: options.defaultIsolation ?? 'thread' },
      pinned: options.pinned ?? [],
      clock: this.clock,
      later: deps.later ?? laterByTimer,
      log: deps.log,
    });
    const { log } = deps;
    this.models = new ModelSet({
      reconciler: this.reconciler,
      budget: this.budget,
      lastUsed: (model) => deps.lastUsed(model),
      log,
    });
    const { catalogue, models, reconciler, records } = this;
    const publish = () => this.publisher.request();
    this.follower = new CatalogueFollower({ catalogue, models, publish, log });
    this.loadRequests = new LoadRequests({
      ...{ models, catalogue, reconciler, records, dataDir: options.dataDir },
      remoteHosts: options.remoteHosts ?? [],
      refresh: () => this.scanner.request(),
    });
    this.poller =
      options.controlMode === 'poll'
        ? new Poller(() => this.pollSafely(), options.pollIntervalMs ?? 15_000)
        : undefined;
  }

  /** The table last handed to `publish`. */
  table(): ServingTable {
    return this.current;
  }

  /** Scans, loads what should be in memory, publishes. Resolves when every model is ready or has its reason. */
  async start(): Promise<void> {
    await this.records.load();
    await this.catalogue.scan();
    for (const warning of this.catalogue.advance().warnings) this.deps.log('warn', warning, {});
    for (const scanned of this.catalogue.models.values()) this.models.add(scanned);
    const startup = this.options.startupModels ?? [];
    const all = this.options.controlMode !== 'explicit' || startup.includes('*');
    for (const name of startup) {
      if (name !== '*' && !this.models.entries.has(name))
        this.deps.log('error', `startup model "${name}" is in no repository`, { model: name });
    }
    const named = [...this.models.entries.values()].filter(
      (entry) => all || startup.includes(entry.name) || this.catalogue.isProvided(entry.name),
    );
    const wanted = await this.models.want(named);
    const fit = fitAtStart(
      wanted.map(({ name, estimate, pinned }) => ({ name, bytes: estimate, pinned })),
      this.budget,
    );
    for (const entry of wanted) entry.resident = fit.has(entry.name);
    await Promise.all(wanted.filter((entry) => entry.resident).map((entry) => this.models.enqueue(entry)));
    this.started = true;
    await Promise.all([this.publisher.request(), this.records.persist()]);
    if (this.catalogue.behind) await this.follow();
    this.poller?.start();
  }

  /** Ends polling and waits for operations in progress; loaded models stay as they are. */
  async stop(): Promise<void> {
    await this.poller?.stop();
    this.reconciler.stop();
    await Promise.all([...this.models.entries.values()].map((entry) => entry.serial.run(async () => {})));
    await this.records.persist();
  }

  /** Looks through the repositories once and makes what is served follow. Resolves when it does. */
  poll(): Promise<void> {
    this.looking ??= this.look().finally(() => {
      this.looking = undefined;
    });
    return this.looking;
  }

  /**
   * Replaces the models that come from no repository folder, such as those a registry names, and makes what is served
   * follow, whatever the control mode. Before `start` it only takes note. Resolves when every one is ready or has its
   * reason.
   */
  async provide(models: ReadonlyMap<string, ScannedModel>): Promise<void> {
    this.catalogue.provide(models);
    if (this.started) await this.follow();
  }

  /** Proves versions that may be provided soon: then loading them takes no proof. Rejects with what is wrong. */
  async foresee(model: ScannedModel): Promise<void> {
    const entry = createEntry({ scanned: model, configJson: '' });
    const source = await this.reconciler.readEntry(entry);
    if (source === undefined) throw new SwitchyardError('failed_precondition', entry.problem);
    for (const version of source.versions)
      await this.loader.foresee(model, version, await this.loader.keyOf(version, source), source.config);
  }

  /** Every known model with its versions, states and reasons. */
  async repositoryIndex(readyOnly: boolean): Promise<{ name: string; versions: VersionStatus[] }[]> {
    if (this.options.controlMode === 'explicit') await this.scanner.request();
    const problems = ensembleProblems(this.models.entries);
    const absences = absencesOf(this.models.entries);
    const list = [...this.models.entries.values()].map((entry) => ({
      name: entry.name,
      versions: versionIndex(entry, problems.get(entry.name) ?? '', absences),
    }));
    list.sort((a, b) => (a.name < b.name ? -1 : 1));
    if (!readyOnly) return list;
    return list
      .map(({ name, versions }) => ({ name, versions: versions.filter((version) => version.state === 'READY') }))
      .filter(({ versions }) => versions.length > 0);
  }

  /**
   * Loads or reloads a model (explicit mode). `configJson` replaces the folder's configuration, '' = none; `files`
   * ("1/model.onnx" → bytes) replace the folder. Rejects with failed_precondition naming the reason; what served before
   * goes on serving.
   */
  async load(name: string, configJson: string, files: ReadonlyMap<string, Uint8Array>): Promise<void> {
    this.requireExplicit('load');
    await this.loadRequests.load(name, configJson, files);
  }

  /** Unloads a model (explicit mode); with `dependents` also the models an ensemble composes that no other one needs. */
  async unload(name: string, dependents: boolean): Promise<void> {
    this.requireExplicit('unload');
    await this.loadRequests.unload(name, dependents);
  }

  /**
   * Loads a model that is known but not in memory, evicting least recently used ones if the budget asks for it.
   * Rejects with not_found, or unavailable with the reason.
   */
  async demand(name: string): Promise<void> {
    const entry = this.models.entries.get(name);
    if (entry === undefined) throw new SwitchyardError('not_found', `model "${name}" is not known`);
    await entry.serial.run(async () => {
      if (!entry.wanted) throw new SwitchyardError('unavailable', `model "${name}" is unloaded`);
      if (!entry.resident) {
        entry.demanded = true;
        try {
          await this.models.residency.admit(entry);
          await this.models.apply(entry);
        } finally {
          entry.demanded = false;
          if (entry.loaded.length === 0) await this.publisher.request();
        }
      }
      if (entry.loaded.length === 0)
        throw new SwitchyardError('unavailable', `model "${name}" is not ready: ${failureOf(entry)}`);
    });
  }

  /**
   * Takes note that a version brought down its executor or process at `when` (by the clock). The third time within a
   * minute quarantines it, across restarts, and the last good version takes over. True: it is quarantined.
   * `noticedAfter`: milliseconds it had hung, by which the minute is longer.
   */
  async versionCrashed(handle: number, when: number, noticedAfter: number = 0): Promise<boolean> {
    const found = this.models.findHandle(handle);
    if (found === undefined) return false;
    const [entry, version] = found;
    const times = this.crashes.get(version.key) ?? [];
    this.crashes.set(version.key, times);
    if (!recordCrash(times, when, noticedAfter)) return false;
    const reason = `version ${version.version} crashed or hung ${times.length} times within a minute; replace its files or load it again to retry`;
    this.crashes.delete(version.key);
    this.deps.log('error', `model "${entry.name}" ${reason}`, { model: entry.name, version: version.version });
    const row = { model: entry.name, version: version.version, reason, since: Date.now() };
    await this.records.quarantineVersion(version.key, row);
    await this.models.enqueue(entry);
    return true;
  }

  /** A version is on other executors, or cannot be run by them any more, or again: gateways learn of it. */
  async executorsChanged(handle: number, executors: readonly number[], absence: string): Promise<void> {
    const found = this.models.findHandle(handle);
    if (found === undefined) return;
    const [entry, version] = found;
    version.executors = [...executors];
    if (version.absence !== absence) {
      const fields = { model: entry.name, version: version.version };
      const what = `model "${entry.name}" version ${version.version}`;
      if (absence === '') this.deps.log('info', `${what} is ready again`, fields);
      else this.deps.log('warn', `${what} is not ready: ${absence}`, fields);
    }
    version.absence = absence;
    await this.publisher.request();
  }

  /** Models put into a repository since the last look become known (explicit mode: unloaded). */
  private async addNewModels(): Promise<void> {
    await this.catalogue.refresh();
    for (const scanned of this.catalogue.models.values())
      if (!this.models.entries.has(scanned.name)) this.models.add(scanned);
  }

  private async pollSafely(): Promise<void> {
    try {
      await this.poll();
    } catch (error) {
      this.deps.log('error', `polling the model repositories failed: ${toSwitchyardError(error).message}`, {});
    }
  }

  private async follow(): Promise<void> {
    await this.follower.follow();
    await this.records.persist();
  }

  private requireExplicit(verb: string): void {
    if (this.options.controlMode === 'explicit') return;
    const message = `explicit model ${verb} is not allowed in model control mode "${this.options.controlMode}"; start with mode "explicit"`;
    throw new SwitchyardError('failed_precondition', message);
  }

  private async look(): Promise<void> {
    await this.catalogue.scan();
    await this.follow();
  }
}
