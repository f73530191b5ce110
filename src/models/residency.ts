import { SwitchyardError, toSwitchyardError } from '../shared/errors.ts';
import { chooseVictims, type ResidentModel } from './budget.ts';
import { type ModelEntry, residentBytes } from './entry.ts';
import type { Log } from './reconciler.ts';

export interface ResidencyParts {
  entries: ReadonlyMap<string, ModelEntry>;
  /** When the model was last asked; 0: never. */
  lastUsed(model: string): number;
  /** Makes an entry's wish true; called when a model stops being resident. */
  enqueue(entry: ModelEntry): Promise<void>;
  log: Log;
}

/** Keeps the bytes of all models in memory within a budget, evicting the least recently used. */
export class Residency {
  private readonly budget: number;
  private readonly parts: ResidencyParts;
  private readonly evictions = new Set<Promise<void>>();

  /** `budget` in bytes; 0: no limit. */
  constructor(budget: number, parts: ResidencyParts) {
    this.budget = budget;
    this.parts = parts;
  }

  /** Whether a model fits without evicting another. */
  fits(entry: ModelEntry): boolean {
    return this.budget === 0 || entry.pinned || this.usedBytes() + entry.estimate <= this.budget;
  }

  /**
   * Makes a model resident: reserves its memory at once and waits for the evictions that takes. Throws unavailable when
   * it cannot fit.
   */
  async admit(entry: ModelEntry): Promise<void> {
    const bytes = entry.estimate;
    if (this.budget > 0) {
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
    }
    entry.resident = true;
    entry.reserved = bytes;
    await Promise.all(this.evictions);
  }

  /** Evicts others if a model turned out larger than its estimate. */
  shrink(entry: ModelEntry): void {
    const excess = this.usedBytes() - this.budget;
    if (this.budget === 0 || excess <= 0) return;
    const candidates = this.candidates(entry);
    this.evict(chooseVictims(candidates, excess) ?? candidates.map((candidate) => candidate.name));
  }

  private usedBytes(): number {
    let used = 0;
    for (const entry of this.parts.entries.values()) used += residentBytes(entry);
    return used;
  }

  /** Models that may go now: loaded, unpinned, and with no operation of their own in progress. */
  private candidates(except: ModelEntry): ResidentModel[] {
    return [...this.parts.entries.values()]
      .filter((entry) => entry !== except && entry.resident && !entry.pinned && !entry.serial.busy)
      .map((entry) => ({
        name: entry.name,
        bytes: residentBytes(entry),
        lastUsed: Math.max(this.parts.lastUsed(entry.name), entry.loadedAt),
      }));
  }

  private evict(names: readonly string[]): void {
    for (const name of names) {
      const entry = this.parts.entries.get(name)!;
      entry.resident = false;
      this.parts.log('info', `model "${name}" is evicted; its next request loads it again`, { model: name });
      const done: Promise<void> = this.parts
        .enqueue(entry)
        .catch((error: unknown) => {
          this.parts.log('error', `evicting model "${name}" failed: ${toSwitchyardError(error).message}`, {
            model: name,
          });
        })
        .finally(() => this.evictions.delete(done));
      this.evictions.add(done);
    }
  }
}
