import type { ModelConfig, TensorSpec } from '../config/model-config.ts';
import type { Tensor } from '../tensor/tensor.ts';

/** What a backend needs to load one version of one model. Plain data: it crosses threads and processes. */
export interface LoadSpec {
  model: string;
  version: string;
  config: ModelConfig;
  /** Absolute folder `<repo>/<model>/<version>`; '' for models without files (remote ones). */
  directory: string;
  /** Absolute folder `<repo>/<model>`. */
  modelDirectory: string;
  /** GPU of this instance, or -1. */
  device: number;
}

/** What the runtime itself says of the model, batch dimension included where it has one. */
export interface RuntimeSignature {
  inputs: TensorSpec[];
  outputs: TensorSpec[];
  /** Where the runtime knows it (remote servers): the largest batch it takes, 0 = it does not batch. */
  maxBatchSize?: number;
  /** Where the runtime knows it: any number of responses for one request. */
  decoupled?: boolean;
}

/**
 * A loaded version. `execute` takes whole batches: tensors aligned to their element size, batch dimension first.
 * It may keep no reference to the inputs' bytes after it settles, and gives the outputs' bytes away.
 */
export interface BackendModel {
  readonly signature: RuntimeSignature;
  /** Given where it differs from its backend's: false for a model whose batches run on a GPU. */
  readonly blocking?: boolean;
  /** Batches that may be in flight at once. */
  readonly concurrency: number;
  /** Estimated resident bytes, for the memory budget. */
  readonly memoryBytes: number;
  /** True: `execute` takes inputs of a batch in pieces (PiecedTensor), and copies them itself to where they are read. */
  readonly takesPieces?: boolean;
  /** Milliseconds for which the model has kept GPUs busy so far, the sum over them. Absent: its runs do not overlap. */
  readonly gpuBusyMs?: number;
  /** `outputs`: the requested names, empty = all. Throws SwitchyardError or an Error with a readable message. */
  execute(inputs: Tensor[], options: ExecuteOptions): Tensor[] | Promise<Tensor[]>;
  /**
   * As `execute`, to warm the model up: computes on a thread that gives way to those that serve, and answers nothing. Absent:
   * only `execute` warms it up.
   */
  rehearse?(inputs: Tensor[]): Promise<void>;
  /** Decoupled models: any number of responses for one request. */
  executeStream?(inputs: Tensor[], options: ExecuteOptions): AsyncIterable<Tensor[]>;
  /**
   * Why it can execute nothing at the moment, '' = it can: its process is gone, every replica is away, its GPUs are lost.
   * Absent: it always can.
   */
  absence?(): string;
  /** Has `changed` called whenever `absence` may answer otherwise than before. Once, by whoever has it loaded. */
  watchAbsence?(changed: () => void): void;
  /**
   * Models that run in a process of their own: the CPU seconds it has used, over all its threads, since this was last
   * asked, up to its last answer. Absent: the model computes in the caller's thread, or on another server.
   */
  takeCpuSeconds?(): number;
  unload(): Promise<void>;
}

export interface ExecuteOptions {
  outputs: readonly string[];
  /** monotonicMs() by which the answer is wanted; Infinity: none. */
  deadline: number;
  /** Only remote and process backends can make use of it. */
  signal?: AbortSignal;
  /** Of the requests, all of which have the same; undefined: none. Those for the gateway are not among them. */
  parameters?: Record<string, string | number | boolean>;
  /** W3C's trace context to send along, the state '' where there is none; only for backends on other servers. */
  trace?: { traceparent: string; tracestate: string };
}

/** One per runtime, living in an executor thread (or in a child process behind the process backend). */
export interface Backend {
  readonly name: string;
  /** True: execute blocks its thread, so such models get executors of the compute pool; false: they get I/O executors. */
  readonly blocking: boolean;
  /** Does what the first `load` in this process would, as far as it needs no model. Problems are left to `load`. */
  prepare?(): void;
  load(spec: LoadSpec): Promise<BackendModel>;
}
