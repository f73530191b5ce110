import { collectDefaultMetrics, Registry } from 'prom-client';
import { FAILURE_REASONS } from './metrics-block.ts';
import {
  BATCH_COLUMNS,
  BATCH_OFFSET,
  BATCH_SLOTS,
  BUCKETS,
  batchSlotSize,
  Column,
  LATENCY_BOUNDS,
  STAGES,
} from './metrics-layout.ts';
import type { MetricsReader, RowName } from './metrics-reader.ts';
import { TenantColumn, type TenantFigures } from './tenant-metrics.ts';

interface Family {
  name: string;
  help: string;
  type: 'counter' | 'gauge';
  column: number;
  /** Multiplies the stored figure: ns to µs. */
  scale: number;
}

const US = 1e-3;
const FAMILIES: readonly Family[] = [
  family('nv_inference_request_success', 'Number of successful inference requests', Column.success),
  family('nv_inference_count', 'Number of inferences performed, a batch of n counted as n', Column.inferenceCount),
  family('nv_inference_exec_count', 'Number of model executions', Column.executionCount),
  {
    ...family('nv_inference_pending_request_count', 'Requests accepted and not yet answered', Column.pending),
    type: 'gauge',
  },
  family('nv_inference_request_duration_us', 'Cumulative time of successful requests', Column.requestNs, US),
  family('nv_inference_queue_duration_us', 'Cumulative time in the queue', Column.queueNs, US),
  family('nv_inference_compute_input_duration_us', 'Cumulative time forming batches', Column.computeInputNs, US),
  family('nv_inference_compute_infer_duration_us', 'Cumulative time executing the model', Column.computeInferNs, US),
  family('nv_inference_compute_output_duration_us', 'Cumulative time splitting outputs', Column.computeOutputNs, US),
  family('nv_cache_num_hits_per_model', 'Number of response cache hits', Column.cacheHit),
  family('nv_cache_num_misses_per_model', 'Number of response cache misses', Column.cacheMiss),
  { ...family('switchyard_queue_depth', 'Requests waiting in executor queues', Column.queued), type: 'gauge' },
  family('switchyard_request_bytes_total', 'Bytes of request tensors', Column.bytesIn),
  family('switchyard_response_bytes_total', 'Bytes of response tensors', Column.bytesOut),
  family('switchyard_model_cpu_seconds_total', 'CPU time spent executing the model', Column.cpuSeconds),
  family('switchyard_model_gpu_seconds_total', 'GPU time spent executing the model, estimated', Column.gpuSeconds),
];

const TENANT_FAMILIES: readonly { name: string; help: string; column: number }[] = [
  { name: 'switchyard_tenant_requests_total', help: 'Requests by tenant', column: TenantColumn.requests },
  { name: 'switchyard_tenant_failures_total', help: 'Failed requests by tenant', column: TenantColumn.failures },
  { name: 'switchyard_tenant_request_bytes_total', help: 'Request bytes by tenant', column: TenantColumn.bytesIn },
  { name: 'switchyard_tenant_response_bytes_total', help: 'Response bytes by tenant', column: TenantColumn.bytesOut },
  {
    name: 'switchyard_tenant_cpu_seconds_total',
    help: 'CPU time by tenant, shared by rows of a batch',
    column: TenantColumn.cpuSeconds,
  },
  {
    name: 'switchyard_tenant_gpu_seconds_total',
    help: 'GPU time by tenant, estimated',
    column: TenantColumn.gpuSeconds,
  },
  {
    name: 'switchyard_tenant_memory_byte_seconds_total',
    help: 'Memory of models by the time they ran for the tenant, estimated',
    column: TenantColumn.memoryByteSeconds,
  },
];

function family(name: string, help: string, column: number, scale = 1): Family {
  return { name, help, type: 'counter', column, scale };
}

/** Escapes a label value for the text format: backslash, double quote and line feed. */
export function escapeLabel(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}

