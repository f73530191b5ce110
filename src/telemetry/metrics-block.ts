import type { Timings } from '../pipeline/types.ts';
import type { ErrorCode } from '../shared/errors.ts';
import {
  BATCH_COLUMNS,
  BATCH_OFFSET,
  BUCKETS,
  batchSlot,
  Column,
  LATENCY_BOUNDS,
  ROW_COLUMNS,
  ROWS_PER_CHUNK,
  STAGES,
} from './metrics-layout.ts';

/** Triton's reasons, in the order of their columns. */
export const FAILURE_REASONS = ['REJECTED', 'CANCELED', 'BACKEND', 'OTHER'] as const;
export type FailureReason = (typeof FAILURE_REASONS)[number];

/** REJECTED: never ran (overload, deadline, queue policy); BACKEND: ran or should have run, and failed there. */
export function failureReason(code: ErrorCode): FailureReason {
  switch (code) {
    case 'overloaded':
    case 'deadline_exceeded':
      return 'REJECTED';
    case 'cancelled':
      return 'CANCELED';
    case 'internal':
    case 'unavailable':
      return 'BACKEND';
    default:
      return 'OTHER';
  }
}

/** Room for 256 more model versions in one thread's block. Made by the control thread, given to writer and readers. */
export function allocateChunk(): SharedArrayBuffer {
  return new SharedArrayBuffer(ROWS_PER_CHUNK * ROW_COLUMNS * 8);
}

const BOUNDS_MS = Float64Array.from(LATENCY_BOUNDS, (seconds) => seconds * 1000);

/** The last duration of each stage and its bucket: requests of one batch share most of theirs. */
const lastMs = new Float64Array(STAGES.length).fill(-1);
const lastBucket = new Int32Array(STAGES.length);

function bucketOf(stage: number, ms: number): number {
  if (ms === lastMs[stage]) return lastBucket[stage];
  const bucket = searchBucket(ms);
  lastMs[stage] = ms;
  lastBucket[stage] = bucket;
  return bucket;
}

function searchBucket(ms: number): number {
  let low = 0;
  let high = BOUNDS_MS.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (ms <= BOUNDS_MS[middle]) high = middle;
    else low = middle + 1;
  }
  return low;
}

/**
 * The figures one thread writes: plain stores into shared memory that only this thread writes, so no atomics; readers
 * sum over threads and may see a request's figures half-entered, never a torn number. Nothing here allocates. Rows beyond the
 * chunks given so far are counted in `lost` (the control thread sends the chunk before the first use of its rows).
 */
export class MetricsBlock {
  private readonly chunks: Float64Array[] = [];
  lost = 0;

  constructor(chunks: readonly SharedArrayBuffer[] = []) {
    for (const chunk of chunks) this.addChunk(chunk);
  }

  addChunk(chunk: SharedArrayBuffer): void {
    this.chunks.push(new Float64Array(chunk));
  }

  private chunkOf(row: number): Float64Array | undefined {
    const chunk = this.chunks[row >>> 8];
    if (chunk === undefined) this.lost++;
    return chunk;
  }

  /** A request answered. `timings` undefined: nothing ran (a cache hit; call recordCacheHit too). Milliseconds. */
  recordSuccess(
    row: number,
    requestMs: number,
    timings: Timings | undefined,
    bytesIn: number,
    bytesOut: number,
    epochMs: number,
  ): void {
    const chunk = this.chunkOf(row);
    if (chunk === undefined) return;
    const base = (row & (ROWS_PER_CHUNK - 1)) * ROW_COLUMNS;
    chunk[base + Column.success]++;
    chunk[base + Column.lastInference] = epochMs;
    chunk[base + Column.bytesIn] += bytesIn;
    chunk[base + Column.bytesOut] += bytesOut;
    observe(chunk, base, 0, requestMs);
    if (timings === undefined) return;
    observe(chunk, base, 1, timings.queue);
    observe(chunk, base, 2, timings.computeInput);
    observe(chunk, base, 3, timings.computeInfer);
    observe(chunk, base, 4, timings.computeOutput);
  }

  recordFailure(row: number, code: ErrorCode, requestMs: number, bytesIn: number): void {
    const chunk = this.chunkOf(row);
    if (chunk === undefined) return;
    const base = (row & (ROWS_PER_CHUNK - 1)) * ROW_COLUMNS;
    chunk[base + Column.failure + FAILURE_REASONS.indexOf(failureReason(code))]++;
    chunk[base + Column.failureNs] += requestMs * 1e6;
    chunk[base + Column.bytesIn] += bytesIn;
  }

  /** A lookup that hit, and what it cost. */
  recordCacheHit(row: number, lookupMs: number): void {
    this.add(row, Column.cacheHit, 1);
    this.add(row, Column.cacheHitNs, lookupMs * 1e6);
  }

  /** A lookup that missed, and what it and the later insertion cost. */
  recordCacheMiss(row: number, lookupMs: number): void {
    this.add(row, Column.cacheMiss, 1);
    this.add(row, Column.cacheMissNs, lookupMs * 1e6);
  }

  /** One batch executed, by the executor. `rows` without padding. CPU and GPU seconds are the executor's estimates. */
  recordBatch(
    row: number,
    rows: number,
    computeInputMs: number,
    computeInferMs: number,
    computeOutputMs: number,
    cpuSeconds: number,
    gpuSeconds: number,
  ): void {
    const chunk = this.chunkOf(row);
    if (chunk === undefined) return;
    const base = (row & (ROWS_PER_CHUNK - 1)) * ROW_COLUMNS;
    chunk[base + Column.executionCount]++;
    chunk[base + Column.inferenceCount] += rows;
    chunk[base + Column.cpuSeconds] += cpuSeconds;
    chunk[base + Column.gpuSeconds] += gpuSeconds;
    const at = base + BATCH_OFFSET + batchSlot(rows) * BATCH_COLUMNS;
    chunk[at]++;
    chunk[at + 1] += computeInputMs * 1e6;
    chunk[at + 2] += computeInferMs * 1e6;
    chunk[at + 3] += computeOutputMs * 1e6;
  }

  /** A run that failed: no batch was executed, but it cost. */
  recordFailedRun(row: number, cpuSeconds: number, gpuSeconds: number): void {
    this.add(row, Column.cpuSeconds, cpuSeconds);
    this.add(row, Column.gpuSeconds, gpuSeconds);
  }

  /** +1 when a request is accepted, -1 when it is answered, by the same thread. */
  addPending(row: number, delta: number): void {
    this.add(row, Column.pending, delta);
  }

  /** Length of this executor's queue for the model. */
  setQueued(row: number, length: number): void {
    const chunk = this.chunkOf(row);
    if (chunk !== undefined) chunk[(row & (ROWS_PER_CHUNK - 1)) * ROW_COLUMNS + Column.queued] = length;
  }

  private add(row: number, column: number, value: number): void {
    const chunk = this.chunkOf(row);
    if (chunk !== undefined) chunk[(row & (ROWS_PER_CHUNK - 1)) * ROW_COLUMNS + column] += value;
  }
}

function observe(chunk: Float64Array, base: number, stage: number, ms: number): void {
  chunk[base + Column.requestNs + stage] += ms * 1e6;
  chunk[base + Column.histograms + stage * BUCKETS + bucketOf(stage, ms)]++;
}
