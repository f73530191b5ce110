import type { TensorSpec } from '../../config/model-config.ts';
import type { ModelStatistics, ServingVersion, StatDuration } from '../../pipeline/types.ts';
import { SwitchyardError } from '../../shared/errors.ts';
import type { GatewayServices } from '../services.ts';
import { type Access, guard, type Handlers } from './guarded.ts';
import { findModel, findVersion } from './lookup.ts';

const EXTENSIONS = [
  'classification',
  'model_repository',
  'model_repository(unload_dependents)',
  'schedule_policy',
  'model_configuration',
  'binary_tensor_data',
  'parameters',
  'statistics',
  'trace',
  'logging',
];

interface Named {
  name: string;
  version: string;
}

/** Health, metadata, statistics and shared-memory methods of GRPCInferenceService. */
export function inferenceHandlers(services: GatewayServices): Handlers {
  const open = <T>(handler: (request: T) => unknown) => guard<T>(services, 'anyone', handler);
  const known = <T>(handler: (request: T) => unknown) => guard<T>(services, 'caller', handler);
  const { server } = services;
  return {
    ServerLive: open(() => ({ live: server.live() })),
    ServerReady: open(() => ({ ready: server.ready() })),
    ModelReady: open<Named>((request) => ({ ready: isReady(services, request) })),
    ServerMetadata: known(() => ({ name: server.name, version: server.version, extensions: EXTENSIONS })),
    ModelMetadata: known<Named>((request) => metadata(services, request)),
    ModelConfig: known<Named>((request) => ({
      config: findVersion(services.table(), request.name, request.version).config.raw,
    })),
    ModelStatistics: known<Named>((request) => ({
      model_stats: services.statistics(request.name, request.version).map(statistics),
    })),
    ...sharedMemoryHandlers(services),
  };
}

function isReady(services: GatewayServices, request: Named): boolean {
  const model = services.table().models.get(request.name);
  if (model === undefined) return false;
  if (request.version === '') return model.versions.length > 0;
  return model.versions.some((candidate) => candidate.version === request.version);
}

function metadata(services: GatewayServices, request: Named): object {
  const table = services.table();
  const chosen = findVersion(table, request.name, request.version);
  const all = findModel(table, request.name).versions.map((candidate) => candidate.version);
  const { config } = chosen;
  return {
    name: request.name,
    versions: request.version === '' ? all.reverse() : [chosen.version],
    platform: config.platform === '' ? config.backend : config.platform,
    inputs: config.signature.inputs.map((spec) => tensorMetadata(spec, chosen)),
    outputs: config.signature.outputs.map((spec) => tensorMetadata(spec, chosen)),
  };
}

function tensorMetadata(spec: TensorSpec, version: ServingVersion): object {
  const batched = version.config.signature.maxBatchSize > 0;
  return { name: spec.name, datatype: spec.datatype, shape: batched ? [-1, ...spec.dims] : spec.dims };
}

function statistics(stats: ModelStatistics): object {
  const inference: Record<string, object> = {};
  for (const [name, duration] of Object.entries(stats.inferenceStats)) inference[name] = wire(duration);
  return {
    name: stats.name,
    version: stats.version,
    last_inference: Math.floor(stats.lastInference),
    inference_count: stats.inferenceCount,
    execution_count: stats.executionCount,
    inference_stats: inference,
    batch_stats: stats.batchStats.map((batch) => ({
      batch_size: batch.batchSize,
      compute_input: wire(batch.computeInput),
      compute_infer: wire(batch.computeInfer),
      compute_output: wire(batch.computeOutput),
    })),
  };
}

function wire(duration: StatDuration): StatDuration {
  return { count: duration.count, ns: Math.round(duration.ns) };
}

/** Shared memory is not offered: there is nothing to list or to let go, and registering says so. */
function sharedMemoryHandlers(services: GatewayServices): Handlers {
  const handlers: Handlers = {};
  const access: Access = 'caller';
  for (const kind of ['SystemSharedMemory', 'CudaSharedMemory']) {
    handlers[`${kind}Status`] = guard(services, access, () => ({ regions: {} }));
    handlers[`${kind}Unregister`] = guard(services, access, () => ({}));
    handlers[`${kind}Register`] = guard(services, access, () => {
      throw new SwitchyardError('unsupported', 'shared memory is not supported here; send tensors in raw contents');
    });
  }
  return handlers;
}
