import { COPY_LEVEL } from '../../batching/types.ts';
import { copyFailed } from '../../routing/copies.ts';
import type { CompiledRoute } from '../../routing/route-table.ts';
import { monotonicMs } from '../../shared/clock.ts';
import { SwitchyardError, toSwitchyardError } from '../../shared/errors.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import type { InferRequest, InferResponse, RequestContext, ResponseObserver } from '../types.ts';
import { compareOutputs } from './compare.ts';
import type { DecisionRecord, ShadowOutcome } from './record.ts';
import type { RoutedDataPlane } from './routed-data-plane.ts';

/**
 * The copy of a request that another variant gets. Its answer goes nowhere: it is compared with the client's, which
 * never waits for it. Ends once, by `report`.
 */
export class ShadowCall implements ResponseObserver {
  private readonly plane: RoutedDataPlane;
  private readonly route: CompiledRoute;
  private readonly variant: number;
  private readonly context: RequestContext;
  private readonly outcome: ShadowOutcome;
  /** The client's decision that this is a copy of. */
  private readonly record: DecisionRecord;
  /** Kept where copies are logged. */
  private request: InferRequest | undefined;
  private primary: readonly Tensor[] | undefined;
  /** Undefined as long as there is none; of a copy that failed, the error. */
  private copy: readonly Tensor[] | SwitchyardError | undefined;
  private done = false;

  constructor(
    plane: RoutedDataPlane,
    route: CompiledRoute,
    variant: number,
    record: DecisionRecord,
    context: RequestContext,
  ) {
    this.plane = plane;
    this.route = route;
    this.variant = variant;
    this.record = record;
    const now = monotonicMs();
    this.context = {
      ...context,
      receivedAt: now,
      deadline: now + timeoutOf(route),
      priority: COPY_LEVEL,
      served: undefined,
    };
    const { name, model } = route.variants[variant];
    this.outcome = {
      id: record.id,
      route: route.name,
      variant: name,
      model,
      version: '',
      outcome: 'failed',
      latencyMs: 0,
      difference: '',
    };
  }

  /** `request` stays the caller's; its inputs must be kept. */
  start(request: InferRequest): void {
    const variant = this.route.variants[this.variant];
    if (this.plane.logs(this.route.name, request.model)) this.request = request;
    try {
      const version = this.plane.versionOf(variant);
      // A failure is that version's.
      this.outcome.version = version;
      this.plane.inner.infer({ ...request, model: variant.model, version }, this.context, this, true);
    } catch (error) {
      this.onError(toSwitchyardError(error));
    }
  }

  primaryAnswered(response: InferResponse): void {
    if (this.done) return;
    this.primary = response.outputs;
    if (this.copy !== undefined) this.compare(this.primary, this.copy);
  }

  /** The client has no answer to compare with. */
  primaryFailed(): void {
    if (!this.done) this.report('uncompared');
  }

  onResponse(response: InferResponse, final: boolean): void {
    if (this.done) return;
    // The outputs of a stream have no counterpart.
    if (!final) this.report('uncompared');
    this.outcome.version = response.version;
    this.outcome.latencyMs = monotonicMs() - this.context.receivedAt;
    this.log('ok', response);
    if (this.done) return;
    this.copy = response.outputs;
    if (this.primary !== undefined) this.compare(this.primary, this.copy);
  }

  onError(error: SwitchyardError): void {
    this.log(error.code, undefined);
    if (this.done) return;
    if (!copyFailed(error.code)) {
      this.report('dropped');
      return;
    }
    // Whether that is the variant's doing is known when the client's request has ended.
    this.copy = error;
    if (this.primary !== undefined) this.compare(this.primary, error);
  }

  /** The copy's own record, once. */
  private log(status: DecisionRecord['status'], response: InferResponse | undefined): void {
    const { request, context, record, outcome } = this;
    if (request === undefined) return;
    this.request = undefined;
    this.plane.logged({
      id: `${record.id}.shadow`,
      time: record.time,
      request,
      context,
      response,
      status,
      latencyMs: monotonicMs() - context.receivedAt,
      decision: record,
      shadow: outcome.variant,
    });
  }

  private compare(primary: readonly Tensor[], copy: readonly Tensor[] | SwitchyardError): void {
    if (copy instanceof SwitchyardError) {
      // Its message may hold what the client sent.
      this.outcome.difference = `failed with ${copy.code}`;
      this.report('failed');
      return;
    }
    const policy = this.route.spec.shadow?.compare ?? DEFAULT_COMPARE;
    this.outcome.difference = compareOutputs(primary, copy, policy);
    this.report(this.outcome.difference === '' ? 'match' : 'mismatch');
  }

  private report(outcome: ShadowOutcome['outcome']): void {
    this.done = true;
    this.outcome.outcome = outcome;
    if (this.outcome.latencyMs === 0) this.outcome.latencyMs = monotonicMs() - this.context.receivedAt;
    this.plane.shadowEnded(this.route, this.outcome);
  }
}

const DEFAULT_COMPARE = { atol: 1e-6, rtol: 1e-5 };
const DEFAULT_TIMEOUT_MS = 500;

function timeoutOf({ spec }: CompiledRoute): number {
  return spec.shadow?.timeout ?? DEFAULT_TIMEOUT_MS;
}
