/**
 * The level of a copy for a shadow, behind every level of its model: no client waits for it. Clients cannot ask for it.
 */
export const COPY_LEVEL = -1;

/**
 * One request waiting in a model's queue. The executor extends it with where its bytes lie; the batcher reads only
 * these fields and never copies an item.
 */
export interface QueueItem {
  /** Rows along the batch dimension (1 for models without one). */
  rows: number;
  /** Items merge only when equal: the executor's digest of all non-batch, non-ragged dims and of the requested outputs. */
  shapeKey: string;
  /** 1 = highest; already defaulted and clamped to the model's levels. Or COPY_LEVEL. */
  priority: number;
  /** monotonicMs() after which the answer is useless; Infinity: none. */
  deadline: number;
  enqueuedAt: number;
  /** monotonicMs() at which the queue policy's timeout strikes; Infinity: never. Set by the queue. */
  queueTimeoutAt: number;
  cancelled: boolean;
  /** Position inside the queue's own structures; private to the queue. */
  slot: number;
}

/** Why an item left the queue without running. */
export type DropReason = 'deadline' | 'queue_timeout';

export interface BatchDecision<T extends QueueItem> {
  /** Run these together now; empty: nothing to run yet. */
  batch: T[];
  rows: number;
  /** Rows to pad the batch up to (≥ rows), by allowedBatchSizes. */
  paddedRows: number;
  /** When `batch` is empty and the queue is not: monotonicMs() to ask again; Infinity: nothing is waiting. */
  wakeAt: number;
}
