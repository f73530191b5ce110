/** How far two distributions of a column are apart: training against serving, or yesterday against today. */
import type { ColumnProfile, Histogram } from '../datasets/profile.ts';

export interface Skew {
  /** Largest difference of a value's shares; 0 to 1. */
  linf: number;
  /** Jensen-Shannon divergence, base 2; 0 to 1. */
  js: number;
}

const BINS = 32;
const REST = '\u0000rest';

/** Undefined where one of them has no value to compare. */
export function skewOf(a: ColumnProfile, b: ColumnProfile): Skew | undefined {
  if (a.numeric !== undefined && b.numeric !== undefined)
    return compareHistograms(a.numeric.histogram, b.numeric.histogram);
  if (a.count === 0 || b.count === 0 || a.top.length === 0 || b.top.length === 0) return undefined;
  return compareShares(shares(a), shares(b));
}

function shares({ top, count }: ColumnProfile): Map<string, number> {
  const found = new Map(top.map(({ value, count: times }) => [String(value), times / count]));
  const rest = 1 - [...found.values()].reduce((sum, share) => sum + share, 0);
  if (rest > 1e-12) found.set(REST, rest);
  return found;
}

function compareShares(a: ReadonlyMap<string, number>, b: ReadonlyMap<string, number>): Skew {
  const names = [...new Set([...a.keys(), ...b.keys()])];
  return distance(
    names.map((name) => a.get(name) ?? 0),
    names.map((name) => b.get(name) ?? 0),
  );
}

/** On equal bins over both ranges; within a bin of the original values are taken to be spread evenly. */
function compareHistograms(a: Histogram, b: Histogram): Skew {
  const low = Math.min(a.edges[0], b.edges[0]);
  const high = Math.max(a.edges[a.edges.length - 1], b.edges[b.edges.length - 1]);
  return distance(rebin(a, low, high), rebin(b, low, high));
}

function rebin({ edges, counts }: Histogram, low: number, high: number): number[] {
  const total = counts.reduce((sum, count) => sum + count, 0);
  const found = new Array<number>(BINS).fill(0);
  const width = (high - low) / BINS;
  const binOf = (value: number): number =>
    width > 0 ? Math.min(BINS - 1, Math.max(0, Math.floor((value - low) / width))) : 0;
  counts.forEach((count, i) => {
    const [from, to] = [edges[i], edges[i + 1]];
    const [first, last] = [binOf(from), binOf(to)];
    if (first === last || to === from) {
      found[first] += count / total;
      return;
    }
    for (let bin = first; bin <= last; bin++) {
      const overlap = Math.min(to, low + (bin + 1) * width) - Math.max(from, low + bin * width);
      if (overlap > 0) found[bin] += (count / total) * (overlap / (to - from));
    }
  });
  return found;
}

/** Of two lists of shares, each adding up to 1. */
export function distance(a: readonly number[], b: readonly number[]): Skew {
  let linf = 0;
  let js = 0;
  for (let i = 0; i < a.length; i++) {
    linf = Math.max(linf, Math.abs(a[i] - b[i]));
    const middle = (a[i] + b[i]) / 2;
    if (a[i] > 0) js += (a[i] / 2) * Math.log2(a[i] / middle);
    if (b[i] > 0) js += (b[i] / 2) * Math.log2(b[i] / middle);
  }
  return { linf: Math.min(1, linf), js: Math.min(1, Math.max(0, js)) };
}
