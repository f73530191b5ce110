import type { MonitorSpec, StatisticName } from './document.ts';
import { binName, regularBins } from './statistics/bins.ts';
import { jensenShannon, lInfinity, psi } from './statistics/distances.ts';
import { effectInterval, type Interval } from './statistics/interval.ts';
import { KllSketch } from './statistics/kll.ts';
import { kolmogorovSmirnov, normedWasserstein } from './statistics/samples.ts';
import { chiSquareTwoSample, LEAST_EXPECTED } from './statistics/tests.ts';
import type { FrozenColumn, Reference, SliceSums, WindowSums } from './types.ts';

/** insufficient: too few rows to tell. It is never a yes. */
export type WindowState = 'ok' | 'drifted' | 'insufficient' | 'learning';

export interface ColumnVerdict {
  name: string;
  state: Exclude<WindowState, 'learning'>;
  /** The statistic that is furthest beyond its threshold, or nearest to it. */
  statistic: StatisticName;
  value: number;
  threshold: number;
  /** Of χ² over the frozen bins. */
  pValue: number;
  /** 95 % interval of the value; only of the columns that changed most. */
  interval?: Interval;
  /** The bin whose share changed most, for people. */
  change?: string;
}

export interface SliceVerdict {
  /** '' = all rows. */
  slice: string;
  state: WindowState;
  rows: number;
  drifted: number;
  /** Those that are drifted, then the nearest to it. */
  columns: ColumnVerdict[];
}

export interface WindowVerdict {
  state: WindowState;
  reason: string;
  rows: number;
  slices: SliceVerdict[];
}

const SHOWN_COLUMNS = 10;
const WITH_INTERVAL = 3;
const DRAWS = 200;
type Spec = Pick<MonitorSpec, 'statistics' | 'falseAlarms' | 'minRows'>;

/**
 * What a window says. A column is flagged when a statistic is beyond its threshold, so that what does not matter is let
 * pass however many rows prove it, and when χ² over its frozen bins is too unlikely for chance. The level of that test is
 * `falseAlarms` shared out over all columns of all slices (Bonferroni): without any change, a window is flagged with at
 * most that probability.
 */
export function judgeWindow(spec: Spec, reference: Reference, window: WindowSums): WindowVerdict {
  const rows = window.slices['']?.rows ?? 0;
  const slices = Object.entries(window.slices).map(([name, sums]) => {
    const held = name === '' && window.season !== '' ? reference.seasons?.[window.season] : reference.slices[name];
    return { name, sums, held };
  });
  const alpha = spec.falseAlarms / Math.max(1, reference.columns.length * slices.length);
  const verdicts = slices.map(({ name, sums, held }) => judgeSlice(spec, reference.columns, name, sums, held, alpha));
  const [whole] = verdicts;
  const drifted = verdicts.filter(({ state }) => state === 'drifted');
  const state = drifted.length > 0 ? 'drifted' : (whole?.state ?? 'insufficient');
  return { state, reason: reasonOf(state, drifted, rows, spec.minRows), rows, slices: verdicts };
}

function reasonOf(state: WindowState, drifted: readonly SliceVerdict[], rows: number, minRows: number): string {
  if (state === 'insufficient') return `${rows} rows tell nothing; ${minRows} are wanted, and as many in the reference`;
  if (state === 'ok') return 'as the reference';
  const [slice] = drifted;
  const [worst] = slice.columns;
  const where = slice.slice === '' ? '' : ` where ${slice.slice}`;
  const more = slice.drifted > 1 ? ` and ${slice.drifted - 1} more columns` : '';
  return `${worst.name}${more}${where}: ${worst.statistic} ${short(worst.value)}, ${short(worst.threshold)} allowed`;
}

