import { constants, type OutgoingHttpHeaders } from 'node:http2';
import type { CallStream } from './call-stream.ts';
import { SLICE } from './call-stream.ts';
import type { GrpcCall } from './grpc-call.ts';
import type { NativeEndpoint, NativeServerHandle } from './native-endpoint.ts';
import { writeHeaders, writeTrailers } from './native-text.ts';
import { OK_TRAILERS } from './status.ts';

/** A stream of the addon's under a call: for everything but unary messages that arrive whole. */
export class NativeStream implements CallStream, NativeEndpoint {
  readonly slot: number;
  readonly generation: number;
  gone = false;
  requestEnded = false;
  unsentBytes = 0;
  private readonly handle: NativeServerHandle;
  private call: GrpcCall | undefined;
  private readonly waiting: Buffer[] = [];
  private waitingBytes = 0;
  private endArrived = false;
  private paused = false;
  private delivering = false;
  /** The answer is complete; the addon says no more of this stream. */
  private answered = false;

  constructor(handle: NativeServerHandle, slot: number, generation: number) {
    this.handle = handle;
    this.slot = slot;
    this.generation = generation;
  }

  get peer(): string {
    return this.handle.native.grpcPeer(this.handle.server, this.slot, this.generation);
  }

  get certificateName(): string {
    const { native, server, asksClients } = this.handle;
    return asksClients ? native.grpcCertificateName(server, this.slot, this.generation) : '';
  }

  attach(call: GrpcCall): void {
    this.call = call;
    if (this.answered) this.handle.dispatcher.closed(call);
    else this.deliver();
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
    this.deliver();
  }

  respond(headers: OutgoingHttpHeaders): void {
    const { native, server } = this.handle;
    native.grpcRespond(server, this.slot, this.generation, writeHeaders(headers), false);
  }

  refuse(headers: OutgoingHttpHeaders, body?: string): void {
    const { native, server } = this.handle;
    const { slot, generation } = this;
    native.grpcRespond(server, slot, generation, writeHeaders(headers), body === undefined);
    if (body !== undefined) {
      native.grpcWrite(server, slot, generation, Buffer.from(body));
      native.grpcEnd(server, slot, generation, '', true);
    }
    this.finish();
  }

  write(frame: Buffer): boolean {
    this.unsentBytes = this.handle.native.grpcWrite(this.handle.server, this.slot, this.generation, frame);
    return this.unsentBytes <= SLICE;
  }

  end(trailers: OutgoingHttpHeaders, frame?: Buffer): void {
    const { native, server } = this.handle;
    if (frame !== undefined) this.write(frame);
    native.grpcEnd(server, this.slot, this.generation, writeTrailers(trailers, OK_TRAILERS), false);
    this.finish();
  }

  reset(): void {
    const { native, server } = this.handle;
    native.grpcReset(server, this.slot, this.generation, constants.NGHTTP2_INTERNAL_ERROR);
    this.finish();
  }

  onBytes(bytes: Buffer): void {
    this.waiting.push(bytes);
    this.hold(bytes.length);
    this.deliver();
    const { limits } = this.handle.dispatcher;
    if (this.waitingBytes > 0 && limits.bufferedBytes > limits.maxBufferedBytes) this.call?.overloaded();
  }

  onEnded(): void {
    this.endArrived = true;
    this.deliver();
  }

  onFlushed(): void {
    this.unsentBytes = 0;
    this.call?.onDrain();
  }

  onSurplus(): void {}

  onGone(): void {
    this.gone = true;
    this.drop();
    if (this.call !== undefined) this.handle.dispatcher.closed(this.call);
  }

  private finish(): void {
    if (this.answered) return;
    this.answered = true;
    this.drop();
    this.handle.forget(this);
    if (this.call !== undefined) this.handle.dispatcher.closed(this.call);
  }

  /** What waits for a paused call counts like what it has of a message. */
  private hold(bytes: number): void {
    this.waitingBytes += bytes;
    this.handle.dispatcher.limits.bufferedBytes += bytes;
  }

  private drop(): void {
    this.waiting.length = 0;
    this.hold(-this.waitingBytes);
  }

  private deliver(): void {
    const { call } = this;
    if (call === undefined || this.delivering) return;
    this.delivering = true;
    while (!this.paused && this.waiting.length > 0) {
      const bytes = this.waiting.shift()!;
      this.hold(-bytes.length);
      this.handle.native.grpcConsume(this.handle.server, this.slot, this.generation, bytes.length);
      call.onData(bytes);
    }
    this.delivering = false;
    if (this.paused || this.waiting.length > 0 || !this.endArrived || this.requestEnded) return;
    this.requestEnded = true;
    call.onEnd();
  }
}
