import { countersOf, LOST, type RingMemory, TAKEN } from './handover/memory.ts';
import type { Spool } from './spool/spool.ts';

/** What the log thread counts, in memory that outlives it: a thread that is started again goes on counting. */
export interface LogCounts {
  memory: SharedArrayBuffer;
  /** Of each sink by itself, in their order. */
  sinks: SharedArrayBuffer[];
}

/** Counters of the log; all of them are written by the log thread alone. */
export const SPOOLED = 0;
export const FEEDBACK = 1;
export const DROPPED_DISK = 2;
export const DROPPED_ENCODING = 3;
/** Taken out of a ring by a thread that ended before it had written them down. */
export const UNWRITTEN = 4;
/** Number of the spool's next record when the process began, plus one; 0: no thread has begun yet. */
const BEGIN = 5;
const COUNTERS = 6;

/** Counters of a sink. */
export const SENT = 0;
export const REFUSED = 1;
export const LOST_BEFORE = 2;
const SINK_COUNTERS = 3;

export function allocateCounts(sinks: number): LogCounts {
  return {
    memory: new SharedArrayBuffer(COUNTERS * 8),
    sinks: Array.from({ length: sinks }, () => new SharedArrayBuffer(SINK_COUNTERS * 8)),
  };
}

/**
 * The log's counters, for a thread that begins. What the thread before it had taken, and neither wrote nor counted as
 * dropped, is lost with it, and is counted here. What the spool holds is counted by the spool itself.
 */
export function beginCounting(memory: SharedArrayBuffer, rings: readonly RingMemory[], spool: Spool): Float64Array {
  const counts = new Float64Array(memory);
  const next = spool.end.record;
  if (counts[BEGIN] === 0) counts[BEGIN] = next + 1;
  counts[SPOOLED] = next + 1 - counts[BEGIN];
  const inRings = (which: number): number => rings.reduce((sum, ring) => sum + countersOf(ring)[which], 0);
  const taken = inRings(TAKEN) - inRings(LOST) + counts[FEEDBACK];
  const ended = counts[SPOOLED] + counts[DROPPED_DISK] + counts[DROPPED_ENCODING];
  counts[UNWRITTEN] = Math.max(counts[UNWRITTEN], taken - ended);
  return counts;
}
