import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { stringify } from 'yaml';
import type { DiscoveredModel } from '../backends/v2grpc/discover.ts';
import { toSwitchyardError } from '../shared/errors.ts';
import { Poller } from './poller.ts';
import type { Log } from './reconciler.ts';
import { isSafeName } from './repository/names.ts';
import { isVersionName } from './version-policy.ts';

/** A server whose every model is served as ours. */
export interface RemoteSource {
  /** Names the folder of the mirror; a safe name. */
  name: string;
  /** As the `url` parameter of a remote model: host:port of each replica, comma-separated. */
  url: string;
  backend: 'triton' | 'kserve';
  refreshMs: number;
}

export type RemoteModel = Pick<DiscoveredModel, 'name' | 'versions' | 'maxBatchSize' | 'decoupled'>;

export interface RemoteMirrorParts {
  /** Every ready model of the server. */
  discover(url: string): Promise<readonly RemoteModel[]>;
  log: Log;
}

/** What the mirror was made from; scans pass over it. */
const SOURCE_FILE = '.source.json';
const CONFIG_FILE = 'config.yaml';
/** A start waits this long for remote servers; later answers are mirrored when they come. */
const START_WAIT_MS = 5000;

/**
 * Keeps a generated model repository for each remote server: a folder with a configuration for each model the server
 * has ready, and an empty folder for each version. The model manager reads them as any other repository, so collisions,
 * version changes and the index need no rules of their own.
 */
export class RemoteMirrors {
  /** The generated repositories, absolute when `folder` is. */
  readonly repositories: string[];
  private readonly folder: string;
  private readonly mirrors: RemoteMirror[];

  /** @param folder of our own, holding one repository for each source */
  constructor(sources: readonly RemoteSource[], folder: string, parts: RemoteMirrorParts) {
    this.folder = folder;
    this.repositories = sources.map(({ name }) => join(folder, name));
    this.mirrors = sources.map((source, i) => new RemoteMirror(source, this.repositories[i], parts));
  }

  /** Makes the repositories and fills them from the servers that answer within `waitMs`. Rejects only for disk errors. */
  async start(waitMs = START_WAIT_MS): Promise<void> {
    for (const entry of await readdir(this.folder).catch(() => [])) {
      if (!this.repositories.includes(join(this.folder, entry)))
        await rm(join(this.folder, entry), { recursive: true, force: true });
    }
    await Promise.all(this.mirrors.map((mirror) => mirror.prepare()));
    const looks = Promise.all(this.mirrors.map((mirror) => mirror.begin()));
    const bound = new AbortController();
    await Promise.race([looks, sleep(waitMs, undefined, { signal: bound.signal }).catch(() => {})]);
    bound.abort();
  }

  /** No look is started any more, and one in progress changes nothing. */
  stop(): void {
    for (const mirror of this.mirrors) mirror.stop();
  }
}

/** The generated repository of one remote server. */
export class RemoteMirror {
  private readonly source: RemoteSource;
  private readonly repository: string;
  private readonly parts: RemoteMirrorParts;
  private readonly poller: Poller;
  /** Mirrored models that the last look did not find. */
  private missing = new Set<string>();
  private refused = new Set<string>();
  private away = false;
  private stopped = false;

  constructor(source: RemoteSource, repository: string, parts: RemoteMirrorParts) {
    this.source = source;
    this.repository = repository;
    this.parts = parts;
    this.poller = new Poller(() => this.refresh(), source.refreshMs);
  }

  /** Makes the folder. What was mirrored last stays, unless it came from another address. */
  async prepare(): Promise<void> {
    const origin = JSON.stringify({ url: this.source.url, backend: this.source.backend });
    const file = join(this.repository, SOURCE_FILE);
    if ((await readFile(file, 'utf8').catch(() => '')) === origin) return;
    await rm(this.repository, { recursive: true, force: true });
    await mkdir(this.repository, { recursive: true, mode: 0o700 });
    await writeFile(file, origin);
  }

  /** The first look; the next ones follow by themselves. */
  async begin(): Promise<void> {
    await this.refresh();
    this.poller.start();
  }

  stop(): void {
    this.stopped = true;
    void this.poller.stop();
  }

  /**
   * Looks once. A server that does not answer changes nothing; a model is removed when two looks in a row do not find
   * it, because servers report models that they are reloading as not ready. Never rejects.
   */
  async refresh(): Promise<void> {
    const { name, url } = this.source;
    try {
      const found = await this.parts.discover(url);
      if (this.stopped) return;
      await this.mirror(found);
      if (this.away) this.parts.log('info', `remote "${name}" answers again`, { remote: name });
      this.away = false;
    } catch (error) {
      if (!this.away) {
        const reason = toSwitchyardError(error).message;
        this.parts.log('warn', `remote "${name}" cannot be looked through, its models stay as they are: ${reason}`, {
          remote: name,
        });
      }
      this.away = true;
    }
  }

  private async mirror(found: readonly RemoteModel[]): Promise<void> {
    const names = new Set<string>();
    for (const model of found) {
      if (!isSafeName(model.name)) {
        this.refuse(model.name);
        continue;
      }
      names.add(model.name);
      await this.write(model);
    }
    const missing = new Set<string>();
    for (const entry of await readdir(this.repository)) {
      if (entry.startsWith('.') || names.has(entry)) continue;
      if (!this.missing.has(entry)) missing.add(entry);
      else await rm(join(this.repository, entry), { recursive: true, force: true });
    }
    this.missing = missing;
  }

  /** Writes only what differs, so that an unchanged model keeps its fingerprint and is not loaded again. */
  private async write(model: RemoteModel): Promise<void> {
    const folder = join(this.repository, model.name);
    const versions = model.versions.filter(isVersionName);
    const config = mirroredConfig(this.source, model, versions.length > 0);
    await mkdir(folder, { recursive: true, mode: 0o700 });
    for (const version of versions) await mkdir(join(folder, version), { recursive: true, mode: 0o700 });
    if ((await readFile(join(folder, CONFIG_FILE), 'utf8').catch(() => '')) !== config) {
      const fresh = join(folder, `.${CONFIG_FILE}`);
      await writeFile(fresh, config);
      await rename(fresh, join(folder, CONFIG_FILE));
    }
    for (const entry of await readdir(folder)) {
      if (isVersionName(entry) && !versions.includes(entry))
        await rm(join(folder, entry), { recursive: true, force: true });
    }
  }

  private refuse(name: string): void {
    if (this.refused.has(name)) return;
    this.refused.add(name);
    const shown = JSON.stringify(name.slice(0, 140));
    const message = `remote "${this.source.name}" has a model ${shown}, which cannot be served: its name is not allowed`;
    this.parts.log('warn', message, { remote: this.source.name });
  }
}

/**
 * The configuration of a mirrored model. Its requests are passed on one by one: the remote server merges them where its
 * own configuration says so, and a stateful model's must not be merged.
 */
function mirroredConfig(source: RemoteSource, model: RemoteModel, versioned: boolean): string {
  const parameters: Record<string, { string_value: string }> = { url: { string_value: source.url } };
  if (versioned) parameters.remote_version = { string_value: 'same' };
  const config = {
    backend: source.backend,
    max_batch_size: model.maxBatchSize,
    version_policy: { all: {} },
    model_transaction_policy: { decoupled: model.decoupled },
    parameters,
  };
  return `# Written from remote "${source.name}"; changes are overwritten.\n${stringify(config)}`;
}
