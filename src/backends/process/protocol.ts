import type { ErrorCode } from '../../shared/errors.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import type { LoadSpec, RuntimeSignature } from '../backend.ts';

/** Responses of a stream that the child may send ahead of its reader. */
export const STREAM_WINDOW = 16;

/** Messages between an executor and its child, over the IPC channel with advanced serialization. */
export type ToChild =
  | { type: 'load'; backend: string; spec: LoadSpec }
  | ExecuteOrder
  /** The answer is not wanted any more; the child still ends the request with a message of its own. */
  | { type: 'cancel'; id: number }
  /** A stream's reader took one response: one more may be sent. */
  | { type: 'more'; id: number }
  | { type: 'unload' };

export interface ExecuteOrder {
  type: 'execute';
  id: number;
  inputs: Tensor[];
  outputs: readonly string[];
  parameters: CallParameters;
  /** As ExecuteOptions has it: the clock is the machine's. */
  deadline: number;
  /** True: answered by any number of `part` and then `end`; false: by one `result`. Either may be an `error` instead. */
  stream: boolean;
}

export type CallParameters = Record<string, string | number | boolean> | undefined;

export type FromChild =
  | { type: 'loaded'; signature: RuntimeSignature; memoryBytes: number; streams: boolean }
  | Answer
  /** What the loaded model says of itself, once it has changed. */
  | { type: 'absence'; absence: string }
  /** `id` is 0 when the load failed. */
  | ({ type: 'error'; id: number; code: ErrorCode; message: string } & Cost);

export type Answer = (
  | { type: 'result'; id: number; outputs: Tensor[] }
  | { type: 'part'; id: number; outputs: Tensor[] }
  | { type: 'end'; id: number }
) &
  Cost;

/** Microseconds of CPU that the child's threads have used since its last message of this kind, or since the load. */
interface Cost {
  cpuUs: number;
}
