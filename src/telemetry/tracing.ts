import type { Timings } from '../pipeline/types.ts';
import type { ErrorCode } from '../shared/errors.ts';
import type { TraceSettingsState } from './trace-settings.ts';

export interface TracingConfig {
  /** Full URL of the collector's traces endpoint, e.g. ending in /v1/traces. */
  url: string;
  headers?: Record<string, string>;
  serviceVersion: string;
  /** Distinguishes gateways of a fleet; no host name unless the operator gives one. */
  instanceId: string;
}

/** A finished request, as numbers; times are monotonicMs(). */
export interface TracedRequest {
  protocol: string;
  tenant: string;
  model: string;
  version: string;
  requestId: string;
  traceparent: string;
  /** W3C tracestate as sent, '' = none. */
  tracestate: string;
  receivedAt: number;
  /** When it was handed to an executor; 0: unknown. */
  queuedAt: number;
  endedAt: number;
  timings: Timings | undefined;
  /** Undefined: answered. */
  error: ErrorCode | undefined;
}

export interface RequestTracer {
  /** False: callers skip everything else. */
  readonly enabled: boolean;
  /** Decides at the start of a request, allocating nothing: the caller's flag if it traces, else one in trace_rate. */
  sample(model: string, traceparent: string): boolean;
  /** Makes the spans of a sampled request that has ended: request, and in it queue and the three compute phases. */
  record(request: TracedRequest): void;
  apply(state: TraceSettingsState): void;
  flush(): Promise<void>;
  close(): Promise<void>;
}

/** Tracing switched off: no exporter, no timers. */
export const NO_TRACING: RequestTracer = Object.freeze({
  enabled: false,
  sample: () => false,
  record: () => {},
  apply: () => {},
  flush: async () => {},
  close: async () => {},
});

/**
 * The tracer of one thread. `config` undefined: tracing is off and costs nothing. `state` and `counters` come from the
 * control thread's TraceSettingsStore.
 */
export async function createTracer(
  config: TracingConfig | undefined,
  state: TraceSettingsState,
  counters: SharedArrayBuffer,
  random: () => number = Math.random,
): Promise<RequestTracer> {
  if (config === undefined) return NO_TRACING;
  // OpenTelemetry is 450 files: a thread that does not trace starts without them.
  const { OtlpTracer } = await import('./otlp-tracer.ts');
  return new OtlpTracer(config, state, counters, random);
}
