import { fileURLToPath } from 'node:url';
import type { LoadSpec } from '../backends/backend.ts';
import type { ModelConfig } from '../config/model-config.ts';
import { batching, policy } from './batching.ts';
import { modelConfig as completeConfig } from './models.ts';

/** Absolute folder of the committed models: a Triton repository. */
export const FIXTURES = fileURLToPath(new URL('./fixtures', import.meta.url));

/** A complete ModelConfig with everything off; `overrides` replaces whole fields. */
export function modelConfig(name: string, backend: string, overrides: Partial<ModelConfig> = {}): ModelConfig {
  const defaultQueuePolicy = policy({ allowTimeoutOverride: true });
  return completeConfig({
    name,
    backend,
    batching: batching({ enabled: false, maxBatchSize: 0, defaultQueuePolicy }),
    instanceGroups: [],
    ...overrides,
  });
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
