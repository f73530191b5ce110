import { type Clock, monotonicMs } from '../shared/clock.ts';

/** Where versions beyond the cap are counted together. */
export const OVERFLOW_ROW = 0;

interface Row {
  row: number;
  model: string;
  version: string;
  /** Loads that hold the row. */
  holders: number;
  releasedAt: number;
}

/**
 * Gives each model version its row of the metrics blocks; control thread only. A version that comes back within the
 * grace time finds its counters; after it the row may pass to another version. The cap bounds memory and label
 * values: beyond it, versions share the overflow row, shown as model 'other'.
 */
export class RowAllocator {
  private readonly byName = new Map<string, Row>();
  private readonly maxRows: number;
  private readonly graceMs: number;
  private readonly clear: (row: number) => void;
  private readonly now: Clock;
  private next = OVERFLOW_ROW + 1;
  private overflowed = false;

  /** @param clear zeroes a row before it passes to another version @param graceMs longer than any drain */
  constructor(clear: (row: number) => void, maxRows = 8192, graceMs = 120_000, now: Clock = monotonicMs) {
    this.clear = clear;
    this.maxRows = maxRows;
    this.graceMs = graceMs;
    this.now = now;
  }

  acquire(model: string, version: string): number {
    const key = JSON.stringify([model, version]);
    let entry = this.byName.get(key);
    if (entry === undefined) {
      const row = this.next < this.maxRows ? this.next++ : this.reclaim();
      if (row === undefined) {
        this.overflowed = true;
        return OVERFLOW_ROW;
      }
      entry = { row, model, version, holders: 0, releasedAt: 0 };
      this.byName.set(key, entry);
    }
    entry.holders++;
    return entry.row;
  }

  /** Once per acquire, when the version is unloaded. */
  release(model: string, version: string): void {
    const entry = this.byName.get(JSON.stringify([model, version]));
    if (entry === undefined || entry.holders === 0) return;
    entry.holders--;
    entry.releasedAt = this.now();
  }

  /** Named rows that have ever been used, released ones included until their row passes on. */
  names(): { row: number; model: string; version: string }[] {
    const names = [...this.byName.values()].map(({ row, model, version }) => ({ row, model, version }));
    if (this.overflowed) names.push({ row: OVERFLOW_ROW, model: 'other', version: '' });
    return names;
  }

  /** Rows that may be in use: blocks need chunks up to here. */
  get size(): number {
    return this.next;
  }

  private reclaim(): number | undefined {
    let oldest: Row | undefined;
    for (const entry of this.byName.values()) {
      if (entry.holders === 0 && (oldest === undefined || entry.releasedAt < oldest.releasedAt)) oldest = entry;
    }
    if (oldest === undefined || this.now() - oldest.releasedAt < this.graceMs) return undefined;
    this.byName.delete(JSON.stringify([oldest.model, oldest.version]));
    this.clear(oldest.row);
    return oldest.row;
  }
}
