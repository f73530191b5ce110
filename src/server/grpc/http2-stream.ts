import { constants, type OutgoingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import { monotonicMs } from '../../shared/clock.ts';
import { type CallStream, SLICE } from './call-stream.ts';
import type { Dispatcher } from './dispatcher.ts';
import type { GrpcCall } from './grpc-call.ts';
import { Outbox } from './outbox.ts';
import type { SessionGuard } from './session-guard.ts';
import { OK_TRAILERS } from './status.ts';

const WITH_TRAILERS = { waitForTrailers: true, sendDate: false };
const WHOLE = { endStream: true, sendDate: false };

const SELF = Symbol('stream');
type Raw = ServerHttp2Stream & { [SELF]: Http2Stream };

/** A stream of node:http2 under a call. */
export class Http2Stream implements CallStream {
  readonly guard: SessionGuard;
  readonly dispatcher: Dispatcher;
  call: GrpcCall | undefined;
  private readonly raw: ServerHttp2Stream;
  private outbox: Outbox | undefined;
  private trailers: OutgoingHttpHeaders = OK_TRAILERS;

  constructor(raw: ServerHttp2Stream, guard: SessionGuard, dispatcher: Dispatcher) {
    this.raw = raw;
    this.guard = guard;
    this.dispatcher = dispatcher;
    (raw as Raw)[SELF] = this;
  }

  get gone(): boolean {
    return this.raw.destroyed;
  }

  get requestEnded(): boolean {
    return this.raw.readableEnded;
  }

  get unsentBytes(): number {
    return this.raw.writableLength + (this.outbox === undefined ? 0 : this.outbox.bytes);
  }

  get peer(): string {
    return this.raw.session?.socket?.remoteAddress ?? 'unknown';
  }

  get certificateName(): string {
    const socket = this.raw.session?.socket as
      | { authorized?: boolean; getPeerCertificate?(): { subject?: { CN?: string | string[] } } }
      | undefined;
    if (socket?.authorized !== true || socket.getPeerCertificate === undefined) return '';
    const name = socket.getPeerCertificate().subject?.CN;
    return typeof name === 'string' ? name : '';
  }

  attach(call: GrpcCall): void {
    this.call = call;
    this.guard.streams.add(this);
    const raw = this.raw as Raw;
    raw.on('close', onClose);
    raw.on('wantTrailers', onWantTrailers);
    if (call.streaming) {
      raw.on('drain', onDrain);
      raw.on('end', onEnd);
      raw.on('data', onData);
      return;
    }
    // A unary message nearly always comes in one piece and its end adds nothing: listening for it costs more than the
    // decoding. Messages in pieces listen from their first one, calls without any are found by the sweep.
    raw.on('data', onUnaryData);
    if (raw.endAfterHeaders) call.onEnd();
  }

  pause(): void {
    this.raw.pause();
  }

  resume(): void {
    this.raw.resume();
  }

  respond(headers: OutgoingHttpHeaders): void {
    this.raw.respond(headers, WITH_TRAILERS);
  }

  refuse(headers: OutgoingHttpHeaders, body?: string): void {
    const { raw } = this;
    if (raw.destroyed || raw.headersSent) return;
    if (body === undefined) {
      raw.respond(headers, WHOLE);
      stopSending(raw);
    } else {
      raw.respond(headers);
      raw.end(body, () => stopSending(raw));
    }
  }

  write(frame: Buffer): boolean {
    this.guard.writtenBytes += frame.length;
    if (this.outbox === undefined) {
      if (frame.length <= SLICE) return this.raw.write(frame);
      this.outbox = new Outbox(this.raw);
    }
    return this.outbox.push(frame);
  }

  end(trailers: OutgoingHttpHeaders, frame?: Buffer): void {
    this.trailers = trailers;
    if (frame !== undefined) {
      if (this.outbox === undefined && frame.length <= SLICE) {
        this.guard.writtenBytes += frame.length;
        this.raw.end(frame);
        return;
      }
      this.write(frame);
    }
    if (this.outbox === undefined) this.raw.end();
    else this.outbox.end();
  }

  reset(): void {
    this.raw.close(constants.NGHTTP2_INTERNAL_ERROR);
  }

  sendTrailers(): void {
    this.raw.sendTrailers(this.trailers);
  }
}

/**
 * Asks a client that is answered already, but still sending, to stop; what is under way is read and dropped meanwhile, to
 * keep the connection's window open. Call it once the answer is complete.
 */
function stopSending(raw: ServerHttp2Stream): void {
  if (raw.readableEnded) return;
  raw.resume();
  setImmediate(closeQuietly, raw);
}

function closeQuietly(raw: ServerHttp2Stream): void {
  if (!raw.destroyed && !raw.closed) raw.close(constants.NGHTTP2_NO_ERROR);
}

// Listeners are shared by all streams; `this` is the stream they are called for.

function onClose(this: Raw): void {
  const { call, guard, dispatcher } = this[SELF];
  guard.streams.delete(this[SELF]);
  const unanswered = !call!.finished;
  dispatcher.closed(call!);
  if (unanswered && !guard.onReset(monotonicMs())) guard.expel();
}

function onData(this: Raw, chunk: Buffer): void {
  const { call, guard } = this[SELF];
  guard.onData(chunk.length);
  call!.onData(chunk);
}

function onUnaryData(this: Raw, chunk: Buffer): void {
  const { call, guard } = this[SELF];
  guard.onData(chunk.length);
  call!.onData(chunk);
  if (call!.partial && this.listenerCount('end') === 0) this.on('end', onEnd);
}

function onEnd(this: Raw): void {
  this[SELF].call!.onEnd();
}

function onDrain(this: Raw): void {
  this[SELF].call!.onDrain();
}

function onWantTrailers(this: Raw): void {
  this[SELF].sendTrailers();
}
