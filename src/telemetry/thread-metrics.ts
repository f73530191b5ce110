/** The shared memory one thread counts in; made by the control thread, handed over at the thread's start. */
export interface ThreadMetrics {
  chunks: SharedArrayBuffer[];
  tenants: SharedArrayBuffer;
  tenantNames: SharedArrayBuffer;
}

/** A chunk of some thread's block: that thread counts in it, those that answer statistics read it. */
export interface MetricsChunk {
  thread: string;
  chunk: SharedArrayBuffer;
}
