/**
 * The seam between handlers and the socket library. uws.ts, node.ts and native.ts implement it; nothing else knows which
 * of them serves.
 */

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { RequestHeaders, RoutedHeaders } from '../../pipeline/types.ts';

/** The head of a request. One object per server, overwritten by the next request: valid only inside `onRequest`. */
export interface RequestHead {
  /** Upper case. */
  readonly method: string;
  /** As sent, percent-encoded, without the query. */
  readonly path: string;
  /** Without the question mark; '' = none. */
  readonly query: string;
  /** -1: the request declares none: its body is empty, or chunked. */
  readonly contentLength: number;
  /** The body comes in chunks of its own framing; only where `chunkedBodies` is on. */
  readonly chunked: boolean;
  readonly contentEncoding: string;
  readonly acceptEncoding: string;
  /** Inference-Header-Content-Length as sent, '' = absent. */
  readonly inferenceHeaderLength: string;
  readonly authorization: string;
  /** X-Api-Key or Api-Key. */
  readonly apiKey: string;
  readonly traceparent: string;
  /** X-Request-Timeout-Ms or X-Switchyard-Timeout-Ms as sent. */
  readonly timeoutMs: string;
  readonly priority: string;
  readonly requestId: string;
  /** Any other header by its lower-case name; '' = absent, the first of several. Slower than the fields. */
  header(name: string): string;
  /** A header that is a list: its values in their order between commas; '' = absent. */
  headerList(name: string): string;
  /** What can be asked of these headers when this head is gone, until the request is answered. */
  keep(headers: RoutedHeaders): RequestHeaders;
  /** The peer's address as text. */
  remoteAddress(): string;
  /** Common name of the client certificate this server verified; '' = none. */
  certificateName(): string;
}

/** Takes the body of a request. Called in this order: onBody once, or onAbort once before or after it. */
export interface RequestListener {
  /**
   * The whole body, ≤ maxBodyBytes.
   * @param owned true: the listener owns the bytes. False: they are the socket's, and gone when onBody returns.
   */
  onBody(body: Uint8Array, owned: boolean): void;
  /** The peer went away before the answer was complete. Answers after it are ignored. */
  onAbort(): void;
  /** A stream whose `write` returned false can take more. */
  onWritable?(): void;
}

/** A request and its answer as node's own streams. */
export interface NodeStreams {
  /** Paused until it is read. */
  request: IncomingMessage;
  response: ServerResponse;
}

/** One request and its answer. Every method is a no-op once the answer is complete or the peer is gone. */
export interface HttpExchange {
  /** True once an answer is complete or on its way out, or the peer went away. */
  readonly finished: boolean;
  /** Must be called inside `onRequest` by handlers that do not answer inside it. */
  receive(listener: RequestListener): void;
  /**
   * Gives the request to the caller, who reads and answers it by node's streams from then on; the byte-rate floor no
   * longer applies to its body. Call it inside `onRequest`. Undefined: this library has no streams, or it is too late.
   */
  takeStreams(): NodeStreams | undefined;
  /**
   * @param headers preformatted lines "Name: value" joined by CRLF, '' = none; see {@link headerBlock} for values that
   *   are not the server's own. Content-Length and Connection are the socket's.
   * @param body taken before `respond` returns: the caller may reuse the bytes.
   * @param close closes the connection after the answer.
   */
  respond(status: number, headers: string, body: string | Uint8Array, close?: boolean): void;
  /** The same with status line and headers as bytes (answer-head.ts); both are taken before it returns. */
  respondBytes(head: Uint8Array, body: Uint8Array): void;
  startStream(status: number, headers: string): void;
  /** False: the peer is slower than the stream; the bytes are kept and `onWritable` follows. */
  write(chunk: string | Uint8Array): boolean;
  endStream(): void;
  /** Cuts the connection; `onAbort` does not follow. */
  destroy(): void;
}

export interface HttpHandler {
  /** Answers, or calls `exchange.receive`. Throwing answers 500. */
  onRequest(head: RequestHead, exchange: HttpExchange): void;
}

export interface TlsFiles {
  certFile: string;
  keyFile: string;
  passphrase?: string;
  /** Set: clients' certificates are checked against it. uWS cannot do this. */
  caFile?: string;
  /** With caFile: connections without a certificate are refused. Default true. */
  requireClientCertificate?: boolean;
}

export interface ListenOptions {
  host: string;
  /** 0: any free port. */
  port: number;
  tls?: TlsFiles;
  maxBodyBytes: number;
  /**
   * Most bytes that large bodies hold together, from when they come until their requests are answered; a request beyond it is
   * answered 429. Default: two of the largest bodies, 512 MiB at least.
   */
  maxHeldBytes?: number;
  /** True: takes bodies with Transfer-Encoding chunked, up to the handler to bound. node:http only. Default false. */
  chunkedBodies?: boolean;
  /** Time for a complete request head. uWS has its own fixed 10 s. */
  headerTimeoutMs?: number;
  /**
   * A body arriving slower is cut with 408, and so is a connection whose client takes its answer slower. uWS has its own fixed
   * 16 KiB/s over 10 s for bodies, and cuts who takes nothing for 10 s. 0: none.
   */
  minBytesPerSecond?: number;
  /** Idle keep-alive connections are closed after it. uWS has its own fixed 10 s. */
  keepAliveTimeoutMs?: number;
  /**
   * node:http and native: open connections per address. uWS cannot tell whose connection closed, so there it bounds the requests
   * in flight per address. 0: no bound.
   */
  maxConnectionsPerAddress?: number;
  /** Open connections in all; further ones are closed at once. 0: no bound. */
  maxConnections?: number;
  /** True: fails when the port is taken. False: threads and processes share the port (SO_REUSEPORT). */
  exclusivePort?: boolean;
  /** Asked at each answer: true closes the connection after it. */
  closing?: () => boolean;
}

export interface HttpServer {
  readonly kind: 'uws' | 'node' | 'native';
  readonly port: number;
  /** Requests whose answer is not complete. */
  inFlight(): number;
  /** Closes the listening socket; open connections go on. */
  stopAccepting(): void;
  /**
   * Stops accepting, answers `Connection: close` from now on, waits until no request is in flight, at most `graceMs`,
   * then cuts what is left.
   * @returns requests that were cut.
   */
  close(graceMs: number): Promise<number>;
}

/** Joins headers into a block; throws on values that would break out of their line. */
export function headerBlock(headers: readonly (readonly [string, string])[]): string {
  let block = '';
  for (const [name, value] of headers) {
    if (/[\r\n\0]/.test(name) || /[\r\n\0]/.test(value)) throw new Error(`header ${name} holds a line break`);
    block += block === '' ? `${name}: ${value}` : `\r\n${name}: ${value}`;
  }
  return block;
}
