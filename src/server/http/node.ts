import { readFileSync } from 'node:fs';
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import https from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { BYTE_FLOOR } from '../../shared/byte-floor.ts';
import { type HeldBytes, heldBytes } from './body.ts';
import { HeadFields, MAX_HEADER_BYTES } from './head.ts';
import { NodeExchange } from './node-exchange.ts';
import { quiet } from './quiet.ts';
import type { HttpHandler, HttpServer, ListenOptions, TlsFiles } from './socket.ts';
import { errorBody, statusLine } from './status.ts';

class NodeHead extends HeadFields {
  request: IncomingMessage | undefined;

  override get query(): string {
    const url = this.request?.url ?? '';
    const mark = url.indexOf('?');
    return mark < 0 ? '' : url.slice(mark + 1);
  }

  override remoteAddress(): string {
    return this.request?.socket.remoteAddress ?? '';
  }

  override certificateName(): string {
    const socket = this.request?.socket as TLSSocket | undefined;
    if (socket?.authorized !== true) return '';
    const name = socket.getPeerCertificate().subject?.CN as string | string[] | undefined;
    return typeof name === 'string' ? name : '';
  }
}

/** node:http and node:https behind the seam. */
export class NodeServer implements HttpServer {
  readonly kind = 'node';
  port = 0;
  private readonly server: http.Server;
  private readonly open = new Set<NodeExchange>();
  private readonly perAddress = new Map<string, number>();
  private readonly options: ListenOptions;
  readonly bodies: HeldBytes;
  /** Connections whose last answer is given: further requests on them are not served. */
  private readonly condemned = new WeakSet<Socket>();
  private draining = false;
  private rateTimer: NodeJS.Timeout | undefined;

  constructor(options: ListenOptions, handler: HttpHandler) {
    this.options = options;
    this.bodies = heldBytes(options);
    const settings: http.ServerOptions = {
      maxHeaderSize: MAX_HEADER_BYTES,
      headersTimeout: options.headerTimeoutMs ?? 10_000,
      // The body has a byte-rate floor instead of a deadline: a large tensor on a slow line is no attack.
      requestTimeout: 0,
      connectionsCheckingInterval: 1_000,
      keepAliveTimeout: options.keepAliveTimeoutMs ?? 60_000,
      noDelay: true,
    };
    this.server =
      options.tls === undefined
        ? http.createServer(settings)
        : https.createServer({ ...settings, ...tlsSettings(options.tls) });
    const head = new NodeHead();
    const onRequest = (req: IncomingMessage, res: ServerResponse): void => this.serve(head, handler, req, res);
    this.server.on('request', onRequest);
    this.server.on('clientError', refuseMalformed);
    // node answers 417 to any other expectation than 100-continue; the gateway has none to meet.
    this.server.on('checkExpectation', onRequest);
    this.server.on('connection', (socket: Socket) => this.countConnection(socket));
    if ((options.maxConnections ?? 0) > 0) this.server.maxConnections = options.maxConnections!;
    const floor = options.minBytesPerSecond ?? BYTE_FLOOR;
    if (floor > 0) {
      this.rateTimer = setInterval(() => this.cutSlow(floor), 1_000);
      this.rateTimer.unref();
    }
  }

  private serve(head: NodeHead, handler: HttpHandler, req: IncomingMessage, res: ServerResponse): void {
    // Parsed out of bytes that arrived behind a connection's last answer: framed by nobody we trust.
    if (this.condemned.has(req.socket)) return;
    head.reset();
    const raw = req.rawHeaders;
    for (let i = 0; i < raw.length; i += 2) head.add(raw[i].toLowerCase(), raw[i + 1]);
    const url = req.url ?? '/';
    const mark = url.indexOf('?');
    head.method = req.method ?? '';
    head.path = mark < 0 ? url : url.slice(0, mark);
    const refusal = head.complete(this.options.maxBodyBytes, this.options.chunkedBodies);
    const exchange = new NodeExchange(this, req, res, head.contentLength);
    this.open.add(exchange);
    if (refusal !== undefined) {
      exchange.refuse(refusal.status, refusal.message);
      return;
    }
    head.request = req;
    try {
      handler.onRequest(head, exchange);
    } catch {
      exchange.fail();
    }
    exchange.settle();
    head.request = undefined;
  }

