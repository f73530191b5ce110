/** Where each figure of a model version lies in its row of Float64s. Durations are sums of nanoseconds. */
export const ROWS_PER_CHUNK = 256;

export const Column = {
  success: 0,
  /** Four counters, by FailureReason. */
  failure: 1,
  /** Rows inferred, and batches executed: written by executors. */
  inferenceCount: 5,
  executionCount: 6,
  cacheHit: 7,
  cacheMiss: 8,
  requestNs: 9,
  /** Five stages from here follow STAGES without its first. */
  queueNs: 10,
  computeInputNs: 11,
  computeInferNs: 12,
  computeOutputNs: 13,
  failureNs: 14,
  cacheHitNs: 15,
  cacheMissNs: 16,
  /** Requests accepted and not answered. */
  pending: 17,
  /** Requests waiting in the executor's queue. */
  queued: 18,
  /** Epoch ms of the latest answer. */
  lastInference: 19,
  bytesIn: 20,
  bytesOut: 21,
  cpuSeconds: 22,
  gpuSeconds: 23,
  histograms: 24,
} as const;

/** Stages with a histogram, in the order of the columns requestNs … computeOutputNs. */
export const STAGES = ['request', 'queue', 'compute_input', 'compute_infer', 'compute_output'] as const;

/** Upper bounds of the latency buckets in seconds: 24 steps from 50 µs to 60 s, each 1.84 times the last. */
export const LATENCY_BOUNDS: readonly number[] = Array.from({ length: 24 }, (_, i) =>
  Number((50e-6 * (60 / 50e-6) ** (i / 23)).toPrecision(2)),
);
export const BUCKETS = LATENCY_BOUNDS.length + 1;

/** Batch sizes counted one by one up to here, then by powers of two, named by their upper end. */
export const EXACT_BATCH_SIZES = 64;
const BATCH_POWERS = 7;
export const BATCH_SLOTS = EXACT_BATCH_SIZES + BATCH_POWERS;
/** Per batch size: batches, computeInput ns, computeInfer ns, computeOutput ns. */
export const BATCH_COLUMNS = 4;
export const BATCH_OFFSET = Column.histograms + STAGES.length * BUCKETS;
export const ROW_COLUMNS = BATCH_OFFSET + BATCH_SLOTS * BATCH_COLUMNS;

/** Slot of a batch of so many rows: 1–64 have their own, the rest share one per power of two (8192 and more the last). */
export function batchSlot(rows: number): number {
  if (rows <= EXACT_BATCH_SIZES) return rows < 1 ? 0 : rows - 1;
  const power = 32 - Math.clz32(rows - 1);
  return Math.min(EXACT_BATCH_SIZES + power - 7, BATCH_SLOTS - 1);
}

/** The largest batch size a slot stands for. */
export function batchSlotSize(slot: number): number {
  return slot < EXACT_BATCH_SIZES ? slot + 1 : 2 ** (slot - EXACT_BATCH_SIZES + 7);
}
