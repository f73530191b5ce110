import type { BackendModel, LoadSpec } from '../backends/backend.ts';
import { hangTimeoutMs } from '../backends/time-limits.ts';
import type { InputRule } from '../batching/gather.ts';
import { LatencyModel } from '../batching/latency-model.ts';
import { PoisonPolicy } from '../batching/poison.ts';
import { ModelQueue } from '../batching/queue.ts';
import type { QueueItem } from '../batching/types.ts';
import type { ModelConfig } from '../config/model-config.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { CallParameters, TraceContext } from './frame.ts';

/** A request waiting in, or running on, this executor. Its tensors are views into the frame it came in. */
export interface ExecutorItem extends QueueItem {
  /** The gateway thread's own id of the request. */
  id: number;
  gateway: number;
  inputs: Tensor[];
  /** Bit k set = output k of the signature is wanted; 0 = all. */
  outputs: number;
  /** Those that its model reads, if any. */
  parameters: CallParameters | undefined;
  /** Of a request to another server whose caller traces it. */
  trace: TraceContext | undefined;
  /** Set while a remote or process backend works on it, so that a cancel reaches it. */
  abort: AbortController | undefined;
  /** Milliseconds of CPUs and GPUs that fell to it in runs which failed; undefined: there was none. */
  spent: { cpu: number; gpu: number } | undefined;
}

/** One version loaded on this executor: its backend model, its queue and what it has learned about its speed. */
export class LoadedModel {
  readonly handle: number;
  readonly config: ModelConfig;
  readonly model: BackendModel;
  readonly blocking: boolean;
  readonly metricsRow: number;
  readonly latency = new LatencyModel();
  readonly queue: ModelQueue<ExecutorItem>;
  /** Requests running on a backend that can still be told to stop. Ids are each gateway thread's own: no key by themselves. */
  readonly running = new Set<ExecutorItem>();
  readonly poison = new PoisonPolicy();
  readonly onGpu: boolean;
  /** Milliseconds after which a run in this thread is taken for one that never ends. */
  readonly hangTimeoutMs: number;
  readonly outputNames: string[];
  readonly batched: boolean;
  private readonly rules: (InputRule | undefined)[];
  private readonly anyRagged: boolean;
  private gpuCountedMs = 0;
  /** True when every dim of every input is fixed, so that all requests may share a batch. */
  readonly fixedShapes: boolean;
  inFlight = 0;
  /** monotonicMs() before which the queue has said that it will not form a batch; reset by each arrival. */
  notBefore = 0;
  /** Resolves the unload once nothing is queued or running. */
  onDrained: (() => void) | undefined;

  constructor(handle: number, spec: LoadSpec, model: BackendModel, blocking: boolean, metricsRow: number) {
    this.handle = handle;
    this.config = spec.config;
    this.model = model;
    this.blocking = blocking;
    this.metricsRow = metricsRow;
    this.queue = new ModelQueue<ExecutorItem>(spec.config.batching, this.latency, {
      latencyTargetMs: spec.config.latencyTargetMs,
      // A request without a deadline is as urgent as one due this long after its arrival, so that none starves.
      patienceMs: 1000,
    });
    this.hangTimeoutMs = hangTimeoutMs(spec);
    this.outputNames = spec.config.signature.outputs.map((output) => output.name);
    this.onGpu = spec.device >= 0 || spec.config.instanceGroups.some((group) => group.kind === 'gpu');
    this.rules = spec.config.signature.inputs.map((input) =>
      input.ragged ? { ragged: true, padValue: input.padValue ?? 0 } : undefined,
    );
    this.anyRagged = this.rules.some((rule) => rule !== undefined);
    this.batched = spec.config.signature.maxBatchSize > 0;
    this.fixedShapes = spec.config.signature.inputs.every(
      (input) => !input.optional && input.datatype !== 'BYTES' && input.dims.every((dim) => dim >= 0),
    );
  }

  /**
   * Milliseconds of GPUs since the last call: batches that overlap there say together how long it was busy. `inferMs`: of
   * what has ended just now, for a model whose batches do not overlap.
   */
  gpuMs(inferMs: number): number {
    const busy = this.model.gpuBusyMs;
    if (busy === undefined) return inferMs;
    const fresh = busy - this.gpuCountedMs;
    this.gpuCountedMs = busy;
    return fresh;
  }

  get idle(): boolean {
    return this.inFlight === 0 && this.queue.size === 0;
  }

  /** Milliseconds a batch of `paddedRows` is expected to take; infinite before anything was observed. */
  expectedMs(paddedRows: number): number {
    return this.latency.observations === 0 ? Number.POSITIVE_INFINITY : this.latency.expected(paddedRows);
  }

  /**
   * Equal keys may share a batch: the same inputs with the same non-batch, non-ragged dims, the same wanted outputs, the same
   * parameters.
   */
  shapeKey(inputs: Tensor[], outputs: number, parameters: CallParameters | undefined): string {
    if (this.fixedShapes && outputs === 0 && parameters === undefined) return '';
    let key = String(outputs);
    if (parameters !== undefined) key += canonical(parameters);
    const batched = this.batched ? 1 : 0;
    for (const input of inputs) {
      const spec = this.config.signature.inputs.find((declared) => declared.name === input.name);
      key += `;${input.name}`;
      for (let i = batched; i < input.shape.length; i++) {
        key += spec?.ragged && spec.dims[i - batched] === -1 ? ',*' : `,${input.shape[i]}`;
      }
    }
    return key;
  }

  /** How each of these inputs merges, in their order. */
  inputRules(inputs: readonly Tensor[]): readonly (InputRule | undefined)[] {
    if (!this.anyRagged) return NO_RULES;
    const declared = this.config.signature.inputs;
    return inputs.map((input) => this.rules[declared.findIndex((spec) => spec.name === input.name)]);
  }

  wantedOutputs(mask: number): readonly string[] {
    if (mask === 0) return NO_NAMES;
    return this.outputNames.filter((_, index) => (mask & (1 << index)) !== 0);
  }
}

/** One text for the same parameters in any order, and for no others. */
function canonical(parameters: CallParameters): string {
  let text = '';
  for (const name of Object.keys(parameters).sort()) {
    const value = parameters[name];
    text += `;${JSON.stringify(name)}=${typeof value === 'string' ? JSON.stringify(value) : value}`;
  }
  return text;
}

const NO_RULES: readonly undefined[] = [];
const NO_NAMES: readonly string[] = [];
