import type { ModelConfig, TensorSpec } from '../config/model-config.ts';

/** A complete configuration for tests: one FP32 input and output of `width`, batching up to 32. */
export function testModelConfig(overrides: Partial<ModelConfig> = {}, width = 4): ModelConfig {
  const spec = (name: string): TensorSpec => ({ name, datatype: 'FP32', dims: [width] });
  return {
    name: 'test',
    backend: 'onnxruntime',
    platform: 'onnxruntime_onnx',
    signature: { inputs: [spec('x')], outputs: [spec('y')], maxBatchSize: 32 },
    batching: {
      enabled: true,
      maxBatchSize: 32,
      preferredBatchSizes: [],
      maxQueueDelayMicros: 0,
      preserveOrdering: false,
      priorityLevels: 0,
      defaultPriorityLevel: 1,
      defaultQueuePolicy: {
        timeoutAction: 'REJECT',
        defaultTimeoutMicros: 0,
        allowTimeoutOverride: false,
        maxQueueSize: 0,
      },
      priorityQueuePolicy: new Map(),
      allowedBatchSizes: [],
    },
    instanceGroups: [],
    ensemble: undefined,
    maxInflight: 0,
    versionPolicy: { kind: 'latest', count: 1 },
    versionLabels: {},
    responseCache: false,
    decoupled: false,
    isolation: 'thread',
    warmup: [],
    parameters: {},
    latencyTargetMs: 0,
    raw: {},
    ...overrides,
  };
}
