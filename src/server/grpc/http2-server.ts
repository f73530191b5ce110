import {
  constants,
  createSecureServer,
  createServer,
  type Http2SecureServer,
  type Http2Server,
  type IncomingHttpHeaders,
  type SecureServerOptions,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
import type { AddressInfo, Socket } from 'node:net';
import { monotonicMs } from '../../shared/clock.ts';
import { SwitchyardError, toSwitchyardError } from '../../shared/errors.ts';
import { type CallLimits, GrpcCall, type Method, stopSending } from './grpc-call.ts';
import { SessionGuard } from './session-guard.ts';
import { errorTrailers, parseTimeout, RESPONSE_HEADERS } from './status.ts';

export interface GrpcTls {
  /** PEM texts. */
  cert: string | Buffer;
  key: string | Buffer;
  /** PEM of the authorities that sign client certificates. */
  ca?: string | Buffer;
  /** 'require' refuses connections without a certificate of `ca`; 'request' takes both. */
  clientCertificates?: 'none' | 'request' | 'require';
}

export interface GrpcHttp2Options {
  maxMessageBytes: number;
  tls?: GrpcTls;
  /** Calls one connection may have open. */
  maxConcurrentStreams?: number;
  maxConnections?: number;
  maxConnectionsPerAddress?: number;
}

const SWEEP_MS = 1000;
const STALL_MS = 30_000;
const LARGEST_STREAM_ID = 2 ** 31 - 1;
const STREAM_WINDOW = 1 << 20;
const SESSION_WINDOW = 8 << 20;

const CALL = Symbol('call');
type CallStream = ServerHttp2Stream & { [CALL]?: GrpcCall; guard?: SessionGuard };

/**
 * gRPC over node's HTTP/2: maps streams to registered methods, bounds what connections may do, and drains. It knows
 * nothing of what the methods mean. Not found methods are offered to `onUnknownMethod` once, which may register more.
 */
export class GrpcHttp2Server {
  readonly limits: CallLimits;
  /** Loads services that are rarely asked for; true: look the path up again. */
  onUnknownMethod: ((path: string) => Promise<boolean>) | undefined;
  private readonly server: Http2Server | Http2SecureServer;
  private readonly methods = new Map<string, Method>();
  private readonly guards = new Map<ServerHttp2Session, SessionGuard>();
  private readonly addresses = new Map<string, number>();
  private readonly maxPerAddress: number;
  private readonly calls = new Set<GrpcCall>();
  private sweeper: NodeJS.Timeout | undefined;
  private draining = false;

  constructor(options: GrpcHttp2Options) {
    this.limits = {
      maxMessageBytes: options.maxMessageBytes,
      maxBufferedBytes: Math.max(256 << 20, 2 * options.maxMessageBytes),
      bufferedBytes: 0,
      receiving: new Set(),
    };
    this.maxPerAddress = options.maxConnectionsPerAddress ?? 4096;
    const http2 = {
      settings: {
        enablePush: false,
        initialWindowSize: STREAM_WINDOW,
        maxConcurrentStreams: options.maxConcurrentStreams ?? 1024,
        maxHeaderListSize: 16384,
        // DATA frames stay at 16 KiB: a message that aliases the chunk it came in is then smaller than what the pipeline
        // gives away to other threads, buffer and all.
        maxFrameSize: 16384,
      },
      maxHeaderListPairs: 128,
      // Megabytes. Answers go through in slices, so this much is reached only by a client that misbehaves.
      maxSessionMemory: 128,
      maxSessionInvalidFrames: 100,
      maxOutstandingPings: 4,
    };
    const tls = options.tls;
    this.server = tls === undefined ? createServer(http2) : createSecureServer({ ...http2, ...tlsOptions(tls) });
    this.server.maxConnections = options.maxConnections ?? 10_000;
    this.server.on('session', (session: ServerHttp2Session) => this.onSession(session));
    this.server.on('stream', (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) =>
      this.onStream(stream, headers),
    );
    this.server.on('sessionError', ignore);
    this.server.on(tls === undefined ? 'connection' : 'secureConnection', (socket: Socket) => this.onSocket(socket));
    this.server.on('tlsClientError', ignore);
  }

  /** Registers a method by its path, '/package.Service/Method'. */
  register(path: string, method: Method): void {
    this.methods.set(path, method);
  }

  /** Resolves with the port once listening; port 0 takes any. Rejects where the port cannot be bound. */
  listen(host: string, port: number): Promise<number> {
    return new Promise((resolve, reject) => {
      this.server.once('error', reject);
      this.server.listen(port, host, () => {
        this.server.off('error', reject);
        this.server.on('error', ignore);
        this.sweeper = setInterval(() => this.sweep(), SWEEP_MS);
        this.sweeper.unref();
        resolve((this.server.address() as AddressInfo).port);
      });
    });
  }

  /** Stops taking connections and calls, and resolves when the calls under way have ended. */
  drain(): Promise<void> {
    this.draining = true;
    return new Promise((resolve) => {
      this.server.close(() => {
        clearInterval(this.sweeper);
        resolve();
      });
      for (const call of this.calls) call.receiver?.goingAway?.();
      for (const session of this.guards.keys()) goAway(session);
    });
  }

  /** Ends everything at once. */
  close(): Promise<void> {
    this.draining = true;
    clearInterval(this.sweeper);
    const closed = new Promise<void>((resolve) => {
      this.server.close(() => resolve());
    });
    for (const session of this.guards.keys()) session.destroy();
    return closed;
  }

  private onSocket(socket: Socket): void {
    socket.setNoDelay(true);
    const address = socket.remoteAddress ?? '';
    const count = (this.addresses.get(address) ?? 0) + 1;
    this.addresses.set(address, count);
    socket.once('close', () => {
      const left = this.addresses.get(address)! - 1;
      if (left === 0) this.addresses.delete(address);
      else this.addresses.set(address, left);
    });
    if (count > this.maxPerAddress) socket.destroy();
  }

  private onSession(session: ServerHttp2Session): void {
    const guard = new SessionGuard(session, monotonicMs());
    this.guards.set(session, guard);
    session.setLocalWindowSize(SESSION_WINDOW);
    session.once('remoteSettings', () => {
      guard.settled = true;
    });
    session.on('error', ignore);
    session.on('frameError', ignore);
    session.once('close', () => this.guards.delete(session));
    if (this.draining) goAway(session);
  }

  private onStream(stream: CallStream, headers: IncomingHttpHeaders): void {
    const now = monotonicMs();
    stream.on('error', ignore);
    const guard = this.guards.get(stream.session as ServerHttp2Session);
    if (guard === undefined) {
      stream.close(constants.NGHTTP2_REFUSED_STREAM);
      return;
    }
    guard.onCall();
    const type = headers['content-type'];
    if (headers[':method'] !== 'POST' || type === undefined || !type.startsWith('application/grpc')) {
      this.refuseHttp(stream, headers[':method'] === 'POST' ? 415 : 405);
      return;
    }
    const path = headers[':path']!;
    const method = this.methods.get(path);
    if (method !== undefined) this.start(stream, headers, method, guard, now);
    else this.startUnknown(stream, headers, path, guard, now);
  }

  private start(
    stream: CallStream,
    headers: IncomingHttpHeaders,
    method: Method,
    guard: SessionGuard,
    now: number,
  ): void {
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
      call = new GrpcCall(stream, headers, method, this.limits, now);
    } catch (error) {
      refuse(stream, toSwitchyardError(error));
      return;
    }
    stream[CALL] = call;
    stream.guard = guard;
    this.calls.add(call);
    stream.on('close', this.onClose);
    stream.on('wantTrailers', onWantTrailers);
    try {
      call.open(timeout);
      if (this.draining) call.receiver?.goingAway?.();
    } catch (error) {
      call.abort(toSwitchyardError(error));
    }
    if (method.kind === 'stream') {
      stream.on('drain', onDrain);
      stream.on('end', onEnd);
      stream.on('data', onData);
      return;
    }
    // A unary message nearly always comes in one piece and its end adds nothing: listening for it costs more than the
    // decoding. Messages in pieces listen from their first one, calls without any are found by the sweep.
    stream.on('data', onUnaryData);
    if (stream.endAfterHeaders) call.onEnd();
  }

  private startUnknown(
    stream: CallStream,
    headers: IncomingHttpHeaders,
    path: string,
    guard: SessionGuard,
    now: number,
  ): void {
    const unknown = new SwitchyardError('unsupported', `method ${path.slice(0, 256)} is not served here`);
    const more = this.onUnknownMethod?.(path);
    if (more === undefined) {
      refuse(stream, unknown);
      return;
    }
    more.then(
      (loaded) => {
        if (stream.destroyed) return;
        const method = loaded ? this.methods.get(path) : undefined;
        if (method === undefined) refuse(stream, unknown);
        else this.start(stream, headers, method, guard, now);
      },
      (error: unknown) => refuse(stream, toSwitchyardError(error)),
    );
  }

  private refuseHttp(stream: ServerHttp2Stream, status: number): void {
    const body = JSON.stringify({ error: 'this port speaks gRPC: POST with content-type application/grpc' });
    stream.respond({ ':status': status, 'content-type': 'application/json' });
    stream.end(body, () => stopSending(stream));
  }

  private readonly onClose = this.closeHandler();

  /** One function for all streams; `this` inside it is the stream. */
  private closeHandler(): (this: CallStream) => void {
    const server = this;
    return function (this: CallStream): void {
      const call = this[CALL]!;
      const guard = this.guard!;
      server.calls.delete(call);
      const unanswered = !call.finished;
      call.onClose();
      if (unanswered && !guard.onReset(monotonicMs())) guard.expel();
    };
  }

  private sweep(): void {
    const now = monotonicMs();
    for (const guard of this.guards.values()) if (guard.sweep(now) !== '') guard.expel();
    for (const call of this.calls) if (call.silent && call.stream.readableEnded) call.onEnd();
    for (const call of this.limits.receiving) {
      if (call.lastProgress === 0) call.lastProgress = now;
      else if (now - call.lastProgress > STALL_MS) {
        call.abort(new SwitchyardError('deadline_exceeded', 'a message stopped arriving before its declared length'));
      }
    }
  }
}

