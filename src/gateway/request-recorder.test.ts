import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Pending } from '../pipeline/pending.ts';
import type { InferRequest, RequestContext, ServingVersion } from '../pipeline/types.ts';
import { SwitchyardError } from '../shared/errors.ts';
import type { Logger } from '../telemetry/logging.ts';
import { allocateChunk } from '../telemetry/metrics-block.ts';
import {
  allocateTenantBlock,
  allocateTenantNames,
  sumTenants,
  TenantColumn,
  TenantNames,
} from '../telemetry/tenant-metrics.ts';
import type { RequestTracer } from '../telemetry/tracing.ts';
import { RequestRecorder } from './request-recorder.ts';

test('tenants share what a batch used, by their rows', () => {
  const metrics = { chunks: [allocateChunk()], tenants: allocateTenantBlock(), tenantNames: allocateTenantNames() };
  const recorder = new RequestRecorder(metrics, { enabled: false } as RequestTracer, {} as Logger);
  const version = { metricsRow: 0, memoryBytes: 4000, executors: [0, 1] } as ServingVersion;
  const timings = {
    queue: 9,
    computeInput: 100,
    computeInfer: 300,
    computeOutput: 100,
    cpu: 400,
    gpu: 200,
    batchSize: 4,
  };
  for (const [tenant, rows] of [
    ['acme', 3],
    ['globex', 1],
  ] as const) {
    const context = { tenant, receivedAt: 1 } as RequestContext;
    const request = { id: '' } as InferRequest;
    recorder.success({ version, context, request, inputBytes: 0, rows } as Pending, [], timings, 600);
    recorder.success({ version, context, request, inputBytes: 0, rows } as Pending, [], undefined, 600);
  }
  const sums = sumTenants(new TenantNames(metrics.tenantNames), [metrics.tenants]);
  assert.deepEqual(
    sums.map(({ tenant, figures }) => [
      tenant,
      figures[TenantColumn.requests],
      Math.round(1000 * figures[TenantColumn.cpuSeconds]),
      Math.round(1000 * figures[TenantColumn.gpuSeconds]),
      Math.round(figures[TenantColumn.memoryByteSeconds]),
    ]),
    [
      ['acme', 2, 300, 150, 750],
      ['globex', 2, 100, 50, 250],
    ],
  );
});

test('a tenant is charged for what its failed requests used', () => {
  const metrics = { chunks: [allocateChunk()], tenants: allocateTenantBlock(), tenantNames: allocateTenantNames() };
  const recorder = new RequestRecorder(metrics, { enabled: false } as RequestTracer, {} as Logger);
  const version = { metricsRow: 0 } as ServingVersion;
  const context = { tenant: 'acme', receivedAt: 1 } as RequestContext;
  const error = new SwitchyardError('invalid_argument', 'the model refused it');
  recorder.failure(version, { id: '' }, context, error, 5, 250, 2000);
  recorder.failure(version, { id: '' }, context, error);
  const [{ tenant, figures }] = sumTenants(new TenantNames(metrics.tenantNames), [metrics.tenants]);
  assert.deepEqual(
    [tenant, figures[TenantColumn.failures], figures[TenantColumn.cpuSeconds], figures[TenantColumn.gpuSeconds]],
    ['acme', 2, 0.25, 2],
  );
});
