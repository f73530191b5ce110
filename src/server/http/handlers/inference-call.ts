import type { Identity } from '../../../admission/admission.ts';
import { isDormant } from '../../../pipeline/dormant.ts';
import type {
  InferRequest,
  InferResponse,
  RequestContext,
  RequestHeaders,
  ResponseObserver,
  Served,
  Submission,
} from '../../../pipeline/types.ts';
import { copyShared, SHARED_LIMIT } from '../../../protocol/json/block.ts';
import { monotonicMs } from '../../../shared/clock.ts';
import { invalidArgument, SwitchyardError, toSwitchyardError } from '../../../shared/errors.ts';
import { servedLines, timingLine } from '../answer-head.ts';
import { decompress, type Encoding, requestEncoding } from '../compression.ts';
import { parseLength } from '../head.ts';
import type { HttpExchange, RequestHead, RequestListener } from '../socket.ts';
import { respondError } from './answers.ts';
import { authenticate } from './authenticate.ts';
import type { Route } from './routes.ts';
import type { HttpGateway } from './settings.ts';

/** Where a call stands. It only ever moves forward; DONE is final, whatever arrives after it is dropped. */
const ADMITTING = 0;
const RECEIVING = 1;
const RUNNING = 2;
const DONE = 3;

const ANONYMOUS: Identity = { tenant: 'default', roles: [], maxPriority: 0 };

/**
 * One inference request over HTTP, whatever its protocol: admission, body, decoding, data plane, answer. It is the
 * body's listener and the data plane's observer itself, so a request costs one object. Whatever ends it, `finish`
 * runs once and gives back what admission granted.
 */
export abstract class InferenceCall implements RequestListener, ResponseObserver {
  protected readonly gateway: HttpGateway;
  protected readonly exchange: HttpExchange;
  protected readonly model: string;
  protected readonly version: string;
  protected readonly acceptEncoding: string;
  private readonly receivedAt = monotonicMs();
  private deadline: number;
  private headerPriority = 0;
  private readonly traceparent: string;
  private readonly tracestate: string;
  private readonly path: string;
  private readonly headers: RequestHeaders | undefined;
  /** Known once the request was handed over. */
  private context: RequestContext | undefined;
  private refusal: Served | undefined;
  private readonly encoding: Encoding | '';
  private identity = ANONYMOUS;
  private admitted = false;
  private state = ADMITTING;
  private body: Uint8Array | undefined;
  private submission: Submission | undefined;

  /** Throws SwitchyardError for headers that are not understood. */
  constructor(gateway: HttpGateway, exchange: HttpExchange, route: Route, head: RequestHead) {
    this.gateway = gateway;
    this.exchange = exchange;
    this.model = route.model;
    this.version = route.version;
    this.acceptEncoding = head.acceptEncoding;
    this.traceparent = head.traceparent;
    this.tracestate = this.traceparent === '' ? '' : head.headerList('tracestate');
    this.path = head.path;
    const wanted = gateway.services.dataPlane.headersOf(route.model);
    this.headers = wanted.names.length === 0 ? undefined : head.keep(wanted);
    this.encoding = head.contentEncoding === '' ? '' : requestEncoding(head.contentEncoding);
    this.deadline = head.timeoutMs === '' ? Infinity : this.receivedAt + readTimeout(head.timeoutMs);
    if (head.priority !== '') this.headerPriority = readPriority(head.priority);
  }

  protected abstract readonly protocol: RequestContext['protocol'];

  /**
   * Decodes the body. Throws SwitchyardError. Undefined: it is being decoded beside the loop, and `handOver` or `fail` is
   * called in a turn to come.
   */
  protected abstract decode(body: Uint8Array): InferRequest | undefined;

  /**
   * Whether the bytes are needed after `decode` returns, because the request's tensors alias them, because they are
   * decoded beside the loop, or because the model must be loaded before; then they are copied out of the socket first.
   */
  protected abstract keepsBody(bytes: number): boolean;

