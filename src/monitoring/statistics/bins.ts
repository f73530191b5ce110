/** What a column may hold. Null and NaN: missing. */
export type Value = number | string | boolean | bigint | null;

/**
 * Bins of one column, frozen from a reference. Counts lie in the order of the bins:
 * - numeric: below the reference, between neighbouring `edges` (the last one's upper end included), above it, missing
 * - categories: each of `categories`, any other value, missing
 */
export type Bins = { kind: 'numeric'; edges: number[] } | { kind: 'categories'; categories: string[] };

const DECILES = 10;
/** A column with no more distinct values than this has a bin for each. */
const FEW_VALUES = 20;
const MOST_CATEGORIES = 50;
/** Rarer ones would be expected fewer than 5 times in a window of 500. */
const LEAST_SHARE = 0.01;

/** Null and NaN. */
export function isMissing(value: Value): boolean {
  return value === null || (typeof value === 'number' && Number.isNaN(value));
}

/**
 * How many bins: of numbers those between edges and the two beyond them, else one for each category and one for all
 * others; and one for what is missing.
 */
export function binCount(bins: Bins): number {
  return bins.kind === 'numeric' ? bins.edges.length + 2 : bins.categories.length + 2;
}

/** Bins for values like these: deciles for numbers, else a bin for each frequent value. */
export function freezeBins(values: readonly Value[]): Bins {
  const present = values.filter((value) => !isMissing(value));
  const frequency = new Map<string, number>();
  for (const value of present) frequency.set(String(value), (frequency.get(String(value)) ?? 0) + 1);
  const numbers = present.every((value) => typeof value === 'number' || typeof value === 'bigint');
  if (numbers && frequency.size > FEW_VALUES) return { kind: 'numeric', edges: decileEdges(present.map(Number)) };
  const categories = [...frequency]
    .filter(([, count]) => count >= LEAST_SHARE * present.length)
    .sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1))
    .slice(0, MOST_CATEGORIES)
    .map(([category]) => category)
    .sort();
  return { kind: 'categories', categories };
}

/** Deciles. A value that many rows have gets a bin of its own, so that its share can be seen to change. */
function decileEdges(values: readonly number[]): number[] {
  const sorted = Float64Array.from(values).sort();
  const cuts = new Set<number>();
  for (let i = 0; i <= DECILES; i++) {
    const value = sorted[Math.min(sorted.length - 1, Math.floor((i / DECILES) * sorted.length))];
    if (!cuts.has(value)) {
      cuts.add(value);
      continue;
    }
    const next = sorted.find((other) => other > value);
    if (next !== undefined) cuts.add(next);
  }
  cuts.add(sorted[sorted.length - 1]);
  const edges = [...cuts].sort((a, b) => a - b);
  return withoutSmall(edges, sorted);
}

/** A bin that has too few of the reference joins its neighbour below. */
function withoutSmall(edges: readonly number[], sorted: Float64Array): number[] {
  const least = Math.max(1, LEAST_SHARE * sorted.length);
  const kept = [edges[0]];
  let at = 0;
  let inBin = 0;
  for (let i = 1; i < edges.length; i++) {
    const last = i === edges.length - 1;
    for (; at < sorted.length && (sorted[at] < edges[i] || (last && sorted[at] === edges[i])); at++) inBin++;
    if (last && inBin < least && kept.length > 1) kept.pop();
    if (last || inBin >= least) {
      kept.push(edges[i]);
      inBin = 0;
    }
  }
  return kept;
}

/** Gives the bin of a value: one lookup for each value that is counted. */
export function binner(bins: Bins): (value: Value) => number {
  if (bins.kind === 'categories') {
    const index = new Map(bins.categories.map((category, i) => [category, i]));
    const other = bins.categories.length;
    return (value) => (isMissing(value) ? other + 1 : (index.get(String(value)) ?? other));
  }
  const { edges } = bins;
  const last = edges.length - 1;
  return (value) => {
    if (isMissing(value)) return edges.length + 1;
    const number = Number(value);
    if (number < edges[0]) return 0;
    if (number > edges[last] || Number.isNaN(number)) return Number.isNaN(number) ? edges.length + 1 : edges.length;
    let low = 0;
    let high = last - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (edges[middle] <= number) low = middle;
      else high = middle - 1;
    }
    return low + 1;
  };
}

/** The bins that the reference itself fills: all but those for what lies outside of it and for what is missing. */
export function regularBins(bins: Bins): { from: number; to: number } {
  return bins.kind === 'numeric'
    ? { from: 1, to: Math.max(1, bins.edges.length - 1) + 1 }
    : { from: 0, to: bins.categories.length };
}

/** What a bin is called where people read it. */
export function binName(bins: Bins, index: number): string {
  if (bins.kind === 'categories')
    return bins.categories[index] ?? (index === bins.categories.length ? 'other' : 'missing');
  const { edges } = bins;
  const short = (value: number): string => String(Number(value.toPrecision(4)));
  if (index === 0) return `< ${short(edges[0])}`;
  if (index === edges.length) return `> ${short(edges[edges.length - 1])}`;
  if (index === edges.length + 1) return 'missing';
  return `${short(edges[index - 1])} … ${short(edges[index])}`;
}
