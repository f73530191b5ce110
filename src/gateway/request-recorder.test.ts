import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RequestContext, ServingVersion } from '../pipeline/types.ts';
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