  /** Whether `decode` reads the model's signature, and so needs the model loaded. */
  protected abstract readonly needsSignature: boolean;

  /** Answers through `exchange`. Throws SwitchyardError when the response has no form in this protocol. */
  protected abstract answer(response: InferResponse, final: boolean): void;

  /** Must be called inside `onRequest`, while `head` is valid. */
  start(head: RequestHead): void {
    const admission = this.gateway.services.admission;
    if (!admission.enabled) {
      this.state = RECEIVING;
      this.exchange.receive(this);
      return;
    }
    authenticate(
      this.gateway,
      head,
      (identity) => this.admit(identity),
      (error) => this.fail(error),
    );
    // Answered already: the socket skips the body by itself.
    if (!this.isDone()) this.exchange.receive(this);
  }

  private admit(identity: Identity): void {
    if (this.isDone()) return;
    this.identity = identity;
    try {
      const pending = this.gateway.services.admission.admit(identity, this.model);
      if (pending === undefined) this.onAdmitted();
      else
        pending.then(
          () => this.onAdmitted(),
          (error) => this.fail(error),
        );
    } catch (error) {
      this.fail(error);
    }
  }

  private onAdmitted(): void {
    if (this.isDone()) {
      this.gateway.services.admission.release(this.identity, this.model);
      return;
    }
    this.admitted = true;
    this.state = RECEIVING;
    const body = this.body;
    if (body !== undefined) {
      this.body = undefined;
      this.open(body, true);
    }
  }

  onBody(body: Uint8Array, owned: boolean): void {
    if (this.state === RECEIVING) this.open(body, owned);
    else if (this.state === ADMITTING) this.body = owned ? body : copy(body);
  }

  private open(body: Uint8Array, owned: boolean): void {
    if (this.encoding === '') {
      this.submit(owned || !this.keepsBody(body.byteLength) ? body : copy(body));
      return;
    }
    const max = this.gateway.services.server.maxBodyBytes;
    decompress(this.encoding, owned ? body : copy(body), max, (error, plain) => {
      if (this.isDone()) return;
      if (error !== undefined) this.fail(error);
      else this.submit(plain);
    });
  }

  private submit(body: Uint8Array): void {
    const { table, dataPlane } = this.gateway.services;
    if (!this.needsSignature || !isDormant(table(), this.model)) {
      this.run(body);
      return;
    }
    try {
      // Its parameters are known when it can be read.
      const waiting = dataPlane.awaitModel(this.model, this.version, this.contextOf(undefined), {
        onReady: () => this.run(body),
        onError: (error) => this.fail(error),
      });
      if (this.state === RECEIVING) this.submission = waiting;
    } catch (error) {
      this.fail(error);
    }
  }

  private run(body: Uint8Array): void {
    if (this.isDone()) return;
    try {
      const request = this.decode(body);
      if (request !== undefined) this.handOver(request);
    } catch (error) {
      this.fail(error);
    }
  }

  /** Runs the next slice of an answer, and the others in turns of the loop to come, unless the client goes away. */
  protected inTurns<T>(slices: Generator<undefined, T, undefined>, complete: (result: T) => void): void {
    if (this.isDone()) return;
    try {
      const { done, value } = slices.next();
      if (done) complete(value);
      else setImmediate(() => this.inTurns(slices, complete));
    } catch (error) {
      this.fail(error);
    }
  }

  /** Gives the decoded request to the data plane. */
  protected handOver(request: InferRequest): void {
    try {
      const context = this.contextOf(request.parameters);
      this.context = context;
      this.state = RUNNING;
      this.submission = this.gateway.services.dataPlane.infer(request, context, this);
    } catch (error) {
      this.fail(error);
    }
  }

