import type { Clock } from '../shared/clock.ts';
import { SwitchyardError, toSwitchyardError } from '../shared/errors.ts';
import { isRemote } from './config/backends.ts';
import { readExtensions } from './config/extensions.ts';
import type { LoadedVersion, ModelEntry } from './entry.ts';
import { planVersions, type WantedVersion } from './lifecycle.ts';
import type { ExecutorPool, VersionLoader } from './loader.ts';
import { type ReadSource, readSource, type SourceOptions } from './source.ts';
import type { JsonTable, Quarantined } from './verdicts.ts';
import { chooseVersions } from './version-policy.ts';

export type Log = (level: 'info' | 'warn' | 'error', message: string, fields: Record<string, unknown>) => void;

export interface ReconcilerParts {
  loader: VersionLoader;
  pool: ExecutorPool;
  quarantine: JsonTable<Quarantined>;
  /** Resolves when every gateway serves by a table built after the call. */
  publish(): Promise<void>;
  source: SourceOptions;
  /** Models never evicted, by the server's configuration. */
  pinned: readonly string[];
  clock: Clock;
  later: Later;
  log: Log;
}

/** Runs a task after some milliseconds, without keeping the process for it. Returns what calls it off. */
export type Later = (ms: number, task: () => void) => () => void;

export const laterByTimer: Later = (ms, task) => {
  const timer = setTimeout(task, ms).unref();
  return () => clearTimeout(timer);
};

/** Key of a version whose files vanished or cannot be read. */
const UNREADABLE = 'unreadable';
/** First and longest wait before a version whose failure may pass is tried again. */
const RETRY_MS = { first: 1000, longest: 30_000 };

/** Carries out what lifecycle.ts plans for one model. Callers run it inside the entry's own serial queue. */
export class Reconciler {
  private readonly parts: ReconcilerParts;
  private readonly retries = new Map<string, { callOff: () => void; wait: number }>();
  private stopped = false;

  constructor(parts: ReconcilerParts) {
    this.parts = parts;
  }

  /** Ends retries. */
  stop(): void {
    this.stopped = true;
    for (const { callOff } of this.retries.values()) callOff();
    this.retries.clear();
  }

  /** Makes what is loaded of one model equal to what is wanted. Rejects only when the table cannot be published. */
  async reconcile(entry: ModelEntry): Promise<void> {
    const source = await this.readEntry(entry);
    if (!entry.wanted || !entry.resident) {
      await this.drop(entry, entry.loaded);
    } else if (source === undefined) {
      this.parts.log('error', `model "${entry.name}" cannot be served: ${entry.problem}`, { model: entry.name });
      await this.parts.publish();
    } else {
      const drop = await this.loadWanted(entry, source);
      await this.drop(
        entry,
        entry.loaded.filter((version) => drop.includes(version.handle)),
      );
    }
    entry.reserved = 0;
    this.retryPassing(entry);
  }

  /** Reads a model's configuration; what is wrong with it becomes the model's problem. */
  async readEntry(entry: ModelEntry): Promise<ReadSource | undefined> {
    try {
      const source = await readSource(entry.source, this.parts.source);
      entry.config = source.config;
      entry.pinned = readExtensions(source.config.parameters).pinned || this.parts.pinned.includes(entry.name);
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
      const scanned = source.versions.find((candidate) => candidate.version === version)!;
      const key = keys.get(version) ?? (await this.parts.loader.keyOf(scanned, source).catch(() => UNREADABLE));
      keys.set(version, key);
      return key;
    };
    while (true) {
      const { bad, skipped } = await this.findBad(entry, names, keyOf);
      const wanted: WantedVersion[] = [];
      for (const version of chooseVersions(names, source.config.versionPolicy, skipped)) {
        wanted.push({ version, key: await keyOf(version) });
      }
      const banned = new Set([...this.parts.quarantine.entries()].map(([key]) => key));
      const plan = planVersions(wanted, entry.loaded, bad, banned);
      if (plan.load.length === 0) {
        // Nothing of the new source works: what serves, serves on, unless it is what is quarantined.
        if (wanted.length > 0 || skipped.size === 0) return plan.drop;
        return entry.loaded.filter((version) => banned.has(version.key)).map((version) => version.handle);
      }
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
    const rows = [...this.parts.quarantine.entries()].filter(([, row]) => row.model === entry.name);
    for (const version of names) {
      const failure = entry.failures.get(version);
      const row = rows.find(([, { version: quarantined }]) => quarantined === version);
      if (failure === undefined && row === undefined) continue;
      const key = await keyOf(version);
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
      if (key === UNREADABLE)
        throw new SwitchyardError('failed_precondition', `the files of version ${version} cannot be read`);
      const scanned = source.versions.find((candidate) => candidate.version === version)!;
      const loaded = await this.parts.loader.load(entry, scanned, key, source.config);
      entry.loaded.push(loaded);
      entry.loadedAt = this.parts.clock();
      entry.failures.delete(version);
      this.parts.log('info', `model "${entry.name}" version ${version} is loaded`, {
        model: entry.name,
        version,
        handle: loaded.handle,
      });
    } catch (error) {
      const { code, message: reason } = toSwitchyardError(error);
      // What is wrong with a remote model can be put right over there, unnoticed; local files are watched.
      entry.failures.set(version, { key, reason, passing: code === 'unavailable' || isRemote(source.config.backend) });
      this.parts.log('error', `model "${entry.name}" version ${version} failed to load: ${reason}`, {
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
    await this.parts.publish();
    if (versions.length === 0) return;
    await Promise.all(
      versions
        .filter((version) => version.config.backend !== 'ensemble')
        .map((version) =>
          this.parts.pool.unload(version.handle).catch((error: unknown) => {
            const reason = toSwitchyardError(error).message;
            this.parts.log('error', `unloading version ${version.version} failed: ${reason}`, { model: entry.name });
          }),
        ),
    );
    for (const { version } of versions) entry.draining.delete(version);
    await this.parts.publish();
  }

  /** Tries versions whose failure may pass again, less and less often: a server that is away comes back by itself. */
  private retryPassing(entry: ModelEntry): void {
    const pending = this.retries.get(entry.name);
    pending?.callOff();
    const passing = [...entry.failures.values()].some((failure) => failure.passing);
    if (!passing || !entry.wanted || !entry.resident || this.stopped) {
      this.retries.delete(entry.name);
      return;
    }
    const wait = Math.min(RETRY_MS.longest, pending ? pending.wait * 2 : RETRY_MS.first);
    const callOff = this.parts.later(wait, () => {
      const again = entry.serial.run(async () => {
        for (const [version, { passing }] of entry.failures) if (passing) entry.failures.delete(version);
        await this.reconcile(entry);
      });
      again.catch((error: unknown) => this.parts.log('error', toSwitchyardError(error).message, { model: entry.name }));
    });
    this.retries.set(entry.name, { callOff, wait });
  }
}
