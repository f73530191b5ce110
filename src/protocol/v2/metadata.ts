import type { ModelConfig, ModelSignature, TensorSpec } from '../../config/model-config.ts';
import type { ModelStatistics, ServingModel, StatDuration, VersionStatus } from '../../pipeline/types.ts';

/** Extensions of the v2 protocol that this server answers, by their names in Triton's documentation. */
export const EXTENSIONS: readonly string[] = [
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

/** GET /v2 */
export function serverMetadata(server: { name: string; version: string }): Record<string, unknown> {
  return { name: server.name, version: server.version, extensions: EXTENSIONS };
}

/** GET /v2/models/{m}: `versions` are the ready ones, ascending; with batching on, -1 stands for the batch dimension. */
export function modelMetadata(
  model: Pick<ServingModel, 'name' | 'versions'>,
  config: ModelConfig,
): Record<string, unknown> {
  return {
    name: model.name,
    versions: model.versions.map((version) => version.version).reverse(),
    platform: config.platform === '' ? config.backend : config.platform,
    inputs: config.signature.inputs.map((spec) => tensorMetadata(spec, config.signature)),
    outputs: config.signature.outputs.map((spec) => tensorMetadata(spec, config.signature)),
  };
}

function tensorMetadata(spec: TensorSpec, signature: ModelSignature): Record<string, unknown> {
  return {
    name: spec.name,
    datatype: spec.datatype,
    shape: signature.maxBatchSize > 0 ? [-1, ...spec.dims] : spec.dims,
  };
}

/** GET /v2/models/{m}/config */
export function modelConfigBody(config: ModelConfig): Record<string, unknown> {
  return config.raw;
}

/** GET /v2/models/stats and /v2/models/{m}/stats, with every field that Triton's clients and perf_analyzer read. */
export function statisticsBody(statistics: readonly ModelStatistics[]): Record<string, unknown> {
  return { model_stats: statistics.map(modelStatistics) };
}

function modelStatistics(stats: ModelStatistics): Record<string, unknown> {
  const durations = stats.inferenceStats;
  return {
    name: stats.name,
    version: stats.version,
    last_inference: stats.lastInference,
    inference_count: stats.inferenceCount,
    execution_count: stats.executionCount,
    inference_stats: {
      success: duration(durations.success),
      fail: duration(durations.fail),
      queue: duration(durations.queue),
      compute_input: duration(durations.compute_input),
      compute_infer: duration(durations.compute_infer),
      compute_output: duration(durations.compute_output),
      cache_hit: duration(durations.cache_hit),
      cache_miss: duration(durations.cache_miss),
    },
    response_stats: {},
    batch_stats: stats.batchStats.map((batch) => ({
      batch_size: batch.batchSize,
      compute_input: duration(batch.computeInput),
      compute_infer: duration(batch.computeInfer),
      compute_output: duration(batch.computeOutput),
    })),
    memory_usage: [],
  };
}

/** Clients read both as unsigned integers. */
function duration(value: StatDuration): { count: number; ns: number } {
  return { count: Math.round(value.count), ns: Math.round(value.ns) };
}

/** POST /v2/repository/index: a row per known version; a model without any known version has its name alone. */
export function repositoryIndexBody(
  models: readonly { name: string; versions: readonly VersionStatus[] }[],
): Record<string, unknown>[] {
  const rows: Record<string, unknown>[] = [];
  for (const model of models) {
    if (model.versions.length === 0) rows.push({ name: model.name });
    for (const { version, state, reason } of model.versions) {
      rows.push(state === 'UNKNOWN' ? { name: model.name, version } : { name: model.name, version, state, reason });
    }
  }
  return rows;
}

/** KServe's GET /v2/models. */
export function modelListBody(names: readonly string[]): Record<string, unknown> {
  return { models: names };
}
