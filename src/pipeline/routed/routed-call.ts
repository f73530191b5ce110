import { type Decision, nextFallback } from '../../routing/decide.ts';
import { requestEnded, requestStarted } from '../../routing/health.ts';
import type { CompiledRoute } from '../../routing/route-table.ts';
import { monotonicMs } from '../../shared/clock.ts';
import { type SwitchyardError, toSwitchyardError } from '../../shared/errors.ts';
import type { InferRequest, InferResponse, RequestContext, ResponseObserver, Submission } from '../types.ts';
import { causeOf, outcomeOf } from './outcome.ts';
import type { DecisionRecord, FinishedRequest } from './record.ts';
import type { RoutedDataPlane } from './routed-data-plane.ts';
import type { ShadowCall } from './shadow-call.ts';

/**
 * One request of a route: asks the decided variant, then its fallbacks as far as the route and its retry budget allow,
 * and closes the record. It is the inner data plane's observer and the transport's submission itself.
 */
export class RoutedCall implements ResponseObserver, Submission, FinishedRequest {
  readonly record: DecisionRecord;
  readonly request: InferRequest;
  readonly context: RequestContext;
  response: InferResponse | undefined;
  private readonly plane: RoutedDataPlane;
  private readonly route: CompiledRoute;
  private readonly observer: ResponseObserver;
  private readonly assigned: number;
  private readonly keepInputs: boolean;
  private variant: number;
  /** Mask of the variants that failed. */
  private tried = 0;
  private retrying = false;
  private answered = false;
  private done = false;
  private attempts = 0;
  private inner: Submission | undefined;
  private copy: ShadowCall | undefined;

  constructor(
    plane: RoutedDataPlane,
    decision: Decision,
    record: DecisionRecord,
    request: InferRequest,
    context: RequestContext,
    observer: ResponseObserver,
  ) {
    const route = decision.route as CompiledRoute;
    this.plane = plane;
    this.route = route;
    this.record = record;
    this.request = request;
    this.context = context;
    this.observer = observer;
    this.assigned = decision.assigned;
    this.variant = decision.served;
    this.keepInputs =
      decision.shadow >= 0 || route.fallbacks[decision.assigned].length > 0 || plane.logs(route.name, request.model);
    context.served = { id: record.id, variant: record.served, version: '' };
  }

  get id(): string {
    return this.record.id;
  }

  get time(): number {
    return this.record.time;
  }

  get status(): DecisionRecord['status'] {
    return this.record.status;
  }

  get latencyMs(): number {
    return this.record.latencyMs;
  }

  get decision(): DecisionRecord {
    return this.record;
  }

  get shadow(): string {
    return '';
  }

  /** `shadow`: gets a copy of the request, after the request itself is on its way. */
  start(shadow: ShadowCall | undefined): this {
    this.copy = shadow;
    this.route.retries.started();
    this.attempt();
    shadow?.start(this.request);
    return this;
  }

  private attempt(): void {
    const { route, context, request } = this;
    const variant = route.variants[this.variant];
    const attempt = ++this.attempts;
    requestStarted(route.health, this.variant);
    try {
      // Named one by one: copying an object of unknown shape costs more than deciding.
      const asked: InferRequest = {
        model: variant.model,
        version: this.plane.versionOf(variant),
        id: request.id,
        inputs: request.inputs,
        outputs: request.outputs,
        parameters: request.parameters,
      };
      const inner = this.plane.inner.infer(asked, this.bounded(context), this, this.keepInputs);
      // An error inside `infer` may have ended the call, or begun the next attempt.
      if (attempt === this.attempts && !this.done) this.inner = inner;
    } catch (error) {
      this.onError(toSwitchyardError(error));
    }
  }

  /** The context of an attempt, which the route's timeout may end before the client's deadline. */
  private bounded(context: RequestContext): RequestContext {
    const { timeout } = this.route.spec.resilience;
    if (timeout === undefined) return context;
    return { ...context, deadline: Math.min(context.deadline, monotonicMs() + timeout) };
  }

  onResponse(response: InferResponse, final: boolean): void {
    if (this.done) return;
    this.answered = true;
    if (this.response === undefined || response.outputs.length > 0) this.response = response;
    const { served } = this.context;
    if (served !== undefined) served.version = response.version;
    if (final) {
      const now = monotonicMs();
      requestEnded(this.route.health, this.variant, 'ok', now);
      this.end('ok', response, now);
      this.copy?.primaryAnswered(response);
    }
    this.observer.onResponse(response, final);
  }

  onError(error: SwitchyardError): void {
    if (this.done) return;
    const now = monotonicMs();
    requestEnded(this.route.health, this.variant, outcomeOf(error), now);
    if (this.fallBack(error, now)) return;
    this.end(error.code, undefined, now);
    this.copy?.primaryFailed();
    this.observer.onError(error);
  }

  cancel(): void {
    if (this.done) return;
    const now = monotonicMs();
    requestEnded(this.route.health, this.variant, 'forgotten', now);
    const inner = this.inner;
    this.end('cancelled', undefined, now);
    this.copy?.primaryFailed();
    inner?.cancel();
  }

  private fallBack(error: SwitchyardError, now: number): boolean {
    const { route } = this;
    const cause = causeOf(error);
    if (cause === undefined || !route.fallbackOn.has(cause) || this.answered) return false;
    if (now >= this.context.deadline) return false;
    this.tried |= 1 << this.variant;
    const next = nextFallback(route, this.assigned, this.plane.eligible(route), this.tried);
    if ((this.tried & (1 << next)) !== 0) return false;
    if (!this.retrying && !this.route.retries.tryRetry()) return false;
    this.retrying = true;
    this.record.fallbacks.push({ variant: route.variants[this.variant].name, cause });
    this.variant = next;
    this.record.served = route.variants[next].name;
    if (this.context.served !== undefined) this.context.served.variant = this.record.served;
    this.attempt();
    return true;
  }

  private end(status: DecisionRecord['status'], response: InferResponse | undefined, now: number): void {
    this.done = true;
    this.inner = undefined;
    const { route, record, context } = this;
    this.route.retries.ended();
    if (this.retrying) this.route.retries.retried();
    record.model = route.variants[this.variant].model;
    record.version = response?.version ?? '';
    record.status = status;
    record.latencyMs = now - context.receivedAt;
    record.timings = response?.timings;
    this.plane.decided(this, response);
  }
}
