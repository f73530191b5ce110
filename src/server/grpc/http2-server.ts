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
import type { Dispatcher } from './dispatcher.ts';
import { Http2Stream } from './http2-stream.ts';
import { SessionGuard } from './session-guard.ts';

export interface GrpcTls {
  /** PEM texts. */
  cert: string | Buffer;
  key: string | Buffer;
  /** PEM of the authorities that sign client certificates. */
  ca?: string | Buffer;
  /** 'require' refuses connections without a certificate of `ca`; 'request' takes both. */
  clientCertificates?: 'none' | 'request' | 'require';
}

export interface TransportOptions {
  tls?: GrpcTls;
  /** Calls one connection may have open. */
  maxConcurrentStreams?: number;
  maxConnections?: number;
  maxConnectionsPerAddress?: number;
}

/** What carries gRPC: listens, opens calls at a dispatcher, drains. */
export interface GrpcTransport {
  /** Resolves with the port once listening; port 0 takes any. Rejects where the port cannot be bound. */
  listen(host: string, port: number): Promise<number>;
  /** Stops taking connections and calls, and resolves when the calls under way have ended. */
  drain(): Promise<void>;
  /** Ends everything at once. */
  close(): Promise<void>;
}

const SWEEP_MS = 1000;
const LARGEST_STREAM_ID = 2 ** 31 - 1;
const STREAM_WINDOW = 1 << 20;
const SESSION_WINDOW = 8 << 20;
/** Where clients leave more of their answers unread, those that take nothing are soon cut. */
const CROWDED_UNSENT = 512 << 20;

/** gRPC over node's HTTP/2: maps streams to calls, bounds what connections may do, and drains. */
export class GrpcHttp2Server implements GrpcTransport {
  private readonly dispatcher: Dispatcher;
  private readonly server: Http2Server | Http2SecureServer;
  private readonly guards = new Map<ServerHttp2Session, SessionGuard>();
  private readonly addresses = new Map<string, number>();
  private readonly maxPerAddress: number;
  private sweeper: NodeJS.Timeout | undefined;
  private draining = false;

  constructor(dispatcher: Dispatcher, options: TransportOptions) {
    this.dispatcher = dispatcher;
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

  drain(): Promise<void> {
    this.draining = true;
    return new Promise((resolve) => {
      this.server.close(() => {
        clearInterval(this.sweeper);
        resolve();
      });
      this.dispatcher.goAway();
      for (const session of this.guards.keys()) goAway(session);
    });
  }

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

  private onStream(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): void {
    const now = monotonicMs();
    stream.on('error', ignore);
    const guard = this.guards.get(stream.session as ServerHttp2Session);
    if (guard === undefined) {
      stream.close(constants.NGHTTP2_REFUSED_STREAM);
      return;
    }
    guard.onCall();
    this.dispatcher.open(new Http2Stream(stream, guard, this.dispatcher), headers, now);
  }

  private sweep(): void {
    const now = monotonicMs();
    const unsent = Array.from(this.guards.values(), (guard): [SessionGuard, number] => [guard, guard.unsent()]);
    const crowded = unsent.reduce((sum, [, bytes]) => sum + bytes, 0) > CROWDED_UNSENT;
    for (const [guard, bytes] of unsent) if (guard.sweep(now, bytes, crowded) !== '') guard.expel();
    this.dispatcher.sweep(now);
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

/** Errors of sockets and streams end in their 'close', where the work is undone. */
function ignore(): void {}
