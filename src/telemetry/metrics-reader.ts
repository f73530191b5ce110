import type { ModelStatistics, StatDuration } from '../pipeline/types.ts';
import {
  BATCH_COLUMNS,
  BATCH_OFFSET,
  BATCH_SLOTS,
  batchSlotSize,
  Column,
  ROW_COLUMNS,
  ROWS_PER_CHUNK,
} from './metrics-layout.ts';

/** What a row stands for. */
export interface RowName {
  row: number;
  model: string;
  version: string;
}

/** Sums the blocks of all threads. Lives in the control thread, and in gateway threads that answer statistics. */
export class MetricsReader {
  private readonly threads = new Map<string, Float64Array[]>();

  /** The next chunk of a thread's block, in order. */
  addChunk(thread: string, chunk: SharedArrayBuffer): void {
    const chunks = this.threads.get(thread);
    if (chunks === undefined) this.threads.set(thread, [new Float64Array(chunk)]);
    else chunks.push(new Float64Array(chunk));
  }

  /** Adds up a row over all threads into a fresh array of ROW_COLUMNS figures. */
  sum(row: number): Float64Array {
    const sums = new Float64Array(ROW_COLUMNS);
    const base = (row & (ROWS_PER_CHUNK - 1)) * ROW_COLUMNS;
    for (const chunks of this.threads.values()) {
      const chunk = chunks[row >>> 8];
      if (chunk === undefined) continue;
      const last = Math.max(sums[Column.lastInference], chunk[base + Column.lastInference]);
      for (let c = 0; c < ROW_COLUMNS; c++) sums[c] += chunk[base + c];
      sums[Column.lastInference] = last;
    }
    return sums;
  }

  /** Zeroes a row in all blocks, for its next owner. Only when no writer can still hold it. */
  clear(row: number): void {
    const base = (row & (ROWS_PER_CHUNK - 1)) * ROW_COLUMNS;
    for (const chunks of this.threads.values()) chunks[row >>> 8]?.fill(0, base, base + ROW_COLUMNS);
  }
}

/** Triton's statistics of the named rows, summed over all threads; in the order of `names`. */
export function sumRows(reader: MetricsReader, names: readonly RowName[]): ModelStatistics[] {
  return names.map(({ row, model, version }) => statisticsOf(reader.sum(row), model, version));
}

function statisticsOf(sums: Float64Array, name: string, version: string): ModelStatistics {
  const success = sums[Column.success];
  // Answers from the cache ran in no batch.
  const executed = Math.max(0, success - sums[Column.cacheHit]);
  let failures = 0;
  for (let i = 0; i < 4; i++) failures += sums[Column.failure + i];
  return {
    name,
    version,
    lastInference: sums[Column.lastInference],
    inferenceCount: sums[Column.inferenceCount],
    executionCount: sums[Column.executionCount],
    inferenceStats: {
      success: duration(success, sums[Column.requestNs]),
      fail: duration(failures, sums[Column.failureNs]),
      queue: duration(executed, sums[Column.queueNs]),
      compute_input: duration(executed, sums[Column.computeInputNs]),
      compute_infer: duration(executed, sums[Column.computeInferNs]),
      compute_output: duration(executed, sums[Column.computeOutputNs]),
      cache_hit: duration(sums[Column.cacheHit], sums[Column.cacheHitNs]),
      cache_miss: duration(sums[Column.cacheMiss], sums[Column.cacheMissNs]),
    },
    batchStats: batchStatsOf(sums),
  };
}

function batchStatsOf(sums: Float64Array): ModelStatistics['batchStats'] {
  const stats: ModelStatistics['batchStats'] = [];
  for (let slot = 0; slot < BATCH_SLOTS; slot++) {
    const at = BATCH_OFFSET + slot * BATCH_COLUMNS;
    const count = sums[at];
    if (count === 0) continue;
    stats.push({
      batchSize: batchSlotSize(slot),
      computeInput: duration(count, sums[at + 1]),
      computeInfer: duration(count, sums[at + 2]),
      computeOutput: duration(count, sums[at + 3]),
    });
  }
  return stats;
}

function duration(count: number, ns: number): StatDuration {
  return { count, ns: Math.round(ns) };
}
