import type { MonitorSpec, StatisticName } from './document.ts';
import { binName, regularBins } from './statistics/bins.ts';
import { jensenShannon, lInfinity, psi } from './statistics/distances.ts';
import {
  effectInterval,
  type Interval,
  largestInterval,
  rankDeviation,
  sampleInterval,
} from './statistics/interval.ts';
import { KllSketch } from './statistics/kll.ts';
import { kolmogorovSmirnov, unitOf, type Weighted, wasserstein } from './statistics/samples.ts';
import { chiSquareTwoSample, LEAST_EXPECTED } from './statistics/tests.ts';
import type { FrozenColumn, Reference, SliceSums, WindowSums } from './types.ts';

/** insufficient: too few rows to tell. It is never a yes. */
export type WindowState = 'ok' | 'drifted' | 'insufficient' | 'learning';

/** How far a column is from its reference by one statistic. */
interface Figure {
  statistic: StatisticName;
  value: number;
  threshold: number;
}

/** The 95 % interval is of what the rows were drawn from; see statistics/interval.ts for the method. */
export type EffectFigure = Figure & { interval: Interval };

export interface ColumnVerdict extends Figure {
  name: string;
  state: Exclude<WindowState, 'learning'>;
  /** Of χ² over the frozen bins. */
  pValue: number;
  /** Every statistic that is asked for, the one that is furthest beyond its threshold first; only of the columns that
   * changed most. */
  effects?: EffectFigure[];
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
/** Columns of one slice with intervals, and of a window: sketches' cost milliseconds each. */
const WITH_INTERVAL = 3;
const MOST_INTERVALS = 30;
const DRAWS = 200;
type Spec = Pick<MonitorSpec, 'statistics' | 'falseAlarms' | 'minRows'>;

/**
 * What a window says. A column is flagged when a statistic is beyond its threshold, so that what does not matter is let
 * pass however many rows prove it, and when χ² over its frozen bins is too unlikely for chance. The level of that test is
 * `falseAlarms` shared out over all columns of all slices (Bonferroni): without any change, a window is flagged with at
 * most that probability.
 * @param draws for each interval; 0: no intervals
 */
export function judgeWindow(spec: Spec, reference: Reference, window: WindowSums, draws = DRAWS): WindowVerdict {
  const rows = window.slices['']?.rows ?? 0;
  const slices = Object.entries(window.slices).map(([name, sums]) => {
    const held = name === '' && window.season !== '' ? reference.seasons?.[window.season] : reference.slices[name];
    return { name, sums, held };
  });
  const alpha = spec.falseAlarms / Math.max(1, reference.columns.length * slices.length);
  let intervals = draws === 0 ? 0 : MOST_INTERVALS;
  const verdicts = slices.map(({ name, sums, held }) => {
    const { verdict, order } = judgeSlice(spec, reference.columns, name, sums, held, alpha);
    if (held === undefined || (name !== '' && verdict.drifted === 0)) return verdict;
    const columns = verdict.columns.map((column, place) => {
      if (column.state === 'insufficient' || place >= WITH_INTERVAL || intervals === 0) return column;
      intervals--;
      return { ...column, ...explained(spec, reference.columns[order[place]], order[place], held, sums, draws) };
    });
    return { ...verdict, columns };
  });
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
): { verdict: SliceVerdict; order: number[] } {
  if (held === undefined || sums.rows < spec.minRows || held.rows < spec.minRows)
    return { verdict: { slice, state: 'insufficient', rows: sums.rows, drifted: 0, columns: [] }, order: [] };
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
  const shown = sorted.slice(0, SHOWN_COLUMNS);
  return {
    verdict: {
      slice,
      state: drifted > 0 ? 'drifted' : known ? 'ok' : 'insufficient',
      rows: sums.rows,
      drifted,
      columns: shown.map(({ verdict }) => verdict),
    },
    order: shown.map(({ i }) => i),
  };
}

function judgeColumn(
  spec: Spec,
  { name, bins }: FrozenColumn,
  index: number,
  held: SliceSums,
  sums: SliceSums,
  alpha: number,
): ColumnVerdict {
  const before = held.counts[index];
  const now = sums.counts[index];
  const [worst] = figuresOf(spec, index, held, sums);
  const { pValue } = chiSquareTwoSample(before, now, true);
  const { from, to } = regularBins(bins);
  const filled = before.slice(from, to).filter((count) => count > 0);
  const thin = filled.some((count) => (count / held.rows) * sums.rows < LEAST_EXPECTED);
  const state = thin ? 'insufficient' : worst.value >= worst.threshold && pValue < alpha ? 'drifted' : 'ok';
  return { name, state, statistic: worst.statistic, value: worst.value, threshold: worst.threshold, pValue };
}

const OF_BINS = { psi, jensenShannon, lInfinity };
/** Below it an effect may be chance: its interval begins with nothing. */
const CHANCE = 0.05;

type WithInterval = Figure & { interval(draws: number): Interval };

/** Every statistic that is asked for and that the column has, the one that is furthest beyond its threshold first. */
function figuresOf({ statistics }: Spec, index: number, held: SliceSums, sums: SliceSums): WithInterval[] {
  const [before, now] = [held.counts[index], sums.counts[index]];
  const ofBins = (statistic: keyof typeof OF_BINS, threshold: number): WithInterval => {
    const effect = OF_BINS[statistic];
    const interval = (draws: number): Interval => {
      if (statistic === 'lInfinity') return largestInterval(effect, before, now, { draws });
      const chance = chiSquareTwoSample(before, now, true).pValue > CHANCE;
      return effectInterval(effect, before, now, { root: statistic === 'psi', chance }, { draws });
    };
    return { statistic, value: effect(before, now), threshold, interval };
  };
  const samples = samplesOf(held.sketches?.[index], sums.sketches?.[index]);
  const figures = (Object.entries(statistics) as [StatisticName, number | undefined][]).flatMap(
    ([statistic, threshold]): WithInterval[] => {
      if (threshold === undefined) return [];
      if (statistic !== 'ks' && statistic !== 'wasserstein') return [ofBins(statistic, threshold)];
      if (samples === undefined) return [];
      const { a, b, deviations } = samples;
      const [effect, unit] = statistic === 'ks' ? [kolmogorovSmirnov, 1] : [wasserstein, unitOf(a)];
      const interval = (draws: number): Interval => sampleInterval(effect, a, b, deviations, unit, { draws });
      return [{ statistic, value: effect(a, b) / unit, threshold, interval }];
    },
  );
  // Distances of quantiles say nothing about categories: these are always held against PSI's usual limit.
  if (figures.length === 0) return [ofBins('psi', 0.2)];
  return figures.sort((x, y) => y.value / y.threshold - x.value / x.threshold);
}

type State = NonNullable<SliceSums['sketches']>[number] | undefined;

function samplesOf(held: State, now: State): { a: Weighted; b: Weighted; deviations: [number, number] } | undefined {
  if (held == null || now == null || held.n === 0 || now.n === 0) return undefined;
  const deviation = ({ k, levels }: NonNullable<State>): number => (levels.length > 1 ? rankDeviation(k) : 0);
  return {
    a: KllSketch.from(held).sample(),
    b: KllSketch.from(now).sample(),
    deviations: [deviation(held), deviation(now)],
  };
}

function explained(
  spec: Spec,
  { bins }: FrozenColumn,
  index: number,
  held: SliceSums,
  sums: SliceSums,
  draws: number,
): Pick<ColumnVerdict, 'effects' | 'change'> {
  const [before, now] = [held.counts[index], sums.counts[index]];
  const [n, m] = [total(before), total(now)];
  const changes = before.map((count, i) => now[i] / m - count / n);
  const most = changes.reduce((best, change, i) => (Math.abs(change) > Math.abs(changes[best]) ? i : best), 0);
  const effects = figuresOf(spec, index, held, sums).map(({ statistic, value, threshold, interval }) => ({
    statistic,
    value,
    threshold,
    interval: interval(draws),
  }));
  return { effects, change: `${binName(bins, most)}: ${percent(before[most] / n)} → ${percent(now[most] / m)}` };
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
