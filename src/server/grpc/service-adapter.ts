import { EventEmitter } from 'node:events';
import type { IncomingHttpHeaders } from 'node:http2';
import { Duplex } from 'node:stream';
import { frameMessage } from '../../protocol/grpc/wire-writer.ts';
import { SwitchyardError, toSwitchyardError } from '../../shared/errors.ts';
import type { Call, CallReceiver, Method, StreamingCall } from './call.ts';
import { errorTrailers, GRPC_UNKNOWN, statusTrailers } from './status.ts';

/** A method as proto-loader and grpc-js describe it. */
export interface MethodDefinition {
  path: string;
  requestStream: boolean;
  responseStream: boolean;
  requestDeserialize(bytes: Buffer): unknown;
  responseSerialize(value: never): Buffer;
  originalName?: string;
}

/** What handlers may fail with: our errors, or grpc-js's plain { code, details }. */
type CallFailure = Error | { code?: number; details?: string; message?: string };
export type UnaryCallback = (error: CallFailure | null, value?: unknown) => void;

/** A unary or server-streaming request as handlers in grpc-js's style see it. Emits 'cancelled'. */
export class UnaryCall extends EventEmitter {
  readonly request: unknown;
  readonly grpc: Call;
  cancelled = false;

  constructor(grpc: Call, request: unknown) {
    super();
    this.request = request;
    this.grpc = grpc;
  }

  get metadata(): IncomingHttpHeaders {
    return this.grpc.headers;
  }

  getPeer(): string {
    return this.grpc.peer;
  }
}

/**
 * A streaming call in grpc-js's style: a Duplex of messages. Reading pauses the HTTP/2 stream when its consumer lags;
 * `write` returns false while the client lags. Emits 'cancelled'. An 'error' with code and details ends the call with
 * that status.
 */
class StreamCall extends Duplex {
  request: unknown;
  readonly grpc: StreamingCall;
  cancelled = false;
  private readonly definition: MethodDefinition;
  private flushed: ((error?: Error | null) => void) | undefined;

  constructor(grpc: StreamingCall, definition: MethodDefinition) {
    super({ objectMode: true, allowHalfOpen: true, emitClose: false, autoDestroy: false });
    this.grpc = grpc;
    this.definition = definition;
    this.on('error', (error: CallFailure) => failCall(grpc, error));
  }

  get metadata(): IncomingHttpHeaders {
    return this.grpc.headers;
  }

  getPeer(): string {
    return this.grpc.peer;
  }

  receive(message: Buffer): void {
    if (!this.push(this.definition.requestDeserialize(message))) this.grpc.pause();
  }

  override _read(): void {
    this.grpc.resume();
  }

  override _write(value: never, _encoding: string, done: (error?: Error | null) => void): void {
    if (this.grpc.write(frameMessage(this.definition.responseSerialize(value)))) done();
    else this.flushed = done;
  }

  override _final(done: (error?: Error | null) => void): void {
    this.grpc.end();
    done();
  }

  flush(): void {
    const flushed = this.flushed;
    this.flushed = undefined;
    flushed?.();
  }

  cancel(): void {
    this.cancelled = true;
    this.emit('cancelled', 'cancelled');
    this.flush();
  }
}

type UnaryHandler = (call: UnaryCall, callback: UnaryCallback) => void;
type StreamHandler = (call: StreamCall, callback: UnaryCallback) => void;

/**
 * Turns a handler in grpc-js's style into a method of this server: (call, callback) where one message is answered,
 * (call) where answers stream.
 */
export function adaptMethod(definition: MethodDefinition, handler: (...args: never[]) => void): Method {
  if (definition.requestStream || definition.responseStream) {
    return { kind: 'stream', open: (call) => openStream(definition, handler as unknown as StreamHandler, call) };
  }
  const unary = handler as unknown as UnaryHandler;
  return {
    kind: 'unary',
    handle(message, grpc) {
      const call = new UnaryCall(grpc, decode(definition, message));
      grpc.receiver = {
        cancelled() {
          call.cancelled = true;
          call.emit('cancelled', 'cancelled');
        },
      };
      unary(call, (error, value) => answer(definition, grpc, error, value));
    },
  };
}

function openStream(definition: MethodDefinition, handler: StreamHandler, grpc: StreamingCall): CallReceiver {
  const call = new StreamCall(grpc, definition);
  const callback: UnaryCallback = (error, value) => answer(definition, grpc, error, value);
  let started = definition.requestStream;
  if (started) handler(call, callback);
  return {
    message(message) {
      if (definition.requestStream) call.receive(message);
      else if (started) throw new SwitchyardError('unsupported', 'this method takes exactly one message');
      else {
        started = true;
        call.request = decode(definition, message);
        handler(call, callback);
      }
    },
    halfClosed() {
      if (!started) throw new SwitchyardError('unsupported', 'this method takes exactly one message, none came');
      call.push(null);
    },
    drained: () => call.flush(),
    cancelled: () => call.cancel(),
    goingAway() {
      const error = new SwitchyardError('unavailable', 'the server is shutting down; reconnect');
      grpc.abort(error);
    },
  };
}

function decode(definition: MethodDefinition, message: Buffer): unknown {
  try {
    return definition.requestDeserialize(message);
  } catch (error) {
    const detail = error instanceof Error ? error.message : String(error);
    throw new SwitchyardError('invalid_argument', `malformed request message: ${detail}`);
  }
}

function answer(definition: MethodDefinition, grpc: Call, error: CallFailure | null, value: unknown): void {
  if (error !== null && error !== undefined) failCall(grpc, error);
  else grpc.reply(frameMessage(definition.responseSerialize(value as never)));
}

function failCall(grpc: Call, error: CallFailure): void {
  if (error instanceof SwitchyardError) grpc.end(errorTrailers(error));
  else if ('code' in error && typeof error.code === 'number') {
    grpc.end(statusTrailers(error.code, error.details ?? error.message ?? ''));
  } else if (error instanceof Error) grpc.end(errorTrailers(toSwitchyardError(error)));
  else grpc.end(statusTrailers(GRPC_UNKNOWN, 'unknown error'));
}
