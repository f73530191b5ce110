import type { ModelConfig } from '../config/model-config.ts';
import type { SwitchyardError } from '../shared/errors.ts';
import type { IdSource } from '../shared/ids.ts';
import type { Tensor } from '../tensor/tensor.ts';

export type ParameterValue = string | number | bigint | boolean;
/** Always a null-prototype object: names come from clients. */
export type Parameters = Record<string, ParameterValue>;

export interface RequestedOutput {
  name: string;
  /** v2 HTTP: answer this output as binary. */
  binary: boolean;
  /** Classification extension: top-k; 0 = off. */
  classification: number;
}

/** A protocol-free inference request. The pipeline owns it, and the bytes of its tensors, from `infer` on. */
export interface InferRequest {
  model: string;
  /** '' = chosen by the version policy (the latest ready one). */
  version: string;
  id: string;
  inputs: Tensor[];
  /** Empty = all outputs. */
  outputs: RequestedOutput[];
  parameters: Parameters | undefined;
}

export interface InferResponse {
  model: string;
  version: string;
  id: string;
  outputs: Tensor[];
  parameters: Parameters | undefined;
  /** Milliseconds per stage, for Server-Timing. Absent for responses that ran no batch (cache hits). */
  timings: Timings | undefined;
}

export interface Timings {
  queue: number;
  computeInput: number;
  computeInfer: number;
  computeOutput: number;
  /** CPU milliseconds of the whole batch. Absent in what an event log keeps. */
  cpu?: number;
  /** GPU milliseconds of the whole batch. Absent in what an event log keeps. */
  gpu?: number;
  /** Rows in the batch this request ran in. */
  batchSize: number;
}

/** What the transport knows of the caller; filled by admission. */
export interface RequestContext {
  protocol: 'http' | 'grpc' | 'tfs-http' | 'tfs-grpc' | 'kafka';
  tenant: string;
  /** monotonicMs() at the first byte. */
  receivedAt: number;
  /** monotonicMs() by which an answer is useful; Infinity: none. */
  deadline: number;
  /** As asked for: 1 = highest, 0 = the model's default level. COPY_LEVEL = behind all levels. */
  priority: number;
  /** The highest level that the tenant may have; 0 = any. */
  maxPriority: number;
  /** W3C traceparent, '' = none. */
  traceparent: string;
  /** W3C tracestate as sent, '' = none; only with a traceparent. */
  tracestate: string;
  /** HTTP path or full gRPC method. */
  path: string;
  /** The headers or metadata that routes ask for; undefined: no route does. */
  headers: RequestHeaders | undefined;
  /** Set by routing when it has decided: the transports tell the client. */
  served: Served | undefined;
}

export interface RequestHeaders {
  /** @param name lower case */
  header(name: string): string | undefined;
  /** The value where it lies, if it is no text yet: to be read before the next call. */
  bytes?(name: string): HeaderBytes | undefined;
}

/** A header's value within the block that it came in. */
export interface HeaderBytes {
  block: Uint8Array;
  at: number;
  length: number;
}

/** Headers (lower case) that a model's routes may look at. One object for all requests, until routes change. */
export interface RoutedHeaders {
  names: readonly string[];
  /** Those of them that are hashed as units, and nothing else: hardly a value comes twice in a row. */
  units: readonly string[];
}

/** Who answered, and by which decision. */
export interface Served {
  /** Of the decision record; rewards refer to it. */
  readonly id: string;
  /** What `id` is made of, where it may be printed without becoming a text: its source, and its number there. */
  readonly ids?: IdSource;
  readonly number?: number;
  readonly variant: string;
  readonly version: string;
  /** Inputs that the feature store added, and what validation noted, for the record. */
  joined?: Tensor[];
  /** What does not fit the model's schema: "field:RULE, …"; the field names are from its configuration. */
  anomalies?: string;
}

/** Exactly one terminal call: `onResponse(…, true)` or `onError`. Never called synchronously from inside `infer` with a
 * half-initialised caller: implementations may rely on `infer` having returned only for `cancel`, not for the answer. */
export interface ResponseObserver {
  onResponse(response: InferResponse, final: boolean): void;
  onError(error: SwitchyardError): void;
}

export interface Submission {
  /** The client went away: frees the queue slot; no observer call follows. */
  cancel(): void;
}

/** Waits for a model; one of the two is called once, unless the wait is cancelled. */
export interface ModelWaiter {
  onReady(): void;
  onError(error: SwitchyardError): void;
}

/** The protocol-free data plane behind every transport of a gateway thread. */
export interface DataPlane {
  headersOf(model: string): RoutedHeaders;
  infer(request: InferRequest, context: RequestContext, observer: ResponseObserver): Submission;
  /**
   * Has a known model loaded for a request that cannot be read without the model's signature. The wait is the request's
   * own: its deadline holds. Throws not_found, unavailable.
   */
  awaitModel(model: string, version: string, context: RequestContext, waiter: ModelWaiter): Submission;
  /**
   * A request ended before `infer`: it could not be read, its caller may not send it, or went away. Returns what to tell
   * the client of its record; undefined: there is none.
   */
  refused(
    model: string,
    version: string,
    context: Pick<RequestContext, 'protocol' | 'tenant' | 'receivedAt' | 'traceparent'>,
    error: SwitchyardError,
  ): Served | undefined;
}

export type ModelState = 'UNKNOWN' | 'LOADING' | 'READY' | 'UNLOADING' | 'UNAVAILABLE';

/** One loaded version as gateway threads see it. */
export interface ServingVersion {
  /** Unique for this load of this version; executors know the version by it. */
  handle: number;
  model: string;
  version: string;
  config: ModelConfig;
  /** Executors that can run it; while none can, all that hold it. Empty for ensembles. */
  executors: number[];
  /** Why it can answer nothing at the moment, '' = it can. */
  absence: string;
  /** The version by content (digest of files and configuration): what cached answers belong to. */
  cacheIdentity: string;
  /** Row of the metrics blocks. */
  metricsRow: number;
  /** What it held when it was loaded, over all executors: an estimate. */
  memoryBytes: number;
}

export interface VersionStatus {
  version: string;
  state: ModelState;
  /** '' unless UNAVAILABLE (why) or UNLOADING. */
  reason: string;
}

export interface ServingModel {
  name: string;
  /** The model behind a name that only a route has. */
  standsFor?: string;
  /** Loaded versions, highest first; the first one that can answer takes requests without a version. */
  versions: ServingVersion[];
  /** Every known version with its state, ascending; what the repository index shows. */
  index: VersionStatus[];
  /** Known but not loaded: a request for it loads it (load on demand). */
  onDemand: boolean;
}

/** Immutable; swapped whole by the control thread. */
export interface ServingTable {
  generation: number;
  models: Map<string, ServingModel>;
}

/** Durations in Triton's statistics: how often, and nanoseconds in all. */
export interface StatDuration {
  count: number;
  ns: number;
}

export interface ModelStatistics {
  name: string;
  version: string;
  /** Milliseconds since the epoch, 0 = never. */
  lastInference: number;
  inferenceCount: number;
  executionCount: number;
  inferenceStats: Record<
    'success' | 'fail' | 'queue' | 'compute_input' | 'compute_infer' | 'compute_output' | 'cache_hit' | 'cache_miss',
    StatDuration
  >;
  batchStats: {
    batchSize: number;
    computeInput: StatDuration;
    computeInfer: StatDuration;
    computeOutput: StatDuration;
  }[];
}
