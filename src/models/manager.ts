import { join } from 'node:path';
import type { ServingTable, VersionStatus } from '../pipeline/types.ts';
import { type Clock, monotonicMs } from '../shared/clock.ts';
import { SwitchyardError, toSwitchyardError } from '../shared/errors.ts';
import { chooseVictims, estimateMemory, fitAtStart } from './budget.ts';
import { DEFAULT_MAX_BATCH_SIZE } from './config/complete.ts';
import { ensembleDependencies } from './config/ensemble.ts';
import { readExtensions } from './config/extensions.ts';
import { readModelConfig } from './config/read.ts';
import { createEntry, type LoadedVersion, type ModelEntry, residentBytes } from './entry.ts';
import { planVersions, recordCrash, type WantedVersion } from './lifecycle.ts';
import { type ExecutorPool, type Preflight, VersionLoader } from './loader.ts';
import { diffSnapshots, Poller } from './poller.ts';
import { DigestCache } from './repository/digest.ts';
import { checkModelName } from './repository/names.ts';
import { materialiseOverride, removeOverrides } from './repository/overrides.ts';
import { type RepositorySnapshot, type ScannedModel, scanModel, scanRepositories } from './repository/scan.ts';
import { Coalesced } from './serial.ts';
import { type ModelSource, type ReadSource, readSource } from './source.ts';
import { buildTable, ensembleProblems, versionIndex } from './table.ts';
import { type JsonTable, type Quarantined, quarantineTable, verdictTable } from './verdicts.ts';
import { chooseVersions } from './version-policy.ts';

export interface ModelManagerOptions {
  /** Absolute paths. */
  repositories: readonly string[];
  /** Absolute; verdicts, quarantine, digests and files of load requests live here. */
  dataDir: string;
  controlMode: 'none' | 'poll' | 'explicit';
  pollIntervalMs?: number;
  /** Models loaded at start in explicit mode; '*' = all. */
  startupModels?: readonly string[];
  /** Bytes all loaded models may take; 0: no limit. */
  memoryBudgetBytes?: number;
  /** Never evicted, besides models with switchyard.pinned. */
  pinned?: readonly string[];
  /** Prove versions in a child process before loading them. Default true. */
  preflight?: boolean;
  /** Versions proven or loaded at once. Default 2. */
  parallelLoads?: number;
  defaultMaxBatchSize?: number;
  /** Versions of the runtimes, such as "onnxruntime 1.30.0": a verdict holds only for them. */
  runtimeId?: string;
  gpus?: number;
  defaultIsolation?: 'thread' | 'process';
}

