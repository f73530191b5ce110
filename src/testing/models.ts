import type { ModelConfig, TensorSpec } from '../config/model-config.ts';
import { batching } from './batching.ts';

/** A complete configuration with what a test does not care about filled in. */
export function modelConfig(overrides: Partial<ModelConfig> & { name: string }): ModelConfig {
  return {
    backend: 'javascript',
    platform: '',
    signature: { inputs: [], outputs: [], maxBatchSize: 0 },
    batching: batching(),
    instanceGroups: [{ kind: 'cpu', count: 1, gpus: [] }],
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

export function spec(name: string, datatype: TensorSpec['datatype'], dims: number[], optional = false): TensorSpec {
  return { name, datatype, dims, optional };
}
