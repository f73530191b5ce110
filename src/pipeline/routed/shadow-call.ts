import type { CompiledRoute } from '../../routing/route-table.ts';
import { monotonicMs } from '../../shared/clock.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import type { InferRequest, InferResponse, RequestContext, ResponseObserver } from '../types.ts';
import { compareOutputs } from './compare.ts';
import type { ShadowOutcome } from './record.ts';
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
  private primary: readonly Tensor[] | undefined;
  private copy: readonly Tensor[] | undefined;
  private done = false;

  constructor(plane: RoutedDataPlane, route: CompiledRoute, variant: number, id: string, context: RequestContext) {
    this.plane = plane;
    this.route = route;
    this.variant = variant;
    const now = monotonicMs();
    this.context = { ...context, receivedAt: now, deadline: now + timeoutOf(route), served: undefined };
    const { name } = route.variants[variant];
    this.outcome = {
      id,
      route: route.name,
      variant: name,
      version: '',
      outcome: 'failed',
      latencyMs: 0,
      difference: '',
    };
  }

  /** `request` stays the caller's; its inputs must be kept. */
  start(request: InferRequest): void {
    const variant = this.route.variants[this.variant];
    try {
      const version = this.plane.versionOf(variant);
      this.plane.inner.infer({ ...request, model: variant.model, version }, this.context, this, true);
    } catch {
      this.onError();
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
    if (this.done) return;
    this.copy = response.outputs;
    if (this.primary !== undefined) this.compare(this.primary, this.copy);
  }

  onError(): void {
    if (!this.done) this.report('failed');
  }

  private compare(primary: readonly Tensor[], copy: readonly Tensor[]): void {
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