function head(lines: string[], name: string, help: string, type: string): void {
  lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`);
}

/**
 * The Prometheus text of all model versions and tenants, off the request path. Triton's names where Triton has one;
 * histograms only of versions that have observations.
 */
export function renderPrometheus(
  reader: MetricsReader,
  names: readonly RowName[],
  tenants: readonly TenantFigures[] = [],
): string {
  const lines: string[] = [];
  const rows = names.map(({ row, model, version }) => ({
    labels: `model="${escapeLabel(model)}",version="${escapeLabel(version)}"`,
    sums: reader.sum(row),
  }));
  for (const { name, help, type, column, scale } of FAMILIES) {
    head(lines, name, help, type);
    for (const { labels, sums } of rows) {
      lines.push(`${name}{${labels}} ${scale === US ? Math.round(sums[column] * US) : sums[column]}`);
    }
  }
  head(lines, 'nv_inference_request_failure', 'Number of failed inference requests', 'counter');
  for (const { labels, sums } of rows) {
    for (let reason = 0; reason < FAILURE_REASONS.length; reason++) {
      lines.push(
        `nv_inference_request_failure{${labels},reason="${FAILURE_REASONS[reason]}"} ${sums[Column.failure + reason]}`,
      );
    }
  }
  renderStages(lines, rows);
  renderBatchSizes(lines, rows);
  for (const { name, help, column } of TENANT_FAMILIES) {
    head(lines, name, help, 'counter');
    for (const { tenant, figures } of tenants)
      lines.push(`${name}{tenant="${escapeLabel(tenant)}"} ${figures[column]}`);
  }
  lines.push('');
  return lines.join('\n');
}

/** What loaded versions hold, in bytes over all their executors. A version may be there twice while it is swapped. */
export function renderModelMemory(
  versions: readonly { model: string; version: string; memoryBytes: number }[],
): string {
  const bytes = new Map<string, number>();
  for (const { model, version, memoryBytes } of versions) {
    const labels = `model="${escapeLabel(model)}",version="${escapeLabel(version)}"`;
    bytes.set(labels, (bytes.get(labels) ?? 0) + memoryBytes);
  }
  const name = 'switchyard_model_memory_bytes';
  const lines: string[] = [];
  head(lines, name, 'Memory that a loaded version holds, over all executors', 'gauge');
  for (const [labels, value] of bytes) lines.push(`${name}{${labels}} ${value}`);
  lines.push('');
  return lines.join('\n');
}

/** Executor threads that were replaced, and those of them that could not be ended. */
export function renderExecutorLosses(losses: { ended: number; hung: number; abandoned: number }): string {
  const lines: string[] = [];
  const lost = 'switchyard_executors_replaced_total';
  head(lines, lost, 'Executor threads that were replaced, because they ended or because they hung', 'counter');
  for (const reason of ['ended', 'hung'] as const) lines.push(`${lost}{reason="${reason}"} ${losses[reason]}`);
  const stuck = 'switchyard_executors_stuck';
  head(lines, stuck, 'Replaced threads inside native code that does not return', 'gauge');
  lines.push(`${stuck} ${losses.abandoned}`, '');
  return lines.join('\n');
}

interface Row {
  labels: string;
  sums: Float64Array;
}

function renderStages(lines: string[], rows: readonly Row[]): void {
  const name = 'switchyard_stage_duration_seconds';
  head(lines, name, 'Time of successful requests by stage', 'histogram');
  for (const { labels, sums } of rows) {
    for (let stage = 0; stage < STAGES.length; stage++) {
      const stageLabels = `${labels},stage="${STAGES[stage]}"`;
      const start = Column.histograms + stage * BUCKETS;
      let count = 0;
      for (let b = 0; b < BUCKETS; b++) count += sums[start + b];
      if (count === 0) continue;
      let below = 0;
      for (let b = 0; b < LATENCY_BOUNDS.length; b++) {
        below += sums[start + b];
        lines.push(`${name}_bucket{${stageLabels},le="${LATENCY_BOUNDS[b]}"} ${below}`);
      }
      lines.push(`${name}_bucket{${stageLabels},le="+Inf"} ${count}`);
      lines.push(`${name}_sum{${stageLabels}} ${sums[Column.requestNs + stage] / 1e9}`);
      lines.push(`${name}_count{${stageLabels}} ${count}`);
    }
  }
}

function renderBatchSizes(lines: string[], rows: readonly Row[]): void {
  const name = 'switchyard_batch_size';
  head(lines, name, 'Rows per executed batch', 'histogram');
  for (const { labels, sums } of rows) {
    let count = 0;
    for (let slot = 0; slot < BATCH_SLOTS; slot++) count += sums[BATCH_OFFSET + slot * BATCH_COLUMNS];
    if (count === 0) continue;
    let below = 0;
    for (let slot = 0; slot < BATCH_SLOTS - 1; slot++) {
      below += sums[BATCH_OFFSET + slot * BATCH_COLUMNS];
      const size = batchSlotSize(slot);
      if ((size & (size - 1)) === 0) lines.push(`${name}_bucket{${labels},le="${size}"} ${below}`);
    }
    lines.push(`${name}_bucket{${labels},le="+Inf"} ${count}`);
    lines.push(`${name}_sum{${labels}} ${sums[Column.inferenceCount]}`, `${name}_count{${labels}} ${count}`);
  }
}

/** prom-client's figures of this process (CPU, memory, event loop, GC) as text in the same format. */
export function createProcessMetrics(): { text(): Promise<string>; close(): void } {
  const register = new Registry();
  collectDefaultMetrics({ register });
  return { text: () => register.metrics(), close: () => register.clear() };
}
