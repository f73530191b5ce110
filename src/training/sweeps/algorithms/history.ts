import type { Params } from './space.ts';

/** A value that a trial reported on its way. */
export interface Report {
  step: number;
  value: number;
}

/** What a sweep knows of one trial. Lower values are better here: a sweep that maximises turns the signs. */
export interface Trial {
  number: number;
  params: Params;
  /** stopped: early, by the sweep. Failed and cancelled trials teach nothing and are not listed. */
  state: 'running' | 'complete' | 'stopped';
  /** Of a complete one the result, of a stopped one its last report; undefined: none yet. May be NaN. */
  value: number | undefined;
  /** Of the last report; 0 where none was made. */
  lastStep: number;
}

/** Best first. NaN is last. */
export function byValue(a: Trial, b: Trial): number {
  return compare(a.value ?? Number.NaN, b.value ?? Number.NaN);
}

function compare(a: number, b: number): number {
  if (Number.isNaN(a) || Number.isNaN(b)) return Number(Number.isNaN(a)) - Number(Number.isNaN(b));
  return a < b ? -1 : Number(a > b);
}
