import type { Credentials, Identity } from '../../admission/admission.ts';
import { isDormant } from '../../pipeline/dormant.ts';
import type {
  InferRequest,
  InferResponse,
  RequestContext,
  RequestHeaders,
  ResponseObserver,
  Served,
  Submission,
} from '../../pipeline/types.ts';
import { SwitchyardError, toSwitchyardError } from '../../shared/errors.ts';
import type { GatewayServices } from '../services.ts';
import type { Call } from './call.ts';

/** A decoded request and what the transport read of it for the context. */
export interface Prepared {
  request: InferRequest;
  /** Microseconds; 0: none. */
  timeoutMicros: number;
  priority: number;
}

const NOTHING_ASKED = { timeoutMicros: 0, priority: 0 };

/**
 * One inference on its way through a gRPC call: authenticate, admit, decode, submit, answer. It ends exactly once, by
 * `respond(…, final)`, by `refuse`, or by `cancel`; whichever it is gives the admission back.
 */
export abstract class InferenceTask implements ResponseObserver {
  protected readonly services: GatewayServices;
  protected readonly call: Call;
  protected readonly bytes: Buffer;
  private readonly receivedAt: number;
  private identity: Identity | undefined;
  private admittedModel: string | undefined;
  private submission: Submission | undefined;
  private ended = false;
  private context: RequestContext | undefined;
  private refusal: Served | undefined;

  constructor(services: GatewayServices, call: Call, message: Buffer, receivedAt: number) {
    this.services = services;
    this.call = call;
    this.bytes = message;
    this.receivedAt = receivedAt;
  }

  protected abstract readonly protocol: RequestContext['protocol'];
  /** The model's name, read without decoding the tensors. */
  protected abstract model(): string;
  protected abstract prepare(): Prepared;
  /** Whether `prepare` reads the model's signature or labels, and so needs the model loaded. */
  protected needsSignature(): boolean {
    return false;
  }
  /** Sends an answer. A throw becomes the task's error. */
  protected abstract respond(response: InferResponse, final: boolean): void;
  protected abstract refuse(error: SwitchyardError): void;

  /** Who answered, where a route decided, or the record of a refusal. */
  protected get served(): Served | undefined {
    return this.context === undefined ? this.refusal : this.context.served;
  }

  /** Tells the client of a unary call who answered. */
  protected describeAnswer(): void {
    const served = this.served;
    if (served !== undefined) this.call.describe(served);
  }

  start(): void {
    const admission = this.services.admission;
    try {
      if (!admission.enabled) {
        this.submit();
        return;
      }
      const identity = admission.authenticate(credentialsOf(this.call));
      if (identity instanceof Promise) {
        identity.then(
          (known) => this.admit(known),
          (error: unknown) => this.failed(error),
        );
      } else this.admit(identity);
    } catch (error) {
      this.failed(error);
    }
  }

  /** The client is gone or gave up. No answer follows. */
  cancel(): void {
    if (this.ended) return;
    this.end();
    this.submission?.cancel();
    if (this.context === undefined) this.refused(new SwitchyardError('cancelled', 'The client went away'));
  }

  onResponse(response: InferResponse, final: boolean): void {
    if (this.ended) return;
    if (final) this.end();
    try {
      this.respond(response, final);
    } catch (error) {
      if (!final) {
        this.end();
        this.submission?.cancel();
      }
      this.refuse(toSwitchyardError(error));
    }
  }

  onError(error: SwitchyardError): void {
    if (this.ended) return;
    this.end();
    if (this.context === undefined) this.refusal = this.refused(error);
    this.refuse(error);
  }

  /** Tells the pipeline of a request that it never saw. */
  private refused(error: SwitchyardError): Served | undefined {
    const { identity, protocol, receivedAt } = this;
    const context = {
      protocol,
      tenant: identity?.tenant ?? 'default',
      receivedAt,
      traceparent: this.call.header('traceparent'),
    };
    return this.services.dataPlane.refused(this.nameOfModel(), '', context, error);
  }

  /** '' where the message is so broken that it names none. */
  private nameOfModel(): string {
    try {
      return this.model();
    } catch {
      return '';
    }
  }

  private failed(error: unknown): void {
    this.onError(toSwitchyardError(error));
  }

  private admit(identity: Identity): void {
    if (this.ended) return;
    this.identity = identity;
    try {
      const model = this.model();
      const pending = this.services.admission.admit(identity, model);
      if (pending === undefined) this.admitted(identity, model);
      else {
        pending.then(
          () => this.admitted(identity, model),
          (error: unknown) => this.failed(error),
        );
      }
    } catch (error) {
      this.failed(error);
    }
  }

  private admitted(identity: Identity, model: string): void {
    if (this.ended) {
      this.services.admission.release(identity, model);
      return;
    }
    this.identity = identity;
    this.admittedModel = model;
    try {
      this.submit();
    } catch (error) {
      this.failed(error);
    }
  }

  private submit(): void {
    const { table, dataPlane } = this.services;
    if (!this.needsSignature() || !isDormant(table(), this.model())) {
      this.run();
      return;
    }
    const waiting = dataPlane.awaitModel(this.model(), '', this.contextOf(NOTHING_ASKED), {
      onReady: () => {
        if (this.ended) return;
        try {
          this.run();
        } catch (error) {
          this.failed(error);
        }
      },
      onError: (error) => this.onError(error),
    });
    if (!this.ended && this.context === undefined) this.submission = waiting;
  }

  private run(): void {
    const { dataPlane } = this.services;
    const prepared = this.prepare();
    const context = this.contextOf(prepared);
    if (dataPlane.headersOf(prepared.request.model).names.length > 0) context.headers = new CallMetadata(this.call);
    this.context = context;
    const submission = dataPlane.infer(prepared.request, context, this);
    if (!this.ended) this.submission = submission;
  }

  private contextOf({ timeoutMicros, priority }: Pick<Prepared, 'timeoutMicros' | 'priority'>): RequestContext {
    const byParameter = timeoutMicros === 0 ? Number.POSITIVE_INFINITY : this.receivedAt + timeoutMicros / 1000;
    const identity = this.identity;
    const traceparent = this.call.header('traceparent');
    return {
      protocol: this.protocol,
      tenant: identity === undefined ? 'default' : identity.tenant,
      receivedAt: this.receivedAt,
      deadline: Math.min(byParameter, this.call.deadline),
      priority,
      maxPriority: identity === undefined ? 0 : identity.maxPriority,
      traceparent,
      tracestate: traceparent === '' ? '' : this.call.header('tracestate'),
      path: this.call.path,
      headers: undefined,
      served: undefined,
    };
  }

  private end(): void {
    this.ended = true;
    if (this.admittedModel !== undefined) {
      this.services.admission.release(this.identity!, this.admittedModel);
      this.admittedModel = undefined;
    }
  }
}

/** A call's metadata live as long as the call. */
class CallMetadata implements RequestHeaders {
  private readonly call: Call;

  constructor(call: Call) {
    this.call = call;
  }

  header(name: string): string | undefined {
    const value = this.call.header(name);
    return value === '' ? undefined : value;
  }
}

/** What a call's metadata says of its caller. */
export function credentialsOf(call: Call): Credentials {
  return {
    authorization: call.header('authorization'),
    apiKey: call.header('x-api-key'),
    certificateName: call.certificateName,
  };
}