  private contextOf(parameters: InferRequest['parameters']): RequestContext {
    let deadline = this.deadline;
    let priority = this.headerPriority;
    if (parameters !== undefined) {
      if (parameters.timeout !== undefined) {
        const micros = readNumber('timeout', parameters.timeout);
        if (micros > 0) deadline = Math.min(deadline, this.receivedAt + micros / 1000);
      }
      if (parameters.priority !== undefined) priority = readNumber('priority', parameters.priority);
    }
    return {
      protocol: this.protocol,
      tenant: this.identity.tenant,
      receivedAt: this.receivedAt,
      deadline,
      priority,
      maxPriority: this.identity.maxPriority,
      traceparent: this.traceparent,
      tracestate: this.tracestate,
      path: this.path,
      headers: this.headers,
      served: undefined,
    };
  }

  /** Who answered, where a route decided, or the record of a refusal. */
  protected get served(): Served | undefined {
    return this.context === undefined ? this.refusal : this.context.served;
  }

  /** What a head that is a text says of an answer: who gave it, and how long each stage took. */
  protected answerLines(response: InferResponse): string {
    return servedLines(this.served) + (this.gateway.settings.serverTiming ? timingLine(response.timings) : '');
  }

  onResponse(response: InferResponse, final: boolean): void {
    if (this.isDone()) return;
    try {
      this.answer(response, final);
    } catch (error) {
      const submission = this.submission;
      this.fail(error);
      if (!final) submission?.cancel();
    }
  }

  onError(error: SwitchyardError): void {
    this.fail(error);
  }

  onAbort(): void {
    this.cancel();
  }

  /** Ends the call without an answer: the work is no longer wanted. */
  protected cancel(): void {
    if (this.isDone()) return;
    const submission = this.submission;
    this.finish();
    submission?.cancel();
    if (this.context === undefined) this.refused(new SwitchyardError('cancelled', 'The client went away'));
  }

  protected isDone(): boolean {
    return this.state === DONE;
  }

  /** Ends the call with an error answer. */
  protected fail(error: unknown): void {
    if (this.isDone()) return;
    this.finish();
    if (this.context === undefined) this.refusal = this.refused(toSwitchyardError(error));
    this.answerError(error);
  }

  /** Tells the pipeline of a request that it never saw. */
  private refused(error: SwitchyardError): Served | undefined {
    const { protocol, receivedAt, traceparent, identity } = this;
    const context = { protocol, tenant: identity.tenant, receivedAt, traceparent };
    return this.gateway.services.dataPlane.refused(this.model, this.version, context, error);
  }

  protected answerError(error: unknown): void {
    respondError(this.exchange, error, this.gateway.settings, this.served);
  }

  /** Ends the call; the answer is the caller's. */
  protected finish(): void {
    if (this.isDone()) return;
    this.state = DONE;
    this.submission = undefined;
    this.body = undefined;
    if (this.admitted) {
      this.admitted = false;
      this.gateway.services.admission.release(this.identity, this.model);
    }
  }
}

function copy(body: Uint8Array): Uint8Array {
  if (body.byteLength <= SHARED_LIMIT) return copyShared(body);
  const owned = Buffer.allocUnsafeSlow(body.byteLength);
  owned.set(body);
  return owned;
}

function readTimeout(text: string): number {
  const ms = Number(text);
  if (!(ms > 0) || !/^[\d.]{1,15}$/.test(text)) {
    throw invalidArgument(
      `the request timeout header is ${JSON.stringify(text.slice(0, 40))}; it must be milliseconds above 0`,
    );
  }
  return ms;
}

function readPriority(text: string): number {
  const priority = parseLength(text);
  if (priority < 0) {
    throw invalidArgument(
      `header X-Switchyard-Priority is ${JSON.stringify(text.slice(0, 40))}; it must be a whole number, 1 is the highest`,
    );
  }
  return priority;
}

function readNumber(name: string, value: unknown): number {
  const number =
    typeof value === 'number' || typeof value === 'bigint' || typeof value === 'string' ? Number(value) : -1;
  if (!(number >= 0) || !Number.isSafeInteger(number)) {
    throw invalidArgument(`parameter "${name}" is ${String(value).slice(0, 40)}; it must be a whole number from 0 on`);
  }
  return number;
}
