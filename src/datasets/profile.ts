/** Statistics of a dataset's columns: what people look at, what schemas are inferred from, what skew is measured against. */
import type { Cell, Field, FieldType } from './batch.ts';
import { jsonValue } from './cells.ts';

export interface Histogram {
  /** Bounds of the bins, one more than bins; the last bin takes its upper bound too. */
  edges: number[];
  counts: number[];
}

export interface ColumnProfile {
  name: string;
  type: FieldType;
  /** Cells that are there. */
  count: number;
  nulls: number;
  /** Different values; at least so many where `distinctIsLowerBound`. */
  distinct: number;
  distinctIsLowerBound: boolean;
  /** Most frequent values as JSON has them, with their counts, largest first. All of them where `distinct` is as large. */
  top: { value: string | number | boolean; count: number }[];
  /** Of numbers, times (milliseconds since 1970), and the items of lists of numbers. Not-finite ones are left out. */
  numeric?: {
    min: number;
    max: number;
    mean: number;
    /** Of the population. */
    std: number;
    zeros: number;
    /** NaN and infinities. */
    notFinite: number;
    /** By share, linear between neighbours; of every k-th value where there are more than four million. */
    quantiles: Record<string, number>;
    histogram: Histogram;
  };
  /** Characters of texts, bytes of binaries, items of lists. */
  lengths?: { min: number; max: number; mean: number };
}

export interface Profile {
  rows: number;
  columns: ColumnProfile[];
}

const MAX_DISTINCT = 10_000;
const MAX_TOP = 100;
const MAX_TOP_TEXT = 200;
const MAX_VALUES = 4 * 1024 * 1024;
const BINS = 32;
const SHARES = [0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99];

/** One column, chunk after chunk. Memory is bounded, however long it is. */
export class ColumnProfiler {
  private readonly field: Field;
  private count = 0;
  private nulls = 0;
  private readonly values = new Map<string | number | boolean, number>();
  private overflowed = false;
  private readonly numbers: NumberCollector | undefined;
  private readonly lengths = { min: Number.POSITIVE_INFINITY, max: 0, sum: 0 };

  constructor(field: Field) {
    this.field = field;
    const numeric = ['integer', 'number', 'timestamp', 'numbers'].includes(field.type);
    this.numbers = numeric ? new NumberCollector() : undefined;
  }

  add(cells: readonly Cell[]): void {
    const { type } = this.field;
    for (const cell of cells) {
      if (cell === null) {
        this.nulls++;
        continue;
      }
      this.count++;
      if (type === 'numbers') for (const item of cell as readonly number[]) this.numbers?.add(item);
      else this.numbers?.add(Number(cell));
      if (type === 'string' || type === 'binary' || type === 'numbers') this.addLength((cell as string).length);
      if (type !== 'binary' && type !== 'numbers') this.addValue(jsonValue(cell, type) as string | number | boolean);
    }
  }

  private addLength(length: number): void {
    const { lengths } = this;
    if (length < lengths.min) lengths.min = length;
    if (length > lengths.max) lengths.max = length;
    lengths.sum += length;
  }

  private addValue(value: string | number | boolean): void {
    const known = this.values.get(value);
    if (known !== undefined) this.values.set(value, known + 1);
    else if (this.values.size < MAX_DISTINCT) this.values.set(value, 1);
    else this.overflowed = true;
  }

  result(): ColumnProfile {
    const { name, type } = this.field;
    const top = [...this.values]
      .sort(([a, x], [b, y]) => y - x || (String(a) < String(b) ? -1 : 1))
      .slice(0, MAX_TOP)
      .map(([value, count]) => ({ value: typeof value === 'string' ? value.slice(0, MAX_TOP_TEXT) : value, count }));
    const numeric = this.numbers?.result();
    const { min, max, sum } = this.lengths;
    const measured = type === 'string' || type === 'binary' || type === 'numbers';
    return {
      name,
      type,
      count: this.count,
      nulls: this.nulls,
      distinct: this.values.size,
      distinctIsLowerBound: this.overflowed || type === 'binary' || type === 'numbers',
      top,
      ...(numeric === undefined ? {} : { numeric }),
      ...(measured && this.count > 0 ? { lengths: { min, max, mean: sum / this.count } } : {}),
    };
  }
}

/** Finite numbers with their exact moments, and as many of them as fit for quantiles. */
class NumberCollector {
  private kept = new Float64Array(1024);
  private size = 0;
  private stride = 1;
  private finite = 0;
  private notFinite = 0;
  private zeros = 0;
  private min = Number.POSITIVE_INFINITY;
  private max = Number.NEGATIVE_INFINITY;
  private mean = 0;
  private squares = 0;

  add(value: number): void {
    if (!Number.isFinite(value)) {
      this.notFinite++;
      return;
    }
    if (this.finite++ % this.stride === 0) this.keep(value);
    if (value === 0) this.zeros++;
    if (value < this.min) this.min = value;
    if (value > this.max) this.max = value;
    const delta = value - this.mean;
    this.mean += delta / this.finite;
    this.squares += delta * (value - this.mean);
  }

  private keep(value: number): void {
    if (this.size === this.kept.length) {
      if (this.size < MAX_VALUES) {
        const larger = new Float64Array(this.size * 2);
        larger.set(this.kept);
        this.kept = larger;
      } else {
        // Every second one goes, and from now on only every second one comes.
        for (let i = 0; i * 2 < this.size; i++) this.kept[i] = this.kept[i * 2];
        this.size /= 2;
        this.stride *= 2;
        if ((this.finite - 1) % this.stride !== 0) return;
      }
    }
    this.kept[this.size++] = value;
  }

  result(): ColumnProfile['numeric'] | undefined {
    if (this.finite === 0) return undefined;
    const sorted = this.kept.slice(0, this.size).sort();
    const { min, max, mean, zeros, notFinite } = this;
    return {
      min,
      max,
      mean,
      std: Math.sqrt(this.squares / this.finite),
      zeros,
      notFinite,
      quantiles: Object.fromEntries(SHARES.map((share) => [String(share), quantile(sorted, share)])),
      histogram: histogram(sorted, min, max, this.finite),
    };
  }
}

/** Linear between the two nearest values, as numpy's default. */
export function quantile(sorted: Float64Array, share: number): number {
  const at = share * (sorted.length - 1);
  const low = Math.floor(at);
  const high = Math.min(low + 1, sorted.length - 1);
  return sorted[low] + (sorted[high] - sorted[low]) * (at - low);
}

/** Bins of equal width; counts add up to `total`, of which `sorted` may be a part. */
function histogram(sorted: Float64Array, min: number, max: number, total: number): Histogram {
  const bins = min === max ? 1 : BINS;
  const width = (max - min) / bins;
  const edges = Array.from({ length: bins + 1 }, (_, i) => (i === bins ? max : min + i * width));
  const counts = new Array<number>(bins).fill(0);
  for (const value of sorted) {
    const bin = width > 0 && Number.isFinite(width) ? Math.floor((value - min) / width) : 0;
    counts[Math.min(bins - 1, bin)]++;
  }
  const scale = total / sorted.length;
  return { edges, counts: scale === 1 ? counts : counts.map((count) => Math.round(count * scale)) };
}
