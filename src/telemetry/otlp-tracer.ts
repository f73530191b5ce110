import {
  createTraceState,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  TraceFlags,
  type Tracer,
  trace,
} from '@opentelemetry/api';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { AlwaysOnSampler, BatchSpanProcessor, NodeTracerProvider } from '@opentelemetry/sdk-trace-node';
import type { Timings } from '../pipeline/types.ts';
import { monotonicMs } from '../shared/clock.ts';
import { effectiveTraceSettings, type TraceSettings, type TraceSettingsState } from './trace-settings.ts';
import { parseTraceparent, sampledFlag } from './traceparent.ts';
import type { RequestTracer, TracedRequest, TracingConfig } from './tracing.ts';

/** Makes OpenTelemetry spans of sampled requests and sends them to a collector. */
export class OtlpTracer implements RequestTracer {
  private readonly provider: NodeTracerProvider;
  private readonly tracer: Tracer;
  private readonly random: () => number;
  private readonly counters: Int32Array;
  private global: TraceSettings;
  private models = new Map<string, TraceSettings>();

  constructor(config: TracingConfig, state: TraceSettingsState, counters: SharedArrayBuffer, random: () => number) {
    this.random = random;
    this.counters = new Int32Array(counters);
    this.provider = new NodeTracerProvider({
      resource: resourceFromAttributes({
        'service.name': 'switchyard',
        'service.version': config.serviceVersion,
        'service.instance.id': config.instanceId,
      }),
      // Whether to trace was decided when the request began; every span made here is wanted.
      sampler: new AlwaysOnSampler(),
      spanProcessors: [
        new BatchSpanProcessor(
          new OTLPTraceExporter({ url: config.url, headers: config.headers, timeoutMillis: 5000 }),
          {
            maxQueueSize: 4096,
            maxExportBatchSize: 512,
            scheduledDelayMillis: 1000,
            exportTimeoutMillis: 5000,
          },
        ),
      ],
    });
    this.tracer = this.provider.getTracer('switchyard');
    this.global = state.global;
    this.apply(state);
  }

  get enabled(): boolean {
    return this.global.on || this.models.size > 0;
  }

  apply(state: TraceSettingsState): void {
    this.global = state.global;
    const models = new Map<string, TraceSettings>();
    for (const model of state.models.keys()) models.set(model, effectiveTraceSettings(state, model));
    this.models = models;
  }

  sample(model: string, traceparent: string): boolean {
    const settings = this.models.size > 0 ? (this.models.get(model) ?? this.global) : this.global;
    if (!settings.on) return false;
    const flag = sampledFlag(traceparent);
    if (flag === 0) return false;
    if (flag === -1 && (settings.rate === 0 || (settings.rate > 1 && this.random() * settings.rate >= 1))) return false;
    return settings.count < 0 || this.takeOne(settings.counter);
  }

  private takeOne(counter: number): boolean {
    for (;;) {
      const left = Atomics.load(this.counters, counter);
      if (left <= 0) return false;
      if (Atomics.compareExchange(this.counters, counter, left, left - 1) === left) return true;
    }
  }

  record(request: TracedRequest): void {
    const toEpoch = Date.now() - monotonicMs();
    const parent = parseTraceparent(request.traceparent);
    const context =
      parent === undefined
        ? ROOT_CONTEXT
        : trace.setSpanContext(ROOT_CONTEXT, {
            traceId: parent.traceId,
            spanId: parent.spanId,
            traceFlags: TraceFlags.SAMPLED,
            traceState: request.tracestate === '' ? undefined : createTraceState(request.tracestate),
            isRemote: true,
          });
    const span = this.tracer.startSpan(
      'infer',
      {
        kind: SpanKind.SERVER,
        startTime: toEpoch + request.receivedAt,
        attributes: {
          'switchyard.protocol': request.protocol,
          'switchyard.tenant': request.tenant,
          'switchyard.model.name': request.model,
          'switchyard.model.version': request.version,
          'switchyard.request.id': request.requestId,
        },
      },
      context,
    );
    if (request.timings !== undefined) this.recordPhases(span, request, request.timings, toEpoch);
    if (request.error !== undefined) span.setStatus({ code: SpanStatusCode.ERROR, message: request.error });
    span.end(toEpoch + request.endedAt);
  }

  private recordPhases(parent: Span, request: TracedRequest, timings: Timings, toEpoch: number): void {
    const context = trace.setSpan(ROOT_CONTEXT, parent);
    parent.setAttribute('switchyard.batch.size', timings.batchSize);
    let start = toEpoch + (request.queuedAt > 0 ? request.queuedAt : request.receivedAt);
    const phase = (name: string, ms: number) => {
      this.tracer.startSpan(name, { startTime: start }, context).end(start + ms);
      start += ms;
    };
    phase('queue', timings.queue);
    phase('compute_input', timings.computeInput);
    phase('compute_infer', timings.computeInfer);
    phase('compute_output', timings.computeOutput);
  }

  async flush(): Promise<void> {
    await this.provider.forceFlush();
  }

  /** Sends what is left, within the exporter's 5 s; a collector that is away loses it. */
  async close(): Promise<void> {
    await this.provider.shutdown().catch(() => {});
  }
}
