import type { IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http2';
import type { Served } from '../../pipeline/types.ts';
import { SwitchyardError } from '../../shared/errors.ts';
import { metadataOf } from './answer-metadata.ts';
import type { Call, CallReceiver } from './call.ts';
import { SLICE } from './call-stream.ts';
import type { NativeEndpoint, NativeServerHandle } from './native-endpoint.ts';
import { readHeaders, writeHeaders } from './native-text.ts';
import { errorTrailers, OK_TRAILERS, RESPONSE_HEADERS } from './status.ts';

const LONGEST_TIMER = 0x7fffffff;

/** A unary call whose one message, uncompressed, arrived whole. Most calls are of this kind. */
export class NativeUnaryCall implements Call, NativeEndpoint {
  readonly slot: number;
  readonly generation: number;
  readonly path: string;
  readonly receivedAt: number;
  readonly deadline: number;
  receiver: CallReceiver | undefined;
  private readonly handle: NativeServerHandle;
  /** Whether there is a header `traceparent`. */
  private readonly traced: boolean;
  private finished = false;
  private served: Served | undefined;
  private known: IncomingHttpHeaders | undefined;
  private timer: NodeJS.Timeout | undefined;

  /** @param timeoutMs from `receivedAt` on; Infinity: none */
  constructor(
    handle: NativeServerHandle,
    slot: number,
    generation: number,
    path: string,
    receivedAt: number,
    timeoutMs: number,
    traced: boolean,
  ) {
    this.handle = handle;
    this.slot = slot;
    this.generation = generation;
    this.path = path;
    this.receivedAt = receivedAt;
    this.deadline = receivedAt + timeoutMs;
    this.traced = traced;
  }

  /** Ends the call at its deadline, unless it has ended before. */
  watchDeadline(now: number): void {
    const left = this.deadline - now;
    if (left < LONGEST_TIMER) this.timer = setTimeout(expire, Math.max(0, Math.ceil(left)), this);
  }

  get headers(): IncomingHttpHeaders {
    const { native, server } = this.handle;
    this.known ??= readHeaders(native.grpcHeaders(server, this.slot, this.generation));
    return this.known;
  }

  get peer(): string {
    return this.handle.native.grpcPeer(this.handle.server, this.slot, this.generation);
  }

  get certificateName(): string {
    const { native, server, asksClients } = this.handle;
    return asksClients ? native.grpcCertificateName(server, this.slot, this.generation) : '';
  }

  header(name: string): string {
    if (this.known === undefined) {
      if (name === 'traceparent' && !this.traced) return '';
      // Few are asked for: all of them as an object cost as much as the rest of a small request.
      const { native, server } = this.handle;
      const only = native.grpcHeader(server, this.slot, this.generation, name);
      if (only !== undefined) return only;
    }
    const value = this.headers[name];
    return typeof value === 'string' ? value : value === undefined ? '' : (value[0] ?? '');
  }

  describe(served: Served): void {
    this.served = served;
  }

  reply(frame: Buffer): void {
    if (this.finished) return;
    this.finish();
    if (frame.length <= SLICE) {
      this.handle.answer(this.slot, this.generation, this.served, frame);
      return;
    }
    const { native, server } = this.handle;
    const { slot, generation } = this;
    native.grpcRespond(server, slot, generation, writeHeaders({ ...RESPONSE_HEADERS, ...this.metadata() }), false);
    native.grpcWrite(server, slot, generation, frame);
    native.grpcEnd(server, slot, generation, '', false);
  }

  end(trailers: OutgoingHttpHeaders = OK_TRAILERS): void {
    if (this.finished) return;
    this.finish();
    const headers = writeHeaders({ ...RESPONSE_HEADERS, ...this.metadata(), ...trailers });
    this.handle.native.grpcRespond(this.handle.server, this.slot, this.generation, headers, true);
  }

  fail(error: SwitchyardError): void {
    this.end(errorTrailers(error));
  }

  abort(error: SwitchyardError): void {
    if (this.finished) return;
    const receiver = this.receiver;
    this.fail(error);
    receiver?.cancelled();
  }

  onSurplus(): void {
    this.abort(new SwitchyardError('unsupported', 'this method takes exactly one message, a second one came'));
  }

  onGone(): void {
    if (this.finished) return;
    this.finish();
    this.receiver?.cancelled();
  }

  onBytes(): void {}
  onEnded(): void {}
  onFlushed(): void {}

  private metadata(): OutgoingHttpHeaders | undefined {
    return this.served === undefined ? undefined : metadataOf(this.served);
  }

  private finish(): void {
    this.finished = true;
    if (this.timer !== undefined) clearTimeout(this.timer);
    this.handle.forget(this);
  }
}

function expire(call: NativeUnaryCall): void {
  call.abort(new SwitchyardError('deadline_exceeded', 'the deadline of the call passed before its answer'));
}
