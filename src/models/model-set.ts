import { estimateOf } from './budget.ts';
import { ensembleDependencies } from './config/ensemble.ts';
import { createEntry, type LoadedVersion, type ModelEntry } from './entry.ts';
import type { Log, Reconciler } from './reconciler.ts';
import type { ScannedModel } from './repository/scan.ts';
import { Residency } from './residency.ts';

interface ModelSetParts {
  reconciler: Reconciler;
  /** Bytes that all loaded models may take; 0: no limit. */
  budget: number;
  lastUsed(model: string): number;
  log: Log;
}

/** The models that are known, and the one way by which what is wished of them comes true. */
export class ModelSet {
  readonly entries = new Map<string, ModelEntry>();
  readonly residency: Residency;
  private readonly reconciler: Reconciler;

  constructor({ reconciler, budget, lastUsed, log }: ModelSetParts) {
    this.reconciler = reconciler;
    this.residency = new Residency(budget, {
      entries: this.entries,
      lastUsed,
      enqueue: (entry) => this.enqueue(entry),
      log,
    });
  }

  /** A model becomes known, and is not served before it is wanted. */
  add(scanned: ScannedModel): ModelEntry {
    const entry = createEntry({ scanned, configJson: '' });
    entry.estimate = estimateOf(scanned);
    this.entries.set(scanned.name, entry);
    return entry;
  }

  /** Marks models and all they compose as wanted, reading their configurations. Returns them, each once. */
  async want(roots: readonly ModelEntry[]): Promise<ModelEntry[]> {
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

  /** Inside the entry's queue. */
  async apply(entry: ModelEntry): Promise<void> {
    await this.reconciler.reconcile(entry);
    this.residency.shrink(entry);
  }

  enqueue(entry: ModelEntry): Promise<void> {
    return entry.serial.run(() => this.apply(entry));
  }

  /** The version that executors know by a handle, with its model. */
  findHandle(handle: number): [ModelEntry, LoadedVersion] | undefined {
    for (const entry of this.entries.values()) {
      const version = entry.loaded.find((loaded) => loaded.handle === handle);
      if (version) return [entry, version];
    }
    return undefined;
  }
}