  private countConnection(socket: Socket): void {
    const bound = this.options.maxConnectionsPerAddress ?? 0;
    const address = socket.remoteAddress;
    if (bound === 0 || address === undefined) return;
    const count = (this.perAddress.get(address) ?? 0) + 1;
    this.perAddress.set(address, count);
    socket.once('close', () => {
      const left = (this.perAddress.get(address) ?? 1) - 1;
      if (left <= 0) this.perAddress.delete(address);
      else this.perAddress.set(address, left);
    });
    if (count > bound) socket.destroy();
  }

  private cutSlow(floor: number): void {
    const now = performance.now();
    for (const exchange of this.open) {
      if (exchange.lags(now, floor)) exchange.destroy();
      if (exchange.crawls(now, floor)) exchange.refuse(408, `the body arrives slower than ${floor} bytes per second`);
    }
  }

  isClosing(): boolean {
    return this.draining || (this.options.closing?.() ?? false);
  }

  condemn(socket: Socket): void {
    this.condemned.add(socket);
  }

  finished(exchange: NodeExchange): void {
    this.open.delete(exchange);
  }

  inFlight(): number {
    return this.open.size;
  }

  listen(): Promise<this> {
    return new Promise((resolve, reject) => {
      this.server.once('error', reject);
      this.server.listen({ host: this.options.host, port: this.options.port }, () => {
        this.server.removeListener('error', reject);
        // Errors of accept (too many open files) are transient; the next accept is tried by itself.
        this.server.on('error', () => {});
        this.port = (this.server.address() as AddressInfo).port;
        resolve(this);
      });
    });
  }

  stopAccepting(): void {
    if (this.server.listening) this.server.close();
    this.server.closeIdleConnections();
  }

  async close(graceMs: number): Promise<number> {
    this.draining = true;
    this.stopAccepting();
    clearInterval(this.rateTimer);
    await quiet(() => this.open.size, graceMs);
    const cut = this.open.size;
    this.server.closeAllConnections();
    return cut;
  }
}

/** Malformed heads never reach a handler: answer, close, and let no detail of the parser out. */
function refuseMalformed(error: NodeJS.ErrnoException, socket: NodeJS.WritableStream & { destroy(): void }): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy();
    return;
  }
  let status = 400;
  let message = 'malformed HTTP request';
  if (error.code === 'HPE_HEADER_OVERFLOW') {
    status = 431;
    message = `request headers exceed ${MAX_HEADER_BYTES} bytes`;
  } else if (error.code === 'ERR_HTTP_REQUEST_TIMEOUT') {
    status = 408;
    message = 'the request head took too long';
  }
  const body = errorBody(message);
  const head = `HTTP/1.1 ${statusLine(status)}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}`;
  socket.end(`${head}\r\nConnection: close\r\n\r\n${body}`, () => socket.destroy());
}

function tlsSettings(tls: TlsFiles): https.ServerOptions {
  const settings: https.ServerOptions = {
    cert: readPem('certFile', tls.certFile),
    key: readPem('keyFile', tls.keyFile),
  };
  if (tls.passphrase !== undefined) settings.passphrase = tls.passphrase;
  if (tls.caFile !== undefined) {
    settings.ca = readPem('caFile', tls.caFile);
    settings.requestCert = true;
    settings.rejectUnauthorized = tls.requireClientCertificate ?? true;
  }
  return settings;
}

export function readPem(field: string, file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (error) {
    throw new Error(`tls.${field} cannot be read: ${(error as NodeJS.ErrnoException).code ?? 'unknown error'}`);
  }
}

/** Listens with node:http or node:https. Rejects when a file of `tls` cannot be read or the address cannot be bound. */
export async function listenNode(options: ListenOptions, handler: HttpHandler): Promise<HttpServer> {
  return new NodeServer(options, handler).listen();
}
