import { fileURLToPath } from 'node:url';
import type { LoadSpec } from '../backends/backend.ts';
import type { ModelConfig, QueuePolicy } from '../config/model-config.ts';

/** Absolute folder of the committed models: a Triton repository. */
export const FIXTURES = fileURLToPath(new URL('./fixtures', import.meta.url));

const QUEUE_POLICY: QueuePolicy = {
  timeoutAction: 'REJECT',
  defaultTimeoutMicros: 0,
  allowTimeoutOverride: true,
  maxQueueSize: 0,
};

/** A complete ModelConfig with everything off; `overrides` replaces whole fields. */
export function modelConfig(name: string, backend: string, overrides: Partial<ModelConfig> = {}): ModelConfig {
  return {
    name,
    backend,
    platform: '',
    signature: { inputs: [], outputs: [], maxBatchSize: 0 },
    batching: {
      enabled: false,
      maxBatchSize: 0,
      preferredBatchSizes: [],
      maxQueueDelayMicros: 0,
      preserveOrdering: false,
      priorityLevels: 0,
      defaultPriorityLevel: 0,
      defaultQueuePolicy: QUEUE_POLICY,
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

/** The spec that loads version 1 of a committed fixture. */
export function fixtureSpec(name: string, overrides: Partial<ModelConfig> = {}): LoadSpec {
  return {
    model: name,
    version: '1',
    config: modelConfig(name, 'onnxruntime', overrides),
    directory: `${FIXTURES}/${name}/1`,
    modelDirectory: `${FIXTURES}/${name}`,
    device: -1,
  };
}