export interface ModelManagerDeps {
  pool: ExecutorPool;
  preflight: Preflight;
  /** Resolves when every gateway thread serves by the table. */
  publish(table: ServingTable): Promise<void>;
  /** When the model was last asked, by `clock`; 0: never. */
  lastUsed(model: string): number;
  /** Row of the metrics blocks for a version; the same for every load of it. Default: counted from 0. */
  metricsRow?(model: string, version: string): number;
  log(level: 'info' | 'warn' | 'error', message: string, fields: Record<string, unknown>): void;
  clock?: Clock;
}

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
  private readonly entries = new Map<string, ModelEntry>();
  private readonly quarantine: JsonTable<Quarantined>;
  private readonly digests: DigestCache;
  private readonly loader: VersionLoader;
  private readonly publisher: Coalesced;
  private readonly poller: Poller | undefined;
  private readonly verdicts: ReturnType<typeof verdictTable>;
  private readonly crashes = new Map<string, number[]>();
  private readonly evictions = new Set<Promise<void>>();
  private snapshot: RepositorySnapshot = { models: new Map(), warnings: [] };
  private looking: Promise<void> | undefined;
  private generation = 0;
  private current: ServingTable = { generation: 0, models: new Map() };

  constructor(options: ModelManagerOptions, deps: ModelManagerDeps) {
    this.options = options;
    this.deps = deps;
    this.clock = deps.clock ?? monotonicMs;
    this.budget = options.memoryBudgetBytes ?? 0;
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
    this.snapshot = await scanRepositories(this.options.repositories);
    for (const warning of this.snapshot.warnings) this.deps.log('warn', warning, {});
    for (const scanned of this.snapshot.models.values()) this.addEntry(scanned);
    const startup = this.options.startupModels ?? [];
    const all = this.options.controlMode !== 'explicit' || startup.includes('*');
    for (const name of startup) {
      if (name !== '*' && !this.entries.has(name))
        this.deps.log('error', `startup model "${name}" is in no repository`, { model: name });
    }
    const named = [...this.entries.values()].filter((entry) => all || startup.includes(entry.name));
    const wanted = await this.wantWithDependencies(named);
    const fit = fitAtStart(
      wanted.map(({ name, estimate, pinned }) => ({ name, bytes: estimate, pinned })),
      this.budget,
    );
    for (const entry of wanted) entry.resident = fit.has(entry.name);
    await Promise.all(wanted.filter((entry) => entry.resident).map((entry) => this.enqueue(entry)));
    await Promise.all([this.publisher.request(), this.digests.save()]);
    this.poller?.start();
  }

  /** Ends polling and waits for operations in progress; loaded models stay as they are. */
  async stop(): Promise<void> {
    await this.poller?.stop();
    await Promise.all([...this.entries.values()].map((entry) => entry.serial.run(async () => {})));
    await this.digests.save();
  }

  /** Looks through the repositories once and makes what is served follow. Resolves when it does. */
  poll(): Promise<void> {
    this.looking ??= this.look().finally(() => {
      this.looking = undefined;
    });
    return this.looking;
  }

  /** Every known model with its versions, states and reasons. */
  async repositoryIndex(readyOnly: boolean): Promise<{ name: string; versions: VersionStatus[] }[]> {
    const problems = ensembleProblems(this.entries);
    const list = [...this.entries.values()].map((entry) => ({
      name: entry.name,
      versions: versionIndex(entry, problems.get(entry.name) ?? ''),
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
    if (configJson !== '') readModelConfig(configJson, `${name}/config.json`);
    const directory = files.size > 0 ? await materialiseOverride(this.options.dataDir, name, files) : '';
    const scanned = directory === '' ? await this.findModel(name) : await scanModel(name, directory);
    if (scanned === undefined)
      throw new SwitchyardError('not_found', `failed to load '${name}', no model repository holds it`);
    const entry = this.entries.get(name) ?? this.addEntry(scanned);
    const failure = await entry.serial.run(() => this.loadNow(entry, { scanned, configJson }, directory !== ''));
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
          await this.reconcile(target);
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
        await this.makeRoom(entry);
        entry.resident = true;
        await this.reconcile(entry);
      }
      if (entry.loaded.length === 0)
        throw new SwitchyardError('unavailable', `model "${name}" is not ready: ${failureOf(entry)}`);
    });
  }

  /**
   * Takes note that a version brought down its executor or process at `when` (by the clock). The third time within a
   * minute quarantines it, across restarts, and the last good version takes over. True: it is quarantined.
   */
  async versionCrashed(handle: number, when: number): Promise<boolean> {
    const found = this.findHandle(handle);
    if (found === undefined) return false;
    const [entry, version] = found;
    const times = this.crashes.get(version.key) ?? [];
    this.crashes.set(version.key, times);
    if (!recordCrash(times, when)) return false;
    const reason = `version ${version.version} crashed ${times.length} times within a minute; replace its files or load it again to retry`;
    this.crashes.delete(version.key);
    this.deps.log('error', `model "${entry.name}" ${reason}`, { model: entry.name, version: version.version });
    await this.quarantine.set(version.key, { model: entry.name, version: version.version, reason, since: Date.now() });
    await this.enqueue(entry);
    return true;
  }

  /** Executors that hold a version changed (one was replaced after a crash): gateways learn of it. */
  async executorsChanged(handle: number, executors: readonly number[]): Promise<void> {
    const found = this.findHandle(handle);
    if (found === undefined) return;
    found[1].executors = [...executors];
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

  private async findModel(name: string): Promise<ScannedModel | undefined> {
    this.snapshot = await scanRepositories(this.options.repositories, this.snapshot);
    return this.snapshot.models.get(name);
  }

  /** Marks models and all they compose as wanted, reading their configurations. Returns them, each once. */
  private async wantWithDependencies(roots: readonly ModelEntry[]): Promise<ModelEntry[]> {
    const seen = new Set<ModelEntry>(roots);
    for (const entry of seen) {
      entry.wanted = true;
      const source = await this.readEntry(entry);
      for (const name of source ? ensembleDependencies(source.config) : []) {
        const dependency = this.entries.get(name);
        if (dependency) seen.add(dependency);
      }
    }
    return [...seen];
  }

  private async loadNow(entry: ModelEntry, source: ModelSource, overridden: boolean): Promise<string> {
    const before = { source: entry.source, overridden: entry.overridden };
    entry.source = source;
    entry.overridden = overridden || (before.overridden && entry.loaded.length > 0);
    entry.estimate = estimateOf(source.scanned);
    entry.failures.clear();
    const stale = [...this.quarantine.entries()].filter(([, row]) => row.model === entry.name).map(([key]) => key);
    await this.quarantine.delete(stale);
    entry.wanted = true;
    if (!entry.resident) {
      await this.makeRoom(entry);
      entry.resident = true;
    }
    const config = (await this.readEntry(entry))?.config;
    if (config?.ensemble) await this.loadDependencies(entry, config.name);
    await this.reconcile(entry);
    const failed = entry.problem !== '' || entry.failures.size > 0;
    const failure =
      failed || entry.loaded.length === 0 ? failureOf(entry) : (ensembleProblems(this.entries).get(entry.name) ?? '');
    if (failure !== '' && entry.loaded.length > 0 && failed) {
      entry.source = before.source;
      entry.overridden = before.overridden;
      await this.readEntry(entry);
    } else if (entry.overridden) {
      const keep = overridden ? source.scanned.directory : '';
      entry.overridden = overridden;
      await removeOverrides(this.options.dataDir, entry.name, keep);
    }
    return failure;
  }

  private async loadDependencies(root: ModelEntry, name: string): Promise<void> {
    const all = await this.wantWithDependencies([root]);
    const rest = all.filter((entry) => entry.name !== name);
    await Promise.all(
      rest.map((entry) =>
        entry.serial.run(async () => {
          if (entry.resident) return;
          await this.makeRoom(entry);
          entry.resident = true;
          await this.reconcile(entry);
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
    const before = this.snapshot;
    const after = await scanRepositories(this.options.repositories, before);
    this.snapshot = after;
    for (const warning of after.warnings) if (!before.warnings.includes(warning)) this.deps.log('warn', warning, {});
    const diff = diffSnapshots(before.models, after.models);
    const work: Promise<void>[] = [];
    for (const name of diff.added) {
      const entry = this.entries.get(name) ?? this.addEntry(after.models.get(name)!);
      await this.wantWithDependencies([entry]);
      entry.resident = this.budget === 0 || entry.pinned || this.usedBytes() + entry.estimate <= this.budget;
      if (entry.resident) entry.reserved = entry.estimate;
      work.push(this.enqueue(entry));
    }
    for (const name of diff.changed) {
      const entry = this.entries.get(name)!;
      work.push(
        entry.serial.run(async () => {
          entry.source = { scanned: after.models.get(name)!, configJson: '' };
          entry.estimate = estimateOf(entry.source.scanned);
          entry.failures.clear();
          await this.reconcile(entry);
        }),
      );
    }
    for (const name of diff.removed) {
      const entry = this.entries.get(name)!;
      work.push(
        entry.serial.run(async () => {
          entry.wanted = false;
          entry.resident = false;
          await this.reconcile(entry);
          this.entries.delete(name);
          await this.publisher.request();
        }),
      );
    }
    await Promise.all(work);
    await this.digests.save();
  }

  private enqueue(entry: ModelEntry): Promise<void> {
    return entry.serial.run(() => this.reconcile(entry));
  }

  /** Makes what is loaded of one model equal to what is wanted. Rejects only when the table cannot be published. */
  private async reconcile(entry: ModelEntry): Promise<void> {
    const source = await this.readEntry(entry);
    if (!entry.wanted || !entry.resident) {
      await this.drop(entry, entry.loaded);
    } else if (source === undefined) {
      this.deps.log('error', `model "${entry.name}" cannot be served: ${entry.problem}`, { model: entry.name });
      await this.publisher.request();
    } else {
      const drop = await this.loadWanted(entry, source);
      await this.drop(
        entry,
        entry.loaded.filter((version) => drop.includes(version.handle)),
      );
    }
    entry.reserved = 0;
    this.shrink(entry);
  }

  /** Reads a model's configuration; what is wrong with it becomes the model's problem. */
  private async readEntry(entry: ModelEntry): Promise<ReadSource | undefined> {
    try {
      const source = await readSource(entry.source, {
        gpus: this.options.gpus ?? 0,
        defaultIsolation: this.options.defaultIsolation ?? 'thread',
      });
      entry.config = source.config;
      entry.pinned =
        readExtensions(source.config.parameters).pinned || (this.options.pinned ?? []).includes(entry.name);
      entry.problem = '';
      return source;
    } catch (error) {
      entry.problem = toSwitchyardError(error).message;
      return undefined;
    }
  }

  /** Loads until nothing wanted is missing that could be loaded. Returns the handles that are not wanted any more. */
  private async loadWanted(entry: ModelEntry, source: ReadSource): Promise<number[]> {
    const names = source.versions.map((version) => version.version);
    const keys = new Map<string, string>();
    const keyOf = async (version: string): Promise<string> => {
      const key =
        keys.get(version) ?? (await this.loader.keyOf(source.versions.find((v) => v.version === version)!, source));
      keys.set(version, key);
      return key;
    };
    while (true) {
      const { bad, skipped } = await this.findBad(entry, names, keyOf);
      const wanted: WantedVersion[] = [];
      for (const version of chooseVersions(names, source.config.versionPolicy, skipped)) {
        wanted.push({ version, key: await keyOf(version) });
      }
      const banned = new Set([...this.quarantine.entries()].map(([key]) => key));
      const plan = planVersions(wanted, entry.loaded, bad, banned);
      if (plan.load.length === 0) return plan.drop;
      for (const { version, key } of plan.load) await this.loadOne(entry, source, version, key);
    }
  }

  /** Keys not to try, and the versions to pass over because nothing good of them is loaded either. */
  private async findBad(
    entry: ModelEntry,
    names: readonly string[],
    keyOf: (version: string) => Promise<string>,
  ): Promise<{ bad: Set<string>; skipped: Set<string> }> {
    const bad = new Set<string>();
    const skipped = new Set<string>();
    entry.quarantined.clear();
    const rows = [...this.quarantine.entries()].filter(([, row]) => row.model === entry.name);
    for (const version of names) {
      const failure = entry.failures.get(version);
      const row = rows.find(([, { version: quarantined }]) => quarantined === version);
      if (failure === undefined && row === undefined) continue;
      let key: string;
      try {
        key = await keyOf(version);
      } catch {
        continue;
      }
      const quarantined = rows.find(([banned]) => banned === key);
      if (quarantined) entry.quarantined.set(version, quarantined[1].reason);
      if (failure?.key !== key && !quarantined) {
        entry.failures.delete(version);
        continue;
      }
      bad.add(key);
      const other = entry.loaded.some((loaded) => loaded.version === version && loaded.key !== key);
      if (!other) skipped.add(version);
    }
    return { bad, skipped };
  }

  private async loadOne(entry: ModelEntry, source: ReadSource, version: string, key: string): Promise<void> {
    entry.loading.add(version);
    try {
      const scanned = source.versions.find((candidate) => candidate.version === version)!;
      const loaded = await this.loader.load(entry, scanned, key, source.config);
      entry.loaded.push(loaded);
      entry.loadedAt = this.clock();
      entry.failures.delete(version);
      this.deps.log('info', `model "${entry.name}" version ${version} is loaded`, {
        model: entry.name,
        version,
        handle: loaded.handle,
      });
    } catch (error) {
      const reason = toSwitchyardError(error).message;
      entry.failures.set(version, { key, reason });
      this.deps.log('error', `model "${entry.name}" version ${version} failed to load: ${reason}`, {
        model: entry.name,
        version,
      });
    } finally {
      entry.loading.delete(version);
    }
  }

  /** Takes versions out of the table, waits until every gateway knows, then drains and unloads them. */
  private async drop(entry: ModelEntry, versions: readonly LoadedVersion[]): Promise<void> {
    const handles = new Set(versions.map((version) => version.handle));
    entry.loaded = entry.loaded.filter((version) => !handles.has(version.handle));
    for (const { version } of versions) entry.draining.add(version);
    await this.publisher.request();
    if (versions.length === 0) return;
    await Promise.all(
      versions
        .filter((version) => version.config.backend !== 'ensemble')
        .map((version) =>
          this.deps.pool.unload(version.handle).catch((error: unknown) => {
            const reason = toSwitchyardError(error).message;
            this.deps.log('error', `unloading version ${version.version} failed: ${reason}`, { model: entry.name });
          }),
        ),
    );
    for (const { version } of versions) entry.draining.delete(version);
    await this.publisher.request();
  }

  private usedBytes(): number {
    let used = 0;
    for (const entry of this.entries.values()) used += residentBytes(entry);
    return used;
  }

  /** Models that may be evicted now: loaded, unpinned, and with no operation of their own in progress. */
  private candidates(except: ModelEntry): { name: string; bytes: number; lastUsed: number }[] {
    return [...this.entries.values()]
      .filter((entry) => entry !== except && entry.resident && !entry.pinned && !entry.serial.busy)
      .map((entry) => ({
        name: entry.name,
        bytes: residentBytes(entry),
        lastUsed: Math.max(this.deps.lastUsed(entry.name), entry.loadedAt),
      }));
  }

  /** Reserves memory for a model and waits for the evictions it takes. Throws unavailable when it cannot fit. */
  private async makeRoom(entry: ModelEntry): Promise<void> {
    if (this.budget === 0) return;
    const bytes = entry.estimate;
    if (bytes > this.budget) {
      const message = `model "${entry.name}" needs about ${bytes} bytes, more than the memory budget of ${this.budget}; raise the budget`;
      throw new SwitchyardError('unavailable', message);
    }
    const victims = chooseVictims(this.candidates(entry), this.usedBytes() + bytes - this.budget);
    if (victims === undefined) {
      const message = `no memory is free for model "${entry.name}": the models in memory are pinned or being changed; try again`;
      throw new SwitchyardError('unavailable', message, { retryAfterMs: 1000 });
    }
    this.evict(victims);
    // Counted from here on, although `resident` follows only when the memory is really free.
    entry.resident = true;
    entry.reserved = bytes;
    await Promise.all(this.evictions);
  }

  /** Evicts others if a model turned out larger than its estimate. */
  private shrink(entry: ModelEntry): void {
    const excess = this.usedBytes() - this.budget;
    if (this.budget === 0 || excess <= 0) return;
    const candidates = this.candidates(entry);
    const all = candidates.map((candidate) => candidate.name);
    this.evict(chooseVictims(candidates, excess) ?? all);
  }

  private evict(names: readonly string[]): void {
    for (const name of names) {
      const entry = this.entries.get(name)!;
      entry.resident = false;
      this.deps.log('info', `model "${name}" is evicted; its next request loads it again`, { model: name });
      const done: Promise<void> = this.enqueue(entry)
        .catch((error: unknown) => {
          this.deps.log('error', `evicting model "${name}" failed: ${toSwitchyardError(error).message}`, {
            model: name,
          });
        })
        .finally(() => this.evictions.delete(done));
      this.evictions.add(done);
    }
  }
}

function estimateOf(scanned: ScannedModel): number {
  const newest = scanned.versions.at(-1);
  return estimateMemory(newest === undefined ? 0 : newest.files.reduce((sum, file) => sum + file.size, 0));
}

function failureOf(entry: ModelEntry): string {
  if (entry.problem !== '') return entry.problem;
  const [quarantine] = entry.quarantined.values();
  if (quarantine !== undefined) return `quarantined: ${quarantine}`;
  const failures = [...entry.failures].map(([version, { reason }]) => `version ${version}: ${reason}`);
  return failures.length > 0 ? failures.join('; ') : 'no version is available';
}

function countRows(): (model: string, version: string) => number {
  const rows = new Map<string, number>();
  return (model, version) => {
    const key = `${model}/${version}`;
    const row = rows.get(key) ?? rows.size;
    rows.set(key, row);
    return row;
  };
}
