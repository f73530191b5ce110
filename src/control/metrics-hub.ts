import { allocateChunk } from '../telemetry/metrics-block.ts';
import { ROWS_PER_CHUNK } from '../telemetry/metrics-layout.ts';
import { MetricsReader } from '../telemetry/metrics-reader.ts';
import { createProcessMetrics, renderPrometheus } from '../telemetry/prometheus.ts';
import { RowAllocator } from '../telemetry/row-allocator.ts';
import {
  allocateTenantBlock,
  allocateTenantNames,
  sumTenants,
  type TenantFigures,
  TenantNames,
} from '../telemetry/tenant-metrics.ts';
import type { MetricsChunk, ThreadMetrics } from '../telemetry/thread-metrics.ts';

/** Owns every thread's counters and the rows in them. Lives on the control thread, which also writes them out. */
export class MetricsHub {
  readonly reader = new MetricsReader();
  readonly rows = new RowAllocator((row) => this.reader.clear(row));
  private readonly threads = new Map<string, ThreadMetrics>();
  private readonly tenantNames = allocateTenantNames();
  private readonly processMetrics = createProcessMetrics();
  private readonly onChunk: (chunk: MetricsChunk) => void;
  private chunksPerThread = 1;
  private readonly sources: (() => string)[] = [];

  /** `onChunk` tells the thread itself and all gateway threads of a chunk that came later. */
  constructor(onChunk: (chunk: MetricsChunk) => void) {
    this.onChunk = onChunk;
  }

  /** Further text for every scrape. */
  addSource(source: () => string): void {
    this.sources.push(source);
  }

  /** The memory of a thread about to start; the gateways hear of its chunks. */
  thread(name: string): ThreadMetrics {
    const metrics: ThreadMetrics = { chunks: [], tenants: allocateTenantBlock(), tenantNames: this.tenantNames };
    for (let i = 0; i < this.chunksPerThread; i++) {
      const chunk = allocateChunk();
      metrics.chunks.push(chunk);
      this.reader.addChunk(name, chunk);
      this.onChunk({ thread: name, chunk });
    }
    this.threads.set(name, metrics);
    return metrics;
  }

  /** Every chunk there is, for a gateway thread that starts now. */
  chunks(): MetricsChunk[] {
    return [...this.threads].flatMap(([thread, { chunks }]) => chunks.map((chunk) => ({ thread, chunk })));
  }

  /** The row of a version, with room for it in every thread. */
  acquire(model: string, version: string): number {
    const row = this.rows.acquire(model, version);
    while (Math.floor(row / ROWS_PER_CHUNK) >= this.chunksPerThread) this.grow();
    return row;
  }

  /** What each tenant asked and cost, summed over all threads. */
  tenants(): TenantFigures[] {
    return sumTenants(
      new TenantNames(this.tenantNames),
      [...this.threads.values()].map((thread) => thread.tenants),
    );
  }

  async prometheus(): Promise<string> {
    const own = renderPrometheus(this.reader, this.rows.names(), this.tenants());
    return own + this.sources.map((source) => source()).join('') + (await this.processMetrics.text());
  }

  private grow(): void {
    this.chunksPerThread++;
    for (const [thread, metrics] of this.threads) {
      const chunk = allocateChunk();
      metrics.chunks.push(chunk);
      this.reader.addChunk(thread, chunk);
      this.onChunk({ thread, chunk });
    }
  }
}
