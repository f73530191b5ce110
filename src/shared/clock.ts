/**
 * Milliseconds on the machine's monotonic clock, fractional, equal in every thread and process of this machine.
 * `performance.now()` alone counts from each thread's own start; the offset is measured once per thread.
 */
const offset = measureOffset();

/** The tightest of several readings: one that the scheduler interrupted would be milliseconds off. */
function measureOffset(): number {
  let best = 0;
  let width = Number.POSITIVE_INFINITY;
  for (let i = 0; i < 8; i++) {
    const before = performance.now();
    const machine = Number(process.hrtime.bigint()) / 1e6;
    const after = performance.now();
    if (after - before >= width) continue;
    width = after - before;
    best = machine - (before + after) / 2;
  }
  return best;
}

export function monotonicMs(): number {
  return performance.now() + offset;
}

/** What the machine's clock was ahead of monotonicMs() when this thread began. */
export const steadyOffset = Date.now() - monotonicMs();

/**
 * Milliseconds since 1970, by what the machine's clock said when this thread began: it moves on as time does, however
 * somebody sets that clock meanwhile. For what is waited for; other threads are given `steadyOffset` of the one that asks.
 */
export function steadyTime(): number {
  return Math.round(monotonicMs() + steadyOffset);
}

export type Clock = () => number;
