import type { Bins } from './statistics/bins.ts';
import type { KllState } from './statistics/kll.ts';

/** Sums over rows, by column; those of parts add up to those of the whole. */
export interface SliceSums {
  rows: number;
  counts: number[][];
  /** Only where a statistic needs them; null: a column of categories. */
  sketches?: (KllState | null)[];
}

export interface FrozenColumn {
  name: string;
  bins: Bins;
}

/** What a version's windows are held against. Frozen once; `seasons` grow while it learns. */
export interface Reference {
  monitor: string;
  version: string;
  digest: string;
  /** Milliseconds since 1970. */
  frozenAt: number;
  /** 'the first 1000 rows', or the file. */
  source: string;
  columns: FrozenColumn[];
  /** '' = all rows. */
  slices: Record<string, SliceSums>;
  /** By hour of the day or week. */
  seasons?: Record<string, SliceSums>;
}

/** What came within one window of one version, as the log thread counted it. */
export interface WindowSums {
  monitor: string;
  version: string;
  digest: string;
  from: number;
  to: number;
  firstId: string;
  lastId: string;
  season: string;
  slices: Record<string, SliceSums>;
}

export interface QualitySums {
  rows: number;
  correct: number;
  absolute: number;
  square: number;
  /** Of differences to the fourth: how sure the mean square is. */
  fourth: number;
}

/** Rows whose labels came, by the labels' arrival. */
export interface QualityWindow {
  monitor: string;
  version: string;
  from: number;
  to: number;
  firstId: string;
  lastId: string;
  slices: Record<string, QualitySums>;
}

/** How the labelled rows of a monitor stand. */
export interface LabelCount {
  monitor: string;
  /** Since the log thread began. */
  total: number;
  pending: number;
  /** Labels that came too late, or for requests that are not known. */
  unmatched: number;
  /** That are kept and could be learnt from. */
  kept: number;
}

/** Log thread → control thread. */
export type MonitorEvent =
  | { kind: 'reference'; reference: Reference }
  | { kind: 'window'; window: WindowSums }
  | { kind: 'quality'; window: QualityWindow }
  | { kind: 'labels'; labels: LabelCount };

/** Resolves with whether an event was taken in; never rejects. `again`: it may have been before, by a process that ended. */
export type MonitorListener = (event: MonitorEvent, again: boolean) => Promise<boolean>;

/** A version of a dataset. */
export interface DatasetPlace {
  name: string;
  version: number;
}

/** Labelled rows as a file. */
export interface Exported {
  rows: number;
  sha256: string;
  bytes: number;
  firstId: string;
  lastId: string;
  from: number;
  to: number;
}