function judgeSlice(
  spec: Spec,
  columns: readonly FrozenColumn[],
  slice: string,
  sums: SliceSums,
  held: SliceSums | undefined,
  alpha: number,
): SliceVerdict {
  if (held === undefined || sums.rows < spec.minRows || held.rows < spec.minRows)
    return { slice, state: 'insufficient', rows: sums.rows, drifted: 0, columns: [] };
  const verdicts = columns.map((column, i) => judgeColumn(spec, column, i, held, sums, alpha));
  const order = { drifted: 0, ok: 1, insufficient: 2 };
  const sorted = verdicts
    .map((verdict, i) => ({ verdict, i }))
    .sort(
      (a, b) =>
        order[a.verdict.state] - order[b.verdict.state] ||
        b.verdict.value / b.verdict.threshold - a.verdict.value / a.verdict.threshold,
    );
  const drifted = verdicts.filter(({ state }) => state === 'drifted').length;
  const known = verdicts.some(({ state }) => state !== 'insufficient');
  return {
    slice,
    state: drifted > 0 ? 'drifted' : known ? 'ok' : 'insufficient',
    rows: sums.rows,
    drifted,
    columns: sorted.slice(0, SHOWN_COLUMNS).map(({ verdict, i }, place) => {
      if (verdict.state === 'insufficient' || drifted === 0 || place >= WITH_INTERVAL) return verdict;
      return { ...verdict, ...explained(verdict, columns[i], held.counts[i], sums.counts[i]) };
    }),
  };
}

function judgeColumn(
  { statistics }: Spec,
  { name, bins }: FrozenColumn,
  index: number,
  held: SliceSums,
  sums: SliceSums,
  alpha: number,
): ColumnVerdict {
  const before = held.counts[index];
  const now = sums.counts[index];
  let worst: { statistic: StatisticName; value: number; threshold: number } | undefined;
  for (const [statistic, threshold] of Object.entries(statistics) as [StatisticName, number | undefined][]) {
    if (threshold === undefined) continue;
    const value = figureOf(statistic, before, now, held.sketches?.[index], sums.sketches?.[index]);
    if (value === undefined) continue;
    if (worst === undefined || value / threshold > worst.value / worst.threshold)
      worst = { statistic, value, threshold };
  }
  // Distances of quantiles say nothing about categories: these are always held against PSI's usual limit.
  worst ??= { statistic: 'psi', value: psi(before, now), threshold: 0.2 };
  const { pValue } = chiSquareTwoSample(before, now, true);
  const { from, to } = regularBins(bins);
  const filled = before.slice(from, to).filter((count) => count > 0);
  const thin = filled.some((count) => (count / held.rows) * sums.rows < LEAST_EXPECTED);
  const state = thin ? 'insufficient' : worst.value >= worst.threshold && pValue < alpha ? 'drifted' : 'ok';
  return { name, state, ...worst, pValue };
}

type State = NonNullable<SliceSums['sketches']>[number] | undefined;

function figureOf(
  statistic: StatisticName,
  before: readonly number[],
  now: readonly number[],
  heldSketch: State,
  sketch: State,
): number | undefined {
  if (statistic === 'psi') return psi(before, now);
  if (statistic === 'jensenShannon') return jensenShannon(before, now);
  if (statistic === 'lInfinity') return lInfinity(before, now);
  if (heldSketch == null || sketch == null || heldSketch.n === 0 || sketch.n === 0) return undefined;
  const [a, b] = [KllSketch.from(heldSketch).sample(), KllSketch.from(sketch).sample()];
  return statistic === 'ks' ? kolmogorovSmirnov(a, b) : normedWasserstein(a, b);
}

const OF_BINS = { psi, jensenShannon, lInfinity };

function explained(
  { statistic }: ColumnVerdict,
  { bins }: FrozenColumn,
  before: readonly number[],
  now: readonly number[],
): Pick<ColumnVerdict, 'interval' | 'change'> {
  const [n, m] = [total(before), total(now)];
  const changes = before.map((count, i) => now[i] / m - count / n);
  const most = changes.reduce((best, change, i) => (Math.abs(change) > Math.abs(changes[best]) ? i : best), 0);
  const change = `${binName(bins, most)}: ${percent(before[most] / n)} → ${percent(now[most] / m)}`;
  if (!(statistic in OF_BINS)) return { change };
  const effect = OF_BINS[statistic as keyof typeof OF_BINS];
  return { change, interval: effectInterval(effect, before, now, { draws: DRAWS }) };
}

function total(counts: readonly number[]): number {
  return counts.reduce((sum, count) => sum + count, 0);
}

function percent(share: number): string {
  return `${short(100 * share)} %`;
}

export function short(value: number): string {
  return String(Number(value.toPrecision(3)));
}
