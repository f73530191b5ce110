import type { ModelConfig } from '../config/model-config.ts';
import { SwitchyardError } from '../shared/errors.ts';
import { native } from '../tensor/native.ts';
import type { Backend } from './backend.ts';
import { gpuInstances, hasFixedTensors, instanceDevices } from './instances.ts';
import { onnxRuntimeWay } from './onnx/runtime-way.ts';

type Factory = () => Promise<Backend>;

/**
 * Canonical backend name → how to make it. The imports are inside, so that a thread pays only for the runtimes of its
 * own models: ONNX Runtime's library and grpc-js each cost tens of milliseconds and megabytes.
 */
const FACTORIES: Readonly<Record<string, Factory>> = {
  onnxruntime: async () => new (await import('./onnx/backend.ts')).OnnxBackend(),
  javascript: async () => (await import('./javascript/backend.ts')).javascriptBackend,
  triton: async () => new (await import('./v2grpc/backend.ts')).V2GrpcBackend('triton'),
  kserve: async () => new (await import('./v2grpc/backend.ts')).V2GrpcBackend('kserve'),
  tfserving: async () => new (await import('./tfserving/backend.ts')).TfServingBackend(),
};

/** Other names for them: Triton's platforms, and what users call the servers. */
const ALIASES: Readonly<Record<string, string>> = {
  onnx: 'onnxruntime',
  onnxruntime_onnx: 'onnxruntime',
  tritonserver: 'triton',
  v2: 'kserve',
  mlserver: 'kserve',
  v2_grpc: 'kserve',
  switchyard: 'kserve',
  tensorflow_serving: 'tfserving',
  tf_serving: 'tfserving',
};

/** The canonical name of a backend or platform. Throws invalid_argument for one that does not exist. */
export function backendName(name: string): string {
  const lower = name.toLowerCase();
  const canonical = Object.hasOwn(ALIASES, lower) ? ALIASES[lower] : lower;
  if (Object.hasOwn(FACTORIES, canonical)) return canonical;
  throw new SwitchyardError(
    'invalid_argument',
    `backend "${name}" does not exist; there are ${Object.keys(FACTORIES).join(', ')}. ` +
      'Serve other formats through a triton, kserve or tfserving backend, or export the model to ONNX',
  );
}

/** Whether a backend computes in the thread that calls it, known without loading its runtime. */
export function backendBlocks(name: string): boolean {
  const canonical = backendName(name);
  return canonical === 'onnxruntime' || canonical === 'javascript';
}

/**
 * Whether a model computes in the thread that calls it. ONNX models in the slots of a GPU do not: the addon's threads wait
 * for it.
 */
export function modelBlocks(config: ModelConfig): boolean {
  if (!backendBlocks(config.backend)) return false;
  if (backendName(config.backend) !== 'onnxruntime' || onnxRuntimeWay() === 'node' || native === undefined) return true;
  return gpuInstances(instanceDevices(config.instanceGroups)).length === 0 || !hasFixedTensors(config);
}

/** Makes the backend for `name` (canonical or alias). Each call makes a new one. */
export function createBackend(name: string): Promise<Backend> {
  return FACTORIES[backendName(name)]();
}
