import { nicedThreads, threadCpu, usedBetween } from '../thread-cpu.ts';
import type { Costs } from './simulate.ts';

/** What one run of a load told. CPU in microseconds a request. */
export interface Sample {
  gateway: number;
  executor: number;
  meanBatch: number;
}

/** Of a request's work on its gateway thread: up to the handover. By the profile of that thread. */
const BEFORE_HANDOVER = 0.55;

/** Runs `load` against the process and tells what its two busiest threads used: the gateway's, then the executor's. */
export async function sample(
  pid: number,
  batches: () => Promise<{ rows: number; runs: number }>,
  load: () => Promise<{ requests: number }>,
): Promise<Sample> {
  const [cpu, before] = [threadCpu(pid), await batches()];
  const { requests } = await load();
  const used = [...usedBetween(cpu, threadCpu(pid)).values()].sort((a, b) => b - a);
  const after = await batches();
  return {
    gateway: used[0] / 1000 / requests,
    executor: used[1] / 1000 / requests,
    meanBatch: (after.rows - before.rows) / (after.runs - before.runs),
  };
}

/** Microseconds of CPU of the log thread a request, of a process that has every request on record. */
export async function recordMicros(pid: number, load: () => Promise<{ requests: number }>): Promise<number> {
  const log = nicedThreads(pid);
  const before = threadCpu(pid);
  const { requests } = await load();
  const used = usedBetween(before, threadCpu(pid));
  return log.reduce((sum, tid) => sum + (used.get(tid) ?? 0), 0) / 1000 / requests;
}

/**
 * The steps' costs from two loads with batches of different size: what an executor uses a request falls with the size by
 * what a batch costs whatever its size.
 */
export function costsOf(small: Sample, large: Sample, message: number): Costs {
  const perBatch = (small.executor - large.executor) / (1 / small.meanBatch - 1 / large.meanBatch);
  // Each batch came as a message and was answered by one.
  const batch = Math.max(0, perBatch - 2 * message);
  const row = Math.max(0, large.executor - (batch + 2 * message) / large.meanBatch);
  const gateway = Math.max(0, large.gateway - (2 * message) / large.meanBatch);
  return { request: gateway * BEFORE_HANDOVER, answer: gateway * (1 - BEFORE_HANDOVER), message, batch, row };
}
