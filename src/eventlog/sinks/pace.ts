/** Records that make no backlog: a sink that is this close keeps up. */
const CLOSE = 5000;
/** A rate that costs few percent of a core: where few requests come, a backlog is not to last for hours. */
const FLOOR = 5000;
const LEAD = 1.5;

/**
 * Records per second that a sink may take. One that keeps up may take all there is; a backlog is drained at one and a
 * half times the rate at which requests come, so that it shrinks while they come and the processor stays theirs. Once
 * no requests come, nothing is held back.
 */
export function drainRate(backlog: number, arrivingPerSecond: number): number {
  if (backlog <= CLOSE || arrivingPerSecond < 1) return Number.POSITIVE_INFINITY;
  return Math.max(FLOOR, arrivingPerSecond * LEAD);
}
