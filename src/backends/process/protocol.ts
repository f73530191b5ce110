import type { ErrorCode } from '../../shared/errors.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import type { LoadSpec, RuntimeSignature } from '../backend.ts';

/** Messages between an executor and its child, over the IPC channel with advanced serialization. */
export type ToChild =
  | { type: 'load'; backend: string; spec: LoadSpec }
  | { type: 'execute'; id: number; inputs: Tensor[]; outputs: readonly string[]; parameters: CallParameters }
  | { type: 'unload' };

export type CallParameters = Record<string, string | number | boolean> | undefined;

export type FromChild =
  | { type: 'loaded'; signature: RuntimeSignature; memoryBytes: number }
  | { type: 'result'; id: number; outputs: Tensor[] }
  /** `id` is 0 when the load failed. */
  | { type: 'error'; id: number; code: ErrorCode; message: string };
