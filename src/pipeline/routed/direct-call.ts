import { monotonicMs } from '../../shared/clock.ts';
import type { SwitchyardError } from '../../shared/errors.ts';
import type { IdSource } from '../../shared/ids.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import type { GatewayDataPlane } from '../data-plane.ts';
import type { InferRequest, InferResponse, RequestContext, ResponseObserver, Served, Submission } from '../types.ts';
import type { DecisionRecord, FinishedRequest, RequestLog } from './record.ts';

/**
 * A request that no route decides and that is logged. It is the inner data plane's observer, the transport's submission
 * and what the log and the answer's head read, so that a log costs one object.
 */
export class DirectCall implements ResponseObserver, Submission, FinishedRequest, Served {
  readonly ids: IdSource;
  readonly number: number;
  readonly variant = '';
  readonly version = '';
  joined: Tensor[] | undefined;
  anomalies: string | undefined;
  readonly time: number;
  readonly request: InferRequest;
  readonly context: RequestContext;
  readonly decision = undefined;
  readonly shadow = '';
  response: InferResponse | undefined;
  status: DecisionRecord['status'] = 'ok';
  latencyMs = 0;
  private readonly log: RequestLog;
  private readonly observer: ResponseObserver;
  private plane: GatewayDataPlane | undefined;
  private inner: Submission | undefined;
  private done = false;

  constructor(
    log: RequestLog,
    ids: IdSource,
    time: number,
    request: InferRequest,
    context: RequestContext,
    observer: ResponseObserver,
  ) {
    this.log = log;
    this.ids = ids;
    this.number = ids.next();
    this.time = time;
    this.request = request;
    this.context = context;
    this.observer = observer;
    context.served = this;
  }

  get id(): string {
    return this.ids.text(this.number);
  }

  start(plane: GatewayDataPlane): this {
    this.plane = plane;
    const inner = plane.infer(this.request, this.context, this, true);
    if (!this.done) this.inner = inner;
    return this;
  }

  onResponse(response: InferResponse, final: boolean): void {
    if (this.done) return;
    if (this.response === undefined || response.outputs.length > 0) this.response = response;
    if (final) this.end('ok', this.plane?.answeredAt ?? monotonicMs());
    this.observer.onResponse(response, final);
  }

  onError(error: SwitchyardError): void {
    if (this.done) return;
    this.end(error.code, monotonicMs());
    this.observer.onError(error);
  }

  cancel(): void {
    if (this.done) return;
    const inner = this.inner;
    this.end('cancelled', monotonicMs());
    inner?.cancel();
  }

  private end(status: DecisionRecord['status'], now: number): void {
    this.done = true;
    this.inner = undefined;
    this.plane = undefined;
    this.status = status;
    this.latencyMs = now - this.context.receivedAt;
    this.log.finished(this);
  }
}
