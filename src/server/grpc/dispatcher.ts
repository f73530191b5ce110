import type { IncomingHttpHeaders } from 'node:http2';
import { SwitchyardError, toSwitchyardError } from '../../shared/errors.ts';
import type { Method, MethodRegistry } from './call.ts';
import type { CallStream } from './call-stream.ts';
import { type CallLimits, GrpcCall } from './grpc-call.ts';
import { errorTrailers, parseTimeout, RESPONSE_HEADERS } from './status.ts';

/** A unary call's message is there by then, or at least begun. */
const FIRST_MESSAGE_MS = 30_000;

/**
 * Gives each HTTP/2 stream to the method its path names, or its error. Knows neither sockets nor what methods mean.
 * Methods that are not found are offered to `onUnknownMethod` once, which may register more.
 */
export class Dispatcher implements MethodRegistry {
  readonly limits: CallLimits;
  readonly methods = new Map<string, Method>();
  /** Loads services that are rarely asked for; true: look the path up again. */
  onUnknownMethod: ((path: string) => Promise<boolean>) | undefined;
  private readonly calls = new Set<GrpcCall>();
  private draining = false;

  constructor(maxMessageBytes: number) {
    this.limits = {
      maxMessageBytes,
      maxBufferedBytes: Math.max(256 << 20, 2 * maxMessageBytes),
      bufferedBytes: 0,
      receiving: new Set(),
    };
  }

  register(path: string, method: Method): void {
    this.methods.set(path, method);
  }

  /** A stream's headers have arrived. The call that it becomes is attached to it. */
  open(stream: CallStream, headers: IncomingHttpHeaders, receivedAt: number): void {
    const type = headers['content-type'];
    if (headers[':method'] !== 'POST' || type === undefined || !type.startsWith('application/grpc')) {
      const body = JSON.stringify({ error: 'this port speaks gRPC: POST with content-type application/grpc' });
      const status = headers[':method'] === 'POST' ? 415 : 405;
      stream.refuse({ ':status': status, 'content-type': 'application/json' }, body);
      return;
    }
    const path = headers[':path']!;
    const method = this.methods.get(path);
    if (method !== undefined) this.start(stream, headers, method, receivedAt);
    else this.startUnknown(stream, headers, path, receivedAt);
  }

  /** The call's stream is gone. */
  closed(call: GrpcCall): void {
    this.calls.delete(call);
    call.onClose();
  }

  /** Tells the calls under way, and those that still come, that the server is going away. */
  goAway(): void {
    this.draining = true;
    for (const call of this.calls) call.receiver?.goingAway?.();
  }

  /** Finds calls without a message, and messages that stop arriving. To be called about once a second. */
  sweep(now: number): void {
    for (const call of this.calls) {
      if (!call.silent) continue;
      if (call.stream.requestEnded) call.onEnd();
      else if (!call.streaming && now - call.receivedAt > FIRST_MESSAGE_MS) {
        call.abort(new SwitchyardError('deadline_exceeded', 'the message of the call did not come'));
      }
    }
    for (const call of this.limits.receiving) {
      const reason = call.arrival.look(now);
      if (reason !== '') call.abort(new SwitchyardError('deadline_exceeded', reason));
    }
  }

  private start(stream: CallStream, headers: IncomingHttpHeaders, method: Method, receivedAt: number): void {
    let call: GrpcCall;
    let timeout = Number.POSITIVE_INFINITY;
    try {
      const header = headers['grpc-timeout'] as string | undefined;
      if (header !== undefined) {
        timeout = parseTimeout(header);
        if (Number.isNaN(timeout)) {
          throw new SwitchyardError(
            'invalid_argument',
            `grpc-timeout '${header.slice(0, 32)}' is not 1 to 8 digits and one of H, M, S, m, u, n`,
          );
        }
      }
      call = new GrpcCall(stream, headers, method, this.limits, receivedAt);
    } catch (error) {
      refuse(stream, toSwitchyardError(error));
      return;
    }
    this.calls.add(call);
    try {
      call.open(timeout);
      if (this.draining) call.receiver?.goingAway?.();
    } catch (error) {
      call.abort(toSwitchyardError(error));
    }
    stream.attach(call);
  }

  private startUnknown(stream: CallStream, headers: IncomingHttpHeaders, path: string, receivedAt: number): void {
    const unknown = new SwitchyardError('unsupported', `method ${path.slice(0, 256)} is not served here`);
    const more = this.onUnknownMethod?.(path);
    if (more === undefined) {
      refuse(stream, unknown);
      return;
    }
    more.then(
      (loaded) => {
        if (stream.gone) return;
        const method = loaded ? this.methods.get(path) : undefined;
        if (method === undefined) refuse(stream, unknown);
        else this.start(stream, headers, method, receivedAt);
      },
      (error: unknown) => refuse(stream, toSwitchyardError(error)),
    );
  }
}

function refuse(stream: CallStream, error: SwitchyardError): void {
  if (stream.gone) return;
  stream.refuse({ ...RESPONSE_HEADERS, 'grpc-accept-encoding': 'identity,deflate,gzip', ...errorTrailers(error) });
}
