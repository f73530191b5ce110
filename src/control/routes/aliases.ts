import type { AliasTable } from '../../pipeline/routed/route-version.ts';
import type { ServingTable } from '../../pipeline/types.ts';

/** The registry's aliases, as routes need them, by the names that models are served under. Wired in src/wiring. */
export interface AliasSource {
  /** What aliases of these models point to. Rejects when the registry cannot be asked. */
  read(models: readonly string[]): Promise<Map<string, Map<string, string>>>;
  /** Compare-and-set. Resolves with what the alias names after it: the version, or what it named instead. */
  move(model: string, alias: string, expected: string, version: string, reason: string): Promise<string>;
}

/** What aliases meant last, for a start without the registry. */
export interface AliasKeeper {
  read(): Map<string, Map<string, string>>;
  /** Never rejects. */
  keep(aliases: ReadonlyMap<string, ReadonlyMap<string, string>>): Promise<void>;
}

/**
 * What aliases mean to routes: the version the registry names, once it is loaded. Until then a variant keeps the
 * version it had, so that moving an alias never fails a request.
 */
export class RouteAliases {
  private readonly source: AliasSource;
  private readonly publish: (aliases: AliasTable) => void;
  private readonly table: () => ServingTable;
  private readonly log: (message: string, fields: object) => void;
  private models: readonly string[] = [];
  private readonly keeper: AliasKeeper | undefined;
  private wanted: Map<string, Map<string, string>>;
  private standing = new Map<string, Map<string, string>>();
  private published = '';
  private away = false;
  private reading: Promise<boolean> | undefined;
  private again = false;

  constructor(
    source: AliasSource,
    table: () => ServingTable,
    publish: (aliases: AliasTable) => void,
    log: (message: string, fields: object) => void,
    keeper?: AliasKeeper,
  ) {
    this.source = source;
    this.table = table;
    this.publish = publish;
    this.log = log;
    this.keeper = keeper;
    this.wanted = keeper?.read() ?? new Map();
  }

  /** Models whose aliases routes follow. */
  follow(models: readonly string[]): Promise<boolean> {
    this.models = [...new Set(models)].sort();
    return this.refresh();
  }

  follows(model: string): boolean {
    return this.models.includes(model);
  }

  /** The version a route serves for an alias; '' for none. */
  versionOf(model: string, alias: string): string {
    return this.standing.get(model)?.get(alias) ?? '';
  }

  /**
   * Reads the registry again, and publishes what changed. Never rejects: without an answer nothing changes, and it
   * resolves with false.
   */
  refresh(): Promise<boolean> {
    if (this.reading !== undefined) {
      this.again = true;
      return this.reading;
    }
    this.reading = this.readAll().finally(() => {
      this.reading = undefined;
    });
    return this.reading;
  }

  /** Resolves when all that is being read has been published. Never rejects. */
  async settled(): Promise<void> {
    await this.reading;
  }

  private async readAll(): Promise<boolean> {
    do {
      this.again = false;
      try {
        this.wanted = this.models.length === 0 ? new Map() : await this.source.read(this.models);
        this.away = false;
        void this.keeper?.keep(this.wanted);
      } catch (error) {
        if (!this.away) this.log('aliases cannot be read; routes keep the versions they have', { err: error });
        this.away = true;
        return false;
      }
      this.settle();
    } while (this.again);
    return true;
  }

  /** After the registry, or what is loaded, has changed. */
  settle(): void {
    const { models } = this.table();
    const loaded = (model: string, version: string | undefined): boolean =>
      version !== undefined && models.get(model)?.versions.some((entry) => entry.version === version) === true;
    const next = new Map<string, Map<string, string>>();
    for (const [model, aliases] of this.wanted) {
      const known = new Map<string, string>();
      for (const [alias, version] of aliases) {
        const before = this.standing.get(model)?.get(alias);
        if (loaded(model, version)) known.set(alias, version);
        else if (before !== undefined && loaded(model, before)) known.set(alias, before);
      }
      next.set(model, known);
    }
    this.standing = next;
    const print = JSON.stringify([...next].map(([model, aliases]) => [model, [...aliases]]));
    if (print === this.published) return;
    this.published = print;
    this.publish(next);
  }
}
