import { type Decision, nextFallback } from '../../routing/decide.ts';
import { requestEnded, requestStarted } from '../../routing/health.ts';
import type { CompiledRoute } from '../../routing/route-table.ts';
import { monotonicMs } from '../../shared/clock.ts';
import { SwitchyardError, toSwitchyardError } from '../../shared/errors.ts';
import type { IdSource } from '../../shared/ids.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import type { InferRequest, InferResponse, RequestContext, ResponseObserver, Served, Submission } from '../types.ts';
import { causeOf, outcomeOf } from './outcome.ts';
import type { DecisionRecord, FinishedRequest } from './record.ts';
import type { RoutedDataPlane } from './routed-data-plane.ts';
import type { ShadowCall } from './shadow-call.ts';

const NO_FALLBACKS: DecisionRecord['fallbacks'] = [];

/**
 * One request of a route: asks the decided variant, then its fallbacks as far as the route and its retry budget allow.
 * It is its own decision record, what the client is told of it, the inner data plane's observer and the transport's
 * submission: an object for each would cost more than deciding does. What the route knows of a decision is asked of
 * the route.
 */
export class RoutedCall implements ResponseObserver, Submission, FinishedRequest, DecisionRecord, Served {
  readonly ids: IdSource;
  readonly number: number;
  readonly request: InferRequest;
  readonly context: RequestContext;
  readonly stateVersion: number;
  readonly snapshotVersion: number;
  readonly pmf: readonly number[];
  readonly role: DecisionRecord['role'];
  readonly analysed: boolean;
  readonly override: number;
  readonly bucket: number;
  readonly unitHash: number;
  readonly detour: string;
  readonly proposed: DecisionRecord['proposed'];
  readonly features: number[] | undefined;
  fallbacks = NO_FALLBACKS;
  version = '';
  response: InferResponse | undefined;
  status: DecisionRecord['status'] = 'ok';
  latencyMs = 0;
  /** The feature store's part and validation's, see {@link Served}. */
  joined: Tensor[] | undefined;
  anomalies: string | undefined;
  private readonly plane: RoutedDataPlane;
  private readonly compiled: CompiledRoute;
  private readonly observer: ResponseObserver;
  private readonly keepInputs: boolean;
  /** As a mask, like `tried`: the variants that failed. */
  private readonly eligibleMask: number;
  private readonly assignedIndex: number;
  private servedIndex: number;
  private tried = 0;
  private retrying = false;
  private answered = false;
  private done = false;
  private attempts = 0;
  /** Milliseconds that the client's deadline left for this attempt; undefined: something else bounds it. */
  private allowedMs: number | undefined;
  private inner: Submission | undefined;
  private copy: ShadowCall | undefined;
  private text = '';

  /** Copies of `decision` what outlives the request. */
  constructor(
    plane: RoutedDataPlane,
    ids: IdSource,
    decision: Decision,
    request: InferRequest,
    context: RequestContext,
    observer: ResponseObserver,
  ) {
    const route = decision.route as CompiledRoute;
    this.ids = ids;
    this.number = ids.next();
    this.request = request;
    this.context = context;
    this.stateVersion = decision.stateVersion;
    this.snapshotVersion = decision.snapshotVersion;
    this.pmf = decision.pmf === route.live.pmf ? route.live.shares : Array.from(decision.pmf);
    this.role = decision.role;
    this.analysed = decision.analysed;
    this.override = decision.override;
    this.bucket = decision.bucket;
    this.unitHash = decision.unitHash;
    this.detour = decision.detour;
    this.proposed =
      decision.proposed < 0
        ? undefined
        : { variant: route.names[decision.proposed], pmf: Array.from(decision.proposedPmf) };
    this.features = decision.context.length === 0 ? undefined : Array.from(decision.context);
    this.plane = plane;
    this.compiled = route;
    this.observer = observer;
    this.eligibleMask = decision.eligible;
    this.assignedIndex = decision.assigned;
    this.servedIndex = decision.served;
    const logged = plane.logs(route.name, request.model);
    this.keepInputs = logged || decision.shadow >= 0 || route.fallbacks[decision.assigned].length > 0;
    context.served = this;
  }

  get id(): string {
    if (this.text === '') this.text = this.ids.text(this.number);
    return this.text;
  }

  get time(): number {
    return this.plane.wallTime(this.context.receivedAt);
  }

  get receivedAt(): number {
    return this.context.receivedAt;
  }

  get decision(): DecisionRecord {
    return this;
  }

  get shadow(): string {
    return '';
  }

  get route(): string {
    return this.compiled.name;
  }

  get requestedModel(): string {
    return this.request.model;
  }

  get requestedVersion(): string {
    return this.request.version;
  }

  get protocol(): RequestContext['protocol'] {
    return this.context.protocol;
  }

  get tenant(): string {
    return this.context.tenant;
  }

  get requestId(): string {
    return this.request.id;
  }

  get eligible(): readonly string[] {
    const { names, health } = this.compiled;
    if (this.eligibleMask === health.all) return names;
    return names.filter((_, i) => (this.eligibleMask & (1 << i)) !== 0);
  }

