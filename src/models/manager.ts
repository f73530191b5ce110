import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { ServingTable, VersionStatus } from '../pipeline/types.ts';
import { type Clock, monotonicMs } from '../shared/clock.ts';
import { SwitchyardError, toSwitchyardError } from '../shared/errors.ts';
import { estimateOf, fitAtStart } from './budget.ts';
import { DEFAULT_MAX_BATCH_SIZE } from './config/complete.ts';
import { ensembleDependencies } from './config/ensemble.ts';
import { readModelConfig } from './config/read.ts';
import { createEntry, failureOf, type LoadedVersion, type ModelEntry } from './entry.ts';
import { recordCrash } from './lifecycle.ts';
import { countRows, VersionLoader } from './loader.ts';
import type { ModelManagerDeps, ModelManagerOptions } from './manager-options.ts';
import { Poller } from './poller.ts';
import { laterByTimer, Reconciler } from './reconciler.ts';
import { checkRemoteHosts } from './remote-hosts.ts';
import { Catalogue } from './repository/catalogue.ts';
import { DigestCache } from './repository/digest.ts';
import { checkModelName } from './repository/names.ts';
import { checkOverrideFiles, materialiseOverride, removeOverrides } from './repository/overrides.ts';
import { emptyModel, type ScannedModel, scanModel } from './repository/scan.ts';
import { Residency } from './residency.ts';
import { Coalesced } from './serial.ts';
import type { ModelSource } from './source.ts';
import { absencesOf, buildTable, ensembleProblems, versionIndex } from './table.ts';
import { type JsonTable, type Quarantined, quarantineTable, verdictTable } from './verdicts.ts';

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
  private readonly entries = new Map<string, ModelEntry>();
  private readonly quarantine: JsonTable<Quarantined>;
  private readonly digests: DigestCache;
  private readonly loader: VersionLoader;
  private readonly reconciler: Reconciler;
  private readonly residency: Residency;
  private readonly publisher: Coalesced;
  private readonly scanner: Coalesced;
  private readonly poller: Poller | undefined;
  private readonly verdicts: ReturnType<typeof verdictTable>;
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
    this.quarantine = quarantineTable(options.dataDir);
    this.verdicts = verdictTable(options.dataDir);
    this.digests = new DigestCache(join(options.dataDir, 'digests.json'));
    const loaderOptions = {
      preflight: options.preflight ?? true,
      parallelLoads: options.parallelLoads ?? 2,
      defaultMaxBatchSize: options.defaultMaxBatchSize ?? DEFAULT_MAX_BATCH_SIZE,
      runtimeId: options.runtimeId ?? '',
    };
    this.loader = new VersionLoader(loaderOptions, {
      pool: deps.pool,
      preflight: deps.preflight,
      verdicts: this.verdicts,
      digests: this.digests,
      metricsRow: deps.metricsRow ?? countRows(),
    });
    this.publisher = new Coalesced(() => {
      this.current = buildTable(this.entries, ++this.generation);
      return deps.publish(this.current);
    });
    this.scanner = new Coalesced(() => this.addNewModels());
    this.reconciler = new Reconciler({
      loader: this.loader,
      pool: deps.pool,
      quarantine: this.quarantine,
      publish: () => this.publisher.request(),
      source: { gpus: options.gpus ?? 0, defaultIsolation: options.defaultIsolation ?? 'thread' },
      pinned: options.pinned ?? [],
      clock: this.clock,
      later: deps.later ?? laterByTimer,
      log: deps.log,
    });
    this.residency = new Residency(this.budget, {
      entries: this.entries,
      lastUsed: deps.lastUsed,
      enqueue: (entry) => this.enqueue(entry),
      log: deps.log,
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
    await Promise.all([this.quarantine.load(), this.verdicts.load(), this.digests.load()]);
    const stale = join(this.options.dataDir, 'overrides');
    await this.written('removing files of old load requests', rm(stale, { recursive: true, force: true }));
    await this.catalogue.scan();
    for (const warning of this.catalogue.advance().warnings) this.deps.log('warn', warning, {});
    for (const scanned of this.catalogue.models.values()) this.addEntry(scanned);
    const startup = this.options.startupModels ?? [];
    const all = this.options.controlMode !== 'explicit' || startup.includes('*');
    for (const name of startup) {
      if (name !== '*' && !this.entries.has(name))
        this.deps.log('error', `startup model "${name}" is in no repository`, { model: name });
    }
    const named = [...this.entries.values()].filter(
      (entry) => all || startup.includes(entry.name) || this.catalogue.isProvided(entry.name),
    );
    const wanted = await this.wantWithDependencies(named);
    const fit = fitAtStart(
      wanted.map(({ name, estimate, pinned }) => ({ name, bytes: estimate, pinned })),
      this.budget,
    );
    for (const entry of wanted) entry.resident = fit.has(entry.name);
    await Promise.all(wanted.filter((entry) => entry.resident).map((entry) => this.enqueue(entry)));
    this.started = true;
    await Promise.all([this.publisher.request(), this.persist()]);
    if (this.catalogue.behind) await this.follow();
    this.poller?.start();
  }

  /** Ends polling and waits for operations in progress; loaded models stay as they are. */
  async stop(): Promise<void> {
    await this.poller?.stop();
    this.reconciler.stop();
    await Promise.all([...this.entries.values()].map((entry) => entry.serial.run(async () => {})));
    await this.persist();
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
    const problems = ensembleProblems(this.entries);
    const absences = absencesOf(this.entries);
    const list = [...this.entries.values()].map((entry) => ({
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
    checkModelName(name);
    if (configJson !== '') {
      checkRemoteHosts(readModelConfig(configJson, `${name}/config.json`), name, this.options.remoteHosts ?? []);
    }
    if (files.size > 0) checkOverrideFiles(files);
    else await this.scanner.request();
    const found = this.catalogue.models.get(name);
    if (found === undefined && files.size === 0) {
      throw new SwitchyardError('not_found', `failed to load '${name}', no model repository holds it`);
    }
    const entry = this.entries.get(name) ?? this.addEntry(found ?? emptyModel(name));
    if (files.size === 0) await this.loadDependencies({ scanned: found!, configJson });
    const failure = await entry.serial.run(() => this.loadNow(entry, configJson, files));
    await this.persist();
    if (failure !== '') throw new SwitchyardError('failed_precondition', `failed to load '${name}', ${failure}`);
  }

  /** Unloads a model (explicit mode); with `dependents` also the models an ensemble composes that no other one needs. */
  async unload(name: string, dependents: boolean): Promise<void> {
    this.requireExplicit('unload');
    const entry = this.entries.get(name);
    if (entry === undefined)
      throw new SwitchyardError('not_found', `failed to unload '${name}', no such model is known`);
    const names = [name];
    if (dependents && entry.config) {
      const others = [...this.entries.values()].filter((other) => other !== entry && other.wanted && other.config);
      const needed = new Set(others.flatMap((other) => ensembleDependencies(other.config!)));
      names.push(...ensembleDependencies(entry.config).filter((dependency) => !needed.has(dependency)));
    }
    await Promise.all(
      names.map((each) => {
        const target = this.entries.get(each);
        return target?.serial.run(async () => {
          target.wanted = false;
          target.resident = false;
          await this.apply(target);
        });
      }),
    );
  }

  /**
   * Loads a model that is known but not in memory, evicting least recently used ones if the budget asks for it.
   * Rejects with not_found, or unavailable with the reason.
   */
  async demand(name: string): Promise<void> {
    const entry = this.entries.get(name);
    if (entry === undefined) throw new SwitchyardError('not_found', `model "${name}" is not known`);
    await entry.serial.run(async () => {
      if (!entry.wanted) throw new SwitchyardError('unavailable', `model "${name}" is unloaded`);
      if (!entry.resident) {
        entry.demanded = true;
        try {
          await this.residency.admit(entry);
          await this.apply(entry);
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
    const found = this.findHandle(handle);
    if (found === undefined) return false;
    const [entry, version] = found;
    const times = this.crashes.get(version.key) ?? [];
    this.crashes.set(version.key, times);
    if (!recordCrash(times, when, noticedAfter)) return false;
    const reason = `version ${version.version} crashed or hung ${times.length} times within a minute; replace its files or load it again to retry`;
    this.crashes.delete(version.key);
    this.deps.log('error', `model "${entry.name}" ${reason}`, { model: entry.name, version: version.version });
    const row = { model: entry.name, version: version.version, reason, since: Date.now() };
    await this.written('keeping the quarantine', this.quarantine.set(version.key, row));
    await this.enqueue(entry);
    return true;
  }

  /** A version is on other executors, or cannot be run by them any more, or again: gateways learn of it. */
  async executorsChanged(handle: number, executors: readonly number[], absence: string): Promise<void> {
    const found = this.findHandle(handle);
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

  private findHandle(handle: number): [ModelEntry, LoadedVersion] | undefined {
    for (const entry of this.entries.values()) {
      const version = entry.loaded.find((loaded) => loaded.handle === handle);
      if (version) return [entry, version];
    }
    return undefined;
  }

  private requireExplicit(verb: string): void {
    if (this.options.controlMode === 'explicit') return;
    const message = `explicit model ${verb} is not allowed in model control mode "${this.options.controlMode}"; start with mode "explicit"`;
    throw new SwitchyardError('failed_precondition', message);
  }

  private addEntry(scanned: ScannedModel): ModelEntry {
    const entry = createEntry({ scanned, configJson: '' });
    entry.estimate = estimateOf(scanned);
    this.entries.set(scanned.name, entry);
    return entry;
  }

  /** Models put into a repository since the last look become known (explicit mode: unloaded). */
  private async addNewModels(): Promise<void> {
    await this.catalogue.refresh();
    for (const scanned of this.catalogue.models.values()) if (!this.entries.has(scanned.name)) this.addEntry(scanned);
  }

  /** Marks models and all they compose as wanted, reading their configurations. Returns them, each once. */
  private async wantWithDependencies(roots: readonly ModelEntry[]): Promise<ModelEntry[]> {
    const seen = new Set<ModelEntry>(roots);
    for (const entry of seen) {
      entry.wanted = true;
      const source = await this.reconciler.readEntry(entry);
      for (const name of source ? ensembleDependencies(source.config) : []) {
        const dependency = this.entries.get(name);
        if (dependency) seen.add(dependency);
      }
    }
    return [...seen];
  }

  /** Runs inside the entry's queue. Returns why the load failed, '' = it did not; then the old source is back. */
  private async loadNow(
    entry: ModelEntry,
    configJson: string,
    files: ReadonlyMap<string, Uint8Array>,
  ): Promise<string> {
    const { name } = entry;
    const before = { source: entry.source, overridden: entry.overridden };
    const directory = files.size > 0 ? await materialiseOverride(this.options.dataDir, name, files) : '';
    const scanned = directory === '' ? this.catalogue.models.get(name)! : await scanModel(name, directory);
    entry.source = { scanned, configJson };
    entry.overridden = directory !== '';
    entry.estimate = estimateOf(scanned);
    entry.failures.clear();
    const rows = [...this.quarantine.entries()].filter(([, row]) => row.model === name);
    await this.written('keeping the quarantine', this.quarantine.delete(rows.map(([key]) => key)));
    entry.wanted = true;
    if (!entry.resident) await this.residency.admit(entry);
    await this.apply(entry);
    let failure = '';
    if (entry.problem !== '' || entry.failures.size > 0 || entry.loaded.length === 0) failure = failureOf(entry);
    else failure = ensembleProblems(this.entries).get(name) ?? '';
    if (failure !== '' && entry.loaded.length > 0 && entry.loaded[0].config.ensemble === undefined) {
      Object.assign(entry, before);
      await this.reconciler.readEntry(entry);
    }
    if (before.overridden || directory !== '') {
      await removeOverrides(this.options.dataDir, name, entry.overridden ? entry.source.scanned.directory : '');
    }
    return failure;
  }

  /** Loads what an ensemble composes, before it and outside of its queue: two ensembles may name each other. */
  private async loadDependencies(source: ModelSource): Promise<void> {
    const probe = createEntry(source);
    const all = await this.wantWithDependencies([probe]);
    await Promise.all(
      all
        .filter((entry) => entry !== probe && entry.name !== probe.name)
        .map((entry) =>
          entry.serial.run(async () => {
            if (entry.resident) return;
            await this.residency.admit(entry);
            await this.apply(entry);
          }),
        ),
    );
  }

  private async pollSafely(): Promise<void> {
    try {
      await this.poll();
    } catch (error) {
      this.deps.log('error', `polling the model repositories failed: ${toSwitchyardError(error).message}`, {});
    }
  }

  private async look(): Promise<void> {
    await this.catalogue.scan();
    await this.follow();
  }

  /** Makes what is served follow the last look. Two may overlap: each operation reads what is known when it runs. */
  private async follow(): Promise<void> {
    const diff = this.catalogue.advance();
    const { models } = this.catalogue;
    for (const warning of diff.warnings) this.deps.log('warn', warning, {});
    const work: (Promise<void> | undefined)[] = [];
    for (const name of diff.added) {
      const entry = this.entries.get(name) ?? this.addEntry(models.get(name)!);
      await this.wantWithDependencies([entry]);
      entry.resident = this.residency.fits(entry);
      if (entry.resident) entry.reserved = entry.estimate;
      work.push(this.renew(entry));
    }
    for (const name of diff.changed) {
      const entry = this.entries.get(name);
      work.push(entry && this.renew(entry));
    }
    for (const name of diff.removed) {
      const entry = this.entries.get(name);
      work.push(
        entry?.serial.run(async () => {
          if (this.catalogue.models.has(name)) return;
          entry.wanted = false;
          entry.resident = false;
          await this.apply(entry);
          // Back meanwhile: whoever brought it has found this entry, and renews it next.
          if (this.catalogue.models.has(name)) return;
          this.entries.delete(name);
          await this.publisher.request();
        }),
      );
    }
    await Promise.all(work);
    await this.persist();
  }

  /** Serves a model as the last look has it; one that was about to be forgotten, or loaded, knew what it was before. */
  private renew(entry: ModelEntry): Promise<void> {
    return entry.serial.run(async () => {
      const scanned = this.catalogue.models.get(entry.name);
      if (scanned === undefined) return;
      entry.source = { scanned, configJson: '' };
      entry.estimate = estimateOf(scanned);
      entry.failures.clear();
      await this.apply(entry);
    });
  }

  private async persist(): Promise<void> {
    await this.written('keeping digests', this.digests.save());
    await this.written('keeping preflight verdicts', this.verdicts.flush());
  }

  /** A full disk costs work at the next start, never a model that could be served. */
  private async written(what: string, write: Promise<void>): Promise<void> {
    try {
      await write;
    } catch (error) {
      this.deps.log('warn', `${what} failed on disk: ${toSwitchyardError(error).message}`, {});
    }
  }

  private async apply(entry: ModelEntry): Promise<void> {
    await this.reconciler.reconcile(entry);
    this.residency.shrink(entry);
  }

  private enqueue(entry: ModelEntry): Promise<void> {
    return entry.serial.run(() => this.apply(entry));
  }
}
