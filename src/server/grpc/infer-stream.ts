import type { InferResponse, RequestContext } from '../../pipeline/types.ts';
import { type DecodedInfer, decodeInferRequest, peekId, peekModel } from '../../protocol/grpc/infer-decoder.ts';
import { encodeInferResponse, encodeStreamError, encodeStreamResponse } from '../../protocol/grpc/infer-encoder.ts';
import { monotonicMs } from '../../shared/clock.ts';
import { SwitchyardError } from '../../shared/errors.ts';
import type { GatewayServices } from '../services.ts';
import type { CallReceiver, Method, StreamingCall } from './call.ts';
import { classify, wantsClassification } from './classification.ts';
import { InferenceTask, type Prepared } from './inference-task.ts';

/** Requests one stream may have under way before its reading pauses. */
const MAX_IN_FLIGHT = 256;
/** Bytes of answers a client may leave unread before its stream is ended. */
const MAX_UNSENT = 64 << 20;

/**
 * ModelStreamInfer: answers in the order they complete. In Triton's form a failed request is told of in error_message. A
 * bare response has no room for that: there the failure ends the call with its status, as MLServer's does.
 */
export function modelStreamInfer(services: GatewayServices): Method {
  return { kind: 'stream', open: (call) => new InferStream(services, call) };
}

class InferStream implements CallReceiver {
  private readonly services: GatewayServices;
  private readonly call: StreamingCall;
  private readonly items = new Set<StreamedInference>();
  private lastMessageSeen = false;
  private blocked = false;
  private leaving = false;

  constructor(services: GatewayServices, call: StreamingCall) {
    this.services = services;
    this.call = call;
  }

  message(message: Buffer): void {
    const item = new StreamedInference(this.services, this.call, message, this);
    this.items.add(item);
    if (this.leaving) item.onError(new SwitchyardError('unavailable', 'the server is shutting down; reconnect'));
    else item.start();
    if (this.items.size >= MAX_IN_FLIGHT) this.call.pause();
  }

  halfClosed(): void {
    this.lastMessageSeen = true;
    this.settle();
  }

  cancelled(): void {
    for (const item of this.items) item.cancel();
    this.items.clear();
  }

  drained(): void {
    this.blocked = false;
    this.settle();
  }

  goingAway(): void {
    this.leaving = true;
    this.settle();
  }

  send(frame: Buffer): void {
    if (this.call.write(frame)) return;
    this.blocked = true;
    this.call.pause();
    if (this.call.unsentBytes > Math.max(MAX_UNSENT, 2 * frame.length)) {
      this.call.abort(
        new SwitchyardError('overloaded', `${this.call.unsentBytes} bytes of answers are unread; read faster`),
      );
    }
  }

  done(item: StreamedInference): void {
    this.items.delete(item);
    this.settle();
  }

  private settle(): void {
    if (this.items.size === 0) {
      if (this.lastMessageSeen) this.call.end();
      else if (this.leaving)
        this.call.fail(new SwitchyardError('unavailable', 'the server is shutting down; reconnect'));
    }
    if (!this.blocked && this.items.size < MAX_IN_FLIGHT) this.call.resume();
  }
}

class StreamedInference extends InferenceTask {
  protected readonly protocol: RequestContext['protocol'] = 'grpc';
  private readonly stream: InferStream;
  private decoded: DecodedInfer | undefined;

  constructor(services: GatewayServices, call: StreamingCall, message: Buffer, stream: InferStream) {
    super(services, call, message, monotonicMs());
    this.stream = stream;
  }

  protected model(): string {
    return peekModel(this.bytes);
  }

  protected prepare(): Prepared {
    this.decoded = decodeInferRequest(this.bytes);
    return this.decoded;
  }

  protected respond(response: InferResponse, final: boolean): void {
    const { request, emptyFinalResponse } = this.decoded!;
    // A decoupled model may end with nothing but the fact that it ended; clients see that only if they asked to.
    if (!final || response.outputs.length > 0 || emptyFinalResponse) {
      const shown = wantsClassification(request) ? classify(this.services.table(), request, response) : response;
      this.stream.send(this.encode(this.named(shown), final, emptyFinalResponse));
    }
    if (final) this.stream.done(this);
  }

  /** Bare responses say which one is the last to those that asked for it. */
  private encode(response: InferResponse, final: boolean, marked: boolean): Buffer {
    if (this.services.server.streamForm === 'triton') return encodeStreamResponse(response, final);
    if (!marked) return encodeInferResponse(response);
    const mark = { triton_final_response: final };
    return encodeInferResponse({
      ...response,
      parameters: Object.assign(Object.create(null), response.parameters, mark),
    });
  }

  /** Many requests share the call's metadata, so who answered travels as parameters of the response. */
  private named(response: InferResponse): InferResponse {
    if (this.served === undefined) return response;
    return { ...response, parameters: Object.assign(Object.create(null), response.parameters, this.who()) };
  }

  private who(): Record<string, string> {
    const { served } = this;
    if (served === undefined) return {};
    return {
      switchyard_id: served.id,
      switchyard_variant: served.variant,
      switchyard_version: served.version,
      ...(served.anomalies === undefined ? {} : { switchyard_anomalies: served.anomalies }),
    };
  }

  protected refuse(error: SwitchyardError): void {
    if (error.code === 'unauthenticated' || this.services.server.streamForm === 'bare') {
      this.call.abort(error);
      return;
    }
    const request = this.decoded?.request;
    const id = request === undefined ? peekId(this.bytes) : request.id;
    this.stream.send(encodeStreamError(error.message, id, request === undefined ? '' : request.model, this.who()));
    this.stream.done(this);
  }
}
