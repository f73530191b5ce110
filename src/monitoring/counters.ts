import { type Bins, binCount, binner, freezeBins, isMissing, type Value } from './statistics/bins.ts';
import { KllSketch } from './statistics/kll.ts';
import type { FrozenColumn, SliceSums } from './types.ts';

const SKETCH_K = 200;

/** Counts rows by column and bin: all of them, and those of slices. What it counted can be added to what others did. */
export class Counters {
  private readonly columns: readonly FrozenColumn[];
  private readonly binners: readonly ((value: Value) => number)[];
  private readonly sketched: boolean;
  private readonly slices = new Map<string, { rows: number; counts: number[][]; sketches: (KllSketch | null)[] }>();

  /** @param sketched keep quantile sketches of numeric columns too */
  constructor(columns: readonly FrozenColumn[], sketched: boolean) {
    this.columns = columns;
    this.binners = columns.map(({ bins }) => binner(bins));
    this.sketched = sketched;
  }

  get rows(): number {
    return this.slices.get('')?.rows ?? 0;
  }

  add(values: readonly Value[], slices: readonly string[]): void {
    const bins = this.binners.map((bin, i) => bin(values[i]));
    for (const name of ['', ...slices]) {
      const slice = this.slice(name);
      slice.rows++;
      for (let i = 0; i < bins.length; i++) {
        slice.counts[i][bins[i]]++;
        const sketch = slice.sketches[i];
        if (sketch != null && !isMissing(values[i])) sketch.add(Number(values[i]));
      }
    }
  }

  /** What was counted; counting begins anew. */
  take(): Record<string, SliceSums> {
    const taken = this.sums();
    this.slices.clear();
    return taken;
  }

  /** What is counted so far. The counts are those that go on: copy what is kept. */
  sums(): Record<string, SliceSums> {
    return Object.fromEntries(
      [...this.slices].map(([name, { rows, counts, sketches }]): [string, SliceSums] => [
        name,
        { rows, counts, ...(this.sketched ? { sketches: sketches.map((sketch) => sketch?.state() ?? null) } : {}) },
      ]),
    );
  }

  /** Goes on with what others of the same columns counted. */
  begin(sums: Readonly<Record<string, SliceSums>>): void {
    for (const [name, { rows, counts, sketches }] of Object.entries(sums)) {
      const slice = this.slice(name);
      slice.rows = rows;
      slice.counts = counts;
      slice.sketches = slice.sketches.map((sketch, i) => {
        const state = sketches?.[i];
        return sketch === null || state == null ? sketch : KllSketch.from(state);
      });
    }
  }

  private slice(name: string) {
    let found = this.slices.get(name);
    if (found === undefined) {
      const sketches = this.columns.map(({ bins }) =>
        this.sketched && bins.kind === 'numeric' ? new KllSketch(SKETCH_K) : null,
      );
      found = { rows: 0, counts: this.columns.map(({ bins }) => new Array<number>(binCount(bins)).fill(0)), sketches };
      this.slices.set(name, found);
    }
    return found;
  }
}

/** Bins for rows like these, and how the rows fill them. */
export function freeze(
  names: readonly string[],
  rows: readonly { values: readonly Value[]; slices: readonly string[] }[],
  sketched: boolean,
): { columns: FrozenColumn[]; slices: Record<string, SliceSums> } {
  const columns = names.map((name, i): { name: string; bins: Bins } => ({
    name,
    bins: freezeBins(rows.map(({ values }) => values[i])),
  }));
  const counters = new Counters(columns, sketched);
  for (const { values, slices } of rows) counters.add(values, slices);
  return { columns, slices: counters.take() };
}

/** The sums of two parts: of windows, or of servers. Both have the same bins. */
export function addSums(a: SliceSums, b: SliceSums): SliceSums {
  const sketches = a.sketches?.map((state, i) => {
    const other = b.sketches?.[i];
    if (state === null || other == null) return state ?? null;
    const merged = KllSketch.from(state);
    merged.merge(other);
    return merged.state();
  });
  return {
    rows: a.rows + b.rows,
    counts: a.counts.map((counts, i) => counts.map((count, j) => count + b.counts[i][j])),
    ...(sketches === undefined ? {} : { sketches }),
  };
}
