import type { ColumnProfile } from '../../datasets/profile.ts';
import { distance, type Skew } from '../skew.ts';

/** What was seen of one column. Two of them can be added up, in any order. */
export interface LiveColumn {
  /** Values that are there: finite numbers, texts that are not empty. */
  count: number;
  missing: number;
  /** How often each value came, while there are few of them. */
  values: Map<LiveValue, number>;
  /** Numbers beyond those, by logarithmic bins; texts beyond those under `rest`. */
  bins: Map<number, number>;
  rest: number;
}

export type LiveValue = number | string | boolean;

const MAX_VALUES = 1000;
/** Bins are 2 % wide. */
const LOG_BASE = Math.log(1.02);
const SMALLEST = 1e-12;
const LARGEST = 1e15;
/** Makes every bin's number positive, so that its sign is that of its values. */
const OFFSET = Math.ceil(-Math.log(SMALLEST) / LOG_BASE) + 1;
const MAX_TEXT = 200;
/** Values of a training set are doubles, those of requests mostly are not: at an edge they belong together. */
const EDGE = 1e-6;

export function newLiveColumn(): LiveColumn {
  return { count: 0, missing: 0, values: new Map(), bins: new Map(), rest: 0 };
}

/** @param value NaN, infinities and '' are missing */
export function addLive(column: LiveColumn, value: LiveValue, times = 1): void {
  if (value === '' || (typeof value === 'number' && !Number.isFinite(value))) {
    column.missing += times;
    return;
  }
  column.count += times;
  addValue(column, typeof value === 'string' ? value.slice(0, MAX_TEXT) : value, times);
}

function addValue(column: LiveColumn, value: LiveValue, times: number): void {
  const { values, bins } = column;
  const known = values.get(value);
  if (known !== undefined || values.size < MAX_VALUES) values.set(value, (known ?? 0) + times);
  else if (typeof value === 'number') bins.set(binOf(value), (bins.get(binOf(value)) ?? 0) + times);
  else column.rest += times;
}

export function mergeLive(into: LiveColumn, other: LiveColumn): void {
  into.count += other.count;
  into.missing += other.missing;
  into.rest += other.rest;
  for (const [value, times] of other.values) addValue(into, value, times);
  for (const [bin, times] of other.bins) into.bins.set(bin, (into.bins.get(bin) ?? 0) + times);
}

function binOf(value: number): number {
  const size = Math.min(Math.abs(value), LARGEST);
  if (size < SMALLEST) return 0;
  return Math.sign(value) * (Math.ceil(Math.log(size) / LOG_BASE) + OFFSET);
}

/** The lower and the upper bound of a bin. */
function boundsOf(bin: number): [number, number] {
  if (bin === 0) return [0, 0];
  const place = Math.abs(bin) - OFFSET;
  const [near, far] = [Math.exp((place - 1) * LOG_BASE), Math.exp(place * LOG_BASE)];
  return bin > 0 ? [near, far] : [-far, -near];
}

/**
 * How far what is asked is from what a model was trained on. Numbers are counted in the training's own bins, and below and
 * above all of them; other values one by one. Undefined: one of both has nothing to compare.
 */
export function liveSkew(training: ColumnProfile, live: LiveColumn): Skew | undefined {
  if (training.count === 0 || live.count === 0) return undefined;
  if (training.numeric !== undefined) {
    const { edges, counts } = training.numeric.histogram;
    const total = counts.reduce((sum, count) => sum + count, 0);
    const found = new Array<number>(counts.length + 2).fill(0);
    for (const [value, times] of live.values) found[1 + placeOf(edges, Number(value))] += times / live.count;
    for (const [bin, times] of live.bins) spread(edges, found, boundsOf(bin), times / live.count);
    return distance([0, ...counts.map((count) => count / total), 0], found);
  }
  if (training.top.length === 0) return undefined;
  const names = new Map(training.top.map(({ value, count }, i) => [value, { i, share: count / training.count }]));
  const shares = [...names.values()].map(({ share }) => share);
  const found = new Array<number>(shares.length + 1).fill(0);
  for (const [value, times] of live.values) found[names.get(value)?.i ?? shares.length] += times / live.count;
  found[shares.length] += live.rest / live.count;
  return distance([...shares, Math.max(0, 1 - shares.reduce((sum, share) => sum + share, 0))], found);
}

/** Values of a bin are taken to lie evenly in it. */
function spread(edges: readonly number[], found: number[], [low, high]: [number, number], share: number): void {
  const [first, last] = [placeOf(edges, low), placeOf(edges, high)];
  for (let place = first; place <= last; place++) {
    const from = place < 0 ? low : Math.max(low, edges[place]);
    const to = place >= edges.length - 1 ? high : Math.min(high, edges[place + 1]);
    found[1 + place] += first === last ? share : (share * Math.max(0, to - from)) / (high - low);
  }
}

/** -1: below the first edge; as many as there are bins: above the last. Bins are equally wide. */
function placeOf(edges: readonly number[], value: number): number {
  const bins = edges.length - 1;
  const [first, last] = [edges[0], edges[bins]];
  if (first === last) return Math.abs(value - first) <= EDGE * Math.abs(first) ? 0 : value < first ? -1 : bins;
  const at = ((value - first) / (last - first)) * bins;
  if (at < -EDGE) return -1;
  return at > bins + EDGE ? bins : Math.min(bins - 1, Math.max(0, Math.floor(at + EDGE)));
}