function tlsOptions(tls: GrpcTls): SecureServerOptions {
  const certificates = tls.clientCertificates ?? 'none';
  return {
    cert: tls.cert,
    key: tls.key,
    ca: tls.ca,
    requestCert: certificates !== 'none',
    rejectUnauthorized: certificates === 'require',
    allowHTTP1: false,
    minVersion: 'TLSv1.2',
    handshakeTimeout: 10_000,
  };
}

/**
 * Asks a client to open no more calls: first with an open bound, so that calls already on the wire are still taken, then
 * for good once the client must have read that.
 */
function goAway(session: ServerHttp2Session): void {
  if (session.destroyed || session.closed) return;
  session.goaway(constants.NGHTTP2_NO_ERROR, LARGEST_STREAM_ID);
  const finish = (): void => {
    if (!session.destroyed) session.close();
  };
  const timer = setTimeout(finish, 500);
  timer.unref();
  session.ping(() => {
    clearTimeout(timer);
    finish();
  });
}

function refuse(stream: ServerHttp2Stream, error: SwitchyardError): void {
  if (stream.destroyed || stream.headersSent) return;
  stream.respond(
    { ...RESPONSE_HEADERS, 'grpc-accept-encoding': 'identity,deflate,gzip', ...errorTrailers(error) },
    { endStream: true },
  );
  stopSending(stream);
}

function onData(this: CallStream, chunk: Buffer): void {
  this.guard!.onData(chunk.length);
  this[CALL]!.onData(chunk);
}

function onUnaryData(this: CallStream, chunk: Buffer): void {
  const call = this[CALL]!;
  this.guard!.onData(chunk.length);
  call.onData(chunk);
  if (call.partial && this.listenerCount('end') === 0) this.on('end', onEnd);
}

function onEnd(this: CallStream): void {
  this[CALL]!.onEnd();
}

function onDrain(this: CallStream): void {
  this[CALL]!.onDrain();
}

function onWantTrailers(this: CallStream): void {
  this[CALL]!.sendTrailers();
}

/** Errors of sockets and streams end in their 'close', where the work is undone. */
function ignore(): void {}
