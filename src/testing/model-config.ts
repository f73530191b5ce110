import type { ModelConfig, TensorSpec } from '../config/model-config.ts';
import { modelConfig } from './models.ts';

/** A complete configuration for tests: one FP32 input and output of `width`, batching up to 32. */
export function testModelConfig(overrides: Partial<ModelConfig> = {}, width = 4): ModelConfig {
  const spec = (name: string): TensorSpec => ({ name, datatype: 'FP32', dims: [width] });
  const base = modelConfig({ name: 'test' });
  return {
    ...base,
    backend: 'onnxruntime',
    platform: 'onnxruntime_onnx',
    signature: { inputs: [spec('x')], outputs: [spec('y')], maxBatchSize: 32 },
    batching: { ...base.batching, enabled: true, maxBatchSize: 32 },
    ...overrides,
  };
}
