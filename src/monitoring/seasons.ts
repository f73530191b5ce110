import { addSums } from './counters.ts';
import type { MonitorSpec } from './document.ts';
import type { Reference, WindowSums } from './types.ts';

/** A seasonal reference takes windows in for a while, and judges none of them. */
export function isLearning(
  { reference: { seasonal, learn } }: Pick<MonitorSpec, 'reference'>,
  known: Reference,
  from: number,
): boolean {
  return seasonal !== undefined && from < known.frozenAt + learn;
}

/** The reference, with a window's rows counted to those of its season. */
export function withSeason(known: Reference, { season, slices }: WindowSums): Reference {
  const sums = slices[''];
  if (sums === undefined) return known;
  const before = known.seasons?.[season];
  return { ...known, seasons: { ...known.seasons, [season]: before === undefined ? sums : addSums(before, sums) } };
}
