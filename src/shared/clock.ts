/**
 * Milliseconds on the machine's monotonic clock, fractional, equal in every thread and process of this machine.
 * `performance.now()` alone counts from each thread's own start; the offset is measured once per thread.
 */
const offset = Number(process.hrtime.bigint()) / 1e6 - performance.now();

export function monotonicMs(): number {
  return performance.now() + offset;
}

export type Clock = () => number;