  get propensity(): number {
    return this.pmf[this.assignedIndex];
  }

  get assigned(): string {
    return this.compiled.names[this.assignedIndex];
  }

  get served(): string {
    return this.compiled.names[this.servedIndex];
  }

  get variant(): string {
    return this.served;
  }

  get model(): string {
    return this.compiled.variants[this.servedIndex].model;
  }

  /** `shadow`: gets a copy of the request, after the request itself is on its way. */
  start(shadow: ShadowCall | undefined): this {
    this.copy = shadow;
    this.compiled.retries.started();
    if (this.detour === 'circuitOpen') this.refuse();
    else this.attempt();
    shadow?.start(this.request);
    return this;
  }

  /** The variant is not asked: it is full, or has failed too often lately. */
  private refuse(): void {
    const { name, spec, variants } = this.compiled;
    this.version = this.plane.currentVersion(variants[this.servedIndex]);
    const { maxInFlight, open } = spec.resilience.circuitBreaker ?? {};
    const full = maxInFlight === undefined ? '' : `, or ${maxInFlight} requests are in flight on this thread`;
    const message = `variant ${this.assigned} of route ${name} is not asked now: its circuit is open${full}; try again later`;
    this.fail(new SwitchyardError('unavailable', message, { retryAfterMs: open }), monotonicMs());
  }

  private attempt(): void {
    const { compiled, context, request } = this;
    const variant = compiled.variants[this.servedIndex];
    const attempt = ++this.attempts;
    this.version = '';
    requestStarted(compiled.health, this.servedIndex);
    try {
      // A failure is that version's.
      const version = this.plane.versionOf(variant);
      this.version = version === '' ? this.plane.policyVersion(variant.model) : version;
      // Named one by one: copying an object of unknown shape costs more than deciding.
      const asked: InferRequest = {
        model: variant.model,
        version,
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
    const { timeout } = this.compiled.spec.resilience;
    const { deadline } = context;
    if (timeout === undefined && deadline === Number.POSITIVE_INFINITY) return context;
    const now = monotonicMs();
    if (timeout !== undefined && now + timeout < deadline) {
      this.allowedMs = undefined;
      return { ...context, deadline: now + timeout };
    }
    this.allowedMs = deadline - now;
    return context;
  }

  onResponse(response: InferResponse, final: boolean): void {
    if (this.done) return;
    this.answered = true;
    if (this.response === undefined || response.outputs.length > 0) this.response = response;
    this.version = response.version;
    if (final) {
      const now = this.plane.inner.answeredAt ?? monotonicMs();
      requestEnded(this.compiled.health, this.servedIndex, 'ok', now);
      this.end('ok', response, now);
    }
    this.observer.onResponse(response, final);
    // The client first: comparing takes its time.
    if (final) this.copy?.primaryAnswered(response);
  }

  onError(error: SwitchyardError): void {
    if (this.done) return;
    const now = monotonicMs();
    const { health, variants } = this.compiled;
    // One that was replaced meanwhile says nothing of the version that is there now.
    const replaced = this.version !== this.plane.currentVersion(variants[this.servedIndex]);
    const outcome = replaced ? 'forgotten' : outcomeOf(error, this.allowedMs ?? Number.POSITIVE_INFINITY);
    requestEnded(health, this.servedIndex, outcome, now);
    this.fail(error, now);
  }

  private fail(error: SwitchyardError, now: number): void {
    if (this.fallBack(error, now)) return;
    this.end(error.code, undefined, now);
    this.copy?.primaryFailed();
    this.observer.onError(error);
  }

  cancel(): void {
    if (this.done) return;
    const now = monotonicMs();
    requestEnded(this.compiled.health, this.servedIndex, 'forgotten', now);
    const inner = this.inner;
    this.end('cancelled', undefined, now);
    this.copy?.primaryFailed();
    inner?.cancel();
  }

  private fallBack(error: SwitchyardError, now: number): boolean {
    const { compiled } = this;
    const cause = causeOf(error);
    if (cause === undefined || !compiled.fallbackOn.has(cause) || this.answered) return false;
    if (now >= this.context.deadline) return false;
    this.tried |= 1 << this.servedIndex;
    const next = nextFallback(compiled, this.assignedIndex, this.plane.eligible(compiled), this.tried);
    if ((this.tried & (1 << next)) !== 0) return false;
    if (!this.retrying && !compiled.retries.tryRetry()) return false;
    this.retrying = true;
    this.fallbacks = [...this.fallbacks, { variant: this.served, cause, version: this.version }];
    this.servedIndex = next;
    this.attempt();
    return true;
  }

  private end(status: DecisionRecord['status'], response: InferResponse | undefined, now: number): void {
    this.done = true;
    this.inner = undefined;
    const { retries } = this.compiled;
    retries.ended();
    if (this.retrying) retries.retried();
    this.status = status;
    this.latencyMs = now - this.context.receivedAt;
    this.plane.decided(this, response);
  }
}
