import type { RequestMetrics } from '../pipeline/parts.ts';
import type { Pending } from '../pipeline/pending.ts';
import type { InferRequest, RequestContext, ServingVersion, Timings } from '../pipeline/types.ts';
import { monotonicMs } from '../shared/clock.ts';
import type { SwitchyardError } from '../shared/errors.ts';
import type { Logger } from '../telemetry/logging.ts';
import { MetricsBlock } from '../telemetry/metrics-block.ts';
import { TenantBlock, TenantNames } from '../telemetry/tenant-metrics.ts';
import type { ThreadMetrics } from '../telemetry/thread-metrics.ts';
import type { RequestTracer } from '../telemetry/tracing.ts';
import { byteLength } from '../tensor/placed.ts';
import type { Tensor } from '../tensor/tensor.ts';

/** How soon a clock that was set shows. */
const CLOCK_MS = 1000;

/** Counts and traces what happened to each request of this gateway thread. */
export class RequestRecorder implements RequestMetrics {
  readonly block: MetricsBlock;
  private readonly tenants: TenantBlock;
  private readonly tenantNames: TenantNames;
  private readonly tracer: RequestTracer;
  private readonly log: Logger;
  /** The version of the last answer, and whether it runs on a GPU. */
  private lastLogged = Number.NEGATIVE_INFINITY;
  private unlogged = 0;
  /** Wall time less monotonicMs(): a last-inference stamp needs no clock call per request. */
  private epochOffset = Date.now() - monotonicMs();

  constructor(metrics: ThreadMetrics, tracer: RequestTracer, log: Logger) {
    this.log = log;
    this.block = new MetricsBlock(metrics.chunks);
    this.tenants = new TenantBlock(metrics.tenants);
    this.tenantNames = new TenantNames(metrics.tenantNames);
    this.tracer = tracer;
    setInterval(() => {
      this.epochOffset = Date.now() - monotonicMs();
    }, CLOCK_MS).unref();
  }

  pending(version: ServingVersion, delta: number): void {
    this.block.addPending(version.metricsRow, delta);
  }

  success(pending: Pending, outputs: readonly Tensor[], timings: Timings | undefined, now: number): void {
    const { version, context, request } = pending;
    const bytesIn = pending.inputBytes;
    const bytesOut = byteLength(outputs);
    const time = Math.round(now + this.epochOffset);
    this.block.recordSuccess(version.metricsRow, now - context.receivedAt, timings, bytesIn, bytesOut, time);
    // A request's share of its batch, by rows.
    const share = timings !== undefined && timings.batchSize > 0 ? pending.rows / timings.batchSize / 1000 : 0;
    this.tenants.record(
      this.tenantNames.slotOf(context.tenant),
      true,
      bytesIn,
      bytesOut,
      share * (timings?.cpu ?? 0),
      share * (timings?.gpu ?? 0),
      share === 0 ? 0 : share * memoryMs(version, timings!),
    );
    if (this.tracer.enabled) this.trace(version, request, context, now, timings, undefined);
  }

  failure(
    version: ServingVersion,
    request: Pick<InferRequest, 'id'>,
    context: RequestContext,
    error: SwitchyardError,
    now: number = monotonicMs(),
    cpu: number = 0,
    gpu: number = 0,
  ): void {
    this.block.recordFailure(version.metricsRow, error.code, now - context.receivedAt, 0);
    this.tenants.record(this.tenantNames.slotOf(context.tenant), false, 0, 0, cpu / 1000, gpu / 1000, 0);
    if (error.code === 'internal') this.logInternal(version, error);
    if (this.tracer.enabled) this.trace(version, request, context, now, undefined, error);
  }

  /** The server's own failures reach the log, at most one line a second however many there are. */
  private logInternal(version: ServingVersion, error: SwitchyardError): void {
    const now = monotonicMs();
    if (now - this.lastLogged < 1000) {
      this.unlogged++;
      return;
    }
    const { model, version: number } = version;
    this.log.error(
      { model, version: number, reason: error.message, unlogged: this.unlogged },
      'a request failed inside the server',
    );
    this.lastLogged = now;
    this.unlogged = 0;
  }

  cacheHit(version: ServingVersion, lookupMs: number): void {
    this.block.recordCacheHit(version.metricsRow, lookupMs);
  }

  cacheMiss(version: ServingVersion, lookupMs: number): void {
    this.block.recordCacheMiss(version.metricsRow, lookupMs);
  }

  private trace(
    version: ServingVersion,
    request: Pick<InferRequest, 'id'>,
    context: RequestContext,
    endedAt: number,
    timings: Timings | undefined,
    error: SwitchyardError | undefined,
  ): void {
    if (!this.tracer.sample(version.model, context.traceparent)) return;
    this.tracer.record({
      protocol: context.protocol,
      tenant: context.tenant,
      model: version.model,
      version: version.version,
      requestId: request.id,
      traceparent: context.traceparent,
      tracestate: context.tracestate,
      receivedAt: context.receivedAt,
      queuedAt: queuedAt(timings, context.receivedAt, endedAt),
      endedAt,
      timings,
      error: error?.code,
    });
  }
}

/** Bytes × milliseconds: what the version holds on one executor, for as long as the batch ran there. */
function memoryMs({ memoryBytes, executors }: ServingVersion, timings: Timings): number {
  const { computeInput, computeInfer, computeOutput } = timings;
  return (memoryBytes / Math.max(1, executors.length)) * (computeInput + computeInfer + computeOutput);
}

/** The stages end with the answer: counted back from there, so that no request needs a clock call when it is sent. */
function queuedAt(timings: Timings | undefined, receivedAt: number, endedAt: number): number {
  if (timings === undefined) return 0;
  const { queue, computeInput, computeInfer, computeOutput } = timings;
  return Math.max(receivedAt, endedAt - queue - computeInput - computeInfer - computeOutput);
}
