import { Column } from '../../telemetry/metrics-layout.ts';
import { TenantColumn, type TenantFigures } from '../../telemetry/tenant-metrics.ts';
import type { AdminRoute } from '../route.ts';
import type { AdminServices } from '../services.ts';

const NUMBER = { type: 'number', minimum: 0 };
const COSTS = {
  requests: NUMBER,
  failures: NUMBER,
  bytes_in: NUMBER,
  bytes_out: NUMBER,
  cpu_seconds: NUMBER,
  gpu_seconds: NUMBER,
};

/** What each model version has cost since the process started. Versions that never had a request are left out unless loaded. */
function modelUsage({ hub, pool }: AdminServices): object[] {
  const memory = new Map<string, number>();
  for (const placed of pool.describe().versions) {
    const key = JSON.stringify([placed.model, placed.version]);
    memory.set(key, (memory.get(key) ?? 0) + placed.memoryBytes);
  }
  return hub.rows
    .names()
    .map(({ row, model, version }) => {
      const sums = hub.reader.sum(row);
      let failures = 0;
      for (let i = 0; i < 4; i++) failures += sums[Column.failure + i];
      return {
        model,
        version,
        requests: sums[Column.success] + failures,
        failures,
        inferences: sums[Column.inferenceCount],
        executions: sums[Column.executionCount],
        bytes_in: sums[Column.bytesIn],
        bytes_out: sums[Column.bytesOut],
        cpu_seconds: sums[Column.cpuSeconds],
        gpu_seconds: sums[Column.gpuSeconds],
        memory_bytes: memory.get(JSON.stringify([model, version])) ?? 0,
      };
    })
    .filter((usage) => usage.requests > 0 || usage.memory_bytes > 0);
}

function tenantUsage({ tenant, figures }: TenantFigures): object {
  return {
    tenant,
    requests: figures[TenantColumn.requests],
    failures: figures[TenantColumn.failures],
    bytes_in: figures[TenantColumn.bytesIn],
    bytes_out: figures[TenantColumn.bytesOut],
    cpu_seconds: figures[TenantColumn.cpuSeconds],
    gpu_seconds: figures[TenantColumn.gpuSeconds],
    memory_byte_seconds: figures[TenantColumn.memoryByteSeconds],
  };
}

export const usageRoutes: readonly AdminRoute[] = [
  {
    method: 'GET',
    path: '/api/v1/usage',
    role: 'operator',
    operationId: 'getUsage',
    summary: 'What each model version and each tenant has cost since the process started',
    response: {
      type: 'object',
      required: ['models', 'tenants'],
      properties: {
        models: {
          type: 'array',
          items: {
            type: 'object',
            properties: {
              model: { type: 'string' },
              version: { type: 'string' },
              ...COSTS,
              inferences: NUMBER,
              executions: NUMBER,
              memory_bytes: { ...NUMBER, description: 'Held now, over all executors' },
            },
          },
        },
        tenants: {
          type: 'array',
          items: {
            type: 'object',
            properties: {
              tenant: { type: 'string' },
              ...COSTS,
              memory_byte_seconds: { ...NUMBER, description: 'Memory of models by the time they ran for the tenant' },
            },
          },
        },
      },
    },
    handle: ({ services }) => ({
      body: { models: modelUsage(services), tenants: services.hub.tenants().map(tenantUsage) },
    }),
  },
];
