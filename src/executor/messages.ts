import type { MessagePort } from 'node:worker_threads';
import type { LoadSpec, RuntimeSignature } from '../backends/backend.ts';
import type { ErrorCode } from '../shared/errors.ts';

/** Kinds of entries in a request frame: infer = [INFER, id, handle, rows, priority, deadline, outputs mask, inputs, tensors…]. */
export const INFER = 1;
/** [CANCEL, id, handle] */
export const CANCEL = 2;
/** As INFER, but not to share a batch: an executor has been lost over it, or over one of its batch mates. */
export const INFER_ALONE = 3;

/** Kinds of entries in a reply frame. OK = [OK, id, queue ms, input ms, infer ms, output ms, CPU ms, batch rows, outputs, tensors…]. */
export const REPLY_OK = 1;
/** As REPLY_OK, but more responses of the same request follow (decoupled models). */
export const REPLY_PARTIAL = 2;
/** A decoupled model's stream ended without a further response: [END, id]. */
export const REPLY_END = 3;
/** [ERROR, id, error code, text, retry after ms (0 = none), CPU ms, GPU ms]: of this request alone. */
export const REPLY_ERROR = 4;

/** Error codes by number in frames. */
export const ERROR_CODES: readonly ErrorCode[] = [
  'internal',
  'invalid_argument',
  'unavailable',
  'deadline_exceeded',
  'overloaded',
  'cancelled',
  'unsupported',
  'not_found',
  'failed_precondition',
  'payload_too_large',
  'permission_denied',
  'unauthenticated',
];

/** Control thread → executor. */
export type ExecutorCommand =
  | { kind: 'gateway'; gateway: number; port: MessagePort }
  | { kind: 'load'; call: number; handle: number; spec: LoadSpec; metricsRow: number }
  | { kind: 'unload'; call: number; handle: number }
  /** More room for this thread's counters. */
  | { kind: 'metricsChunk'; chunk: SharedArrayBuffer }
  | { kind: 'stop'; call: number };

/** Executor → control thread. */
export type ExecutorEvent =
  /** `thread`: its number as the kernel has it, if it was given cores. */
  | { kind: 'ready'; thread: number | undefined }
  | { kind: 'loaded'; call: number; signature: RuntimeSignature; memoryBytes: number }
  | { kind: 'done'; call: number }
  | { kind: 'failed'; call: number; code: ErrorCode; message: string }
  /** A process-isolated model's child died. */
  | { kind: 'crashed'; handle: number; message: string }
  /** A loaded version can execute nothing here from now on, and why; '': it can again. */
  | { kind: 'absence'; handle: number; absence: string }
  /** Resident bytes of a process-isolated model's child, every few seconds. */
  | { kind: 'memory'; handle: number; bytes: number };
