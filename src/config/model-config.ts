import type { DataType } from '../tensor/tensor.ts';
import type { FeatureJoin } from './feature-join.ts';
import type { ModelValidation } from './model-validation.ts';

/** One declared tensor of a model. `dims` excludes the batch dimension when `maxBatchSize` > 0; -1 is any length. */
export interface TensorSpec {
  name: string;
  datatype: DataType;
  dims: number[];
  /** Input may be left out of a request. */
  optional?: boolean;
  /** Items of a batch may differ in their variable dims: the gateway pads them with `padValue` and unpads the outputs. */
  ragged?: boolean;
  padValue?: number;
  /** Triton's reshape: the shape the backend sees, without the batch dimension. */
  reshape?: number[];
  /** Class labels (Triton's label_filename), for the classification extension. */
  labels?: string[];
}

/** What a caller must send and gets back. */
export interface ModelSignature {
  inputs: TensorSpec[];
  outputs: TensorSpec[];
  /** 0: the model has no batch dimension and requests are never merged. */
  maxBatchSize: number;
}

export interface QueuePolicy {
  timeoutAction: 'REJECT' | 'DELAY';
  /** 0: none. */
  defaultTimeoutMicros: number;
  allowTimeoutOverride: boolean;
  /** 0: unlimited. */
  maxQueueSize: number;
}

export interface BatchingConfig {
  /** False: each request runs alone, in order. */
  enabled: boolean;
  maxBatchSize: number;
  /** Ascending. */
  preferredBatchSizes: number[];
  maxQueueDelayMicros: number;
  preserveOrdering: boolean;
  /** 0: priorities are off. Level 1 is the highest. */
  priorityLevels: number;
  defaultPriorityLevel: number;
  defaultQueuePolicy: QueuePolicy;
  priorityQueuePolicy: Map<number, QueuePolicy>;
  /** Pads a batch up to the next of these sizes (TF Serving's allowed_batch_sizes). Ascending; empty: any size. */
  allowedBatchSizes: number[];
}

export interface InstanceGroup {
  kind: 'cpu' | 'gpu' | 'remote';
  /** 0: not said; the executor pool's default. */
  count: number;
  gpus: number[];
}

export interface EnsembleStep {
  modelName: string;
  /** '' = by version policy. */
  modelVersion: string;
  /** composing model's input name → ensemble tensor name */
  inputMap: Record<string, string>;
  /** composing model's output name → ensemble tensor name */
  outputMap: Record<string, string>;
}

/** A parsed and completed model configuration, in our own normal form. `raw` is what GET /config answers. */
export interface ModelConfig {
  name: string;
  backend: string;
  platform: string;
  signature: ModelSignature;
  batching: BatchingConfig;
  instanceGroups: InstanceGroup[];
  ensemble: EnsembleStep[] | undefined;
  /** Requests in flight through an ensemble or transform at once; 0: unlimited. */
  maxInflight: number;
  versionPolicy: { kind: 'latest'; count: number } | { kind: 'all' } | { kind: 'specific'; versions: number[] };
  /** TF Serving's version labels, e.g. stable → "3". */
  versionLabels: Record<string, string>;
  responseCache: boolean;
  decoupled: boolean;
  isolation: 'thread' | 'process';
  warmup: WarmupSpec[];
  /** Provider, graph and threading options for the backend (Triton's `parameters` and `optimization`, flattened). */
  parameters: Record<string, string>;
  /** p99 target the batcher keeps, milliseconds; 0: none. */
  latencyTargetMs: number;
  /** Inputs that come from the feature store; absent: none. */
  features?: FeatureJoin;
  /** What requests are checked by besides the signature; absent: nothing. */
  validation?: ModelValidation;
  /** Triton's ModelConfig as JSON with Triton's field names, completed. */
  raw: Record<string, unknown>;
}

export interface WarmupSpec {
  name: string;
  batchSize: number;
  count: number;
  inputs: Record<string, { datatype: DataType; dims: number[]; source: 'zero' | 'random' | { file: string } }>;
}
