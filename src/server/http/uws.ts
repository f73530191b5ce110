import type { AppOptions, HttpRequest, HttpResponse, TemplatedApp, us_listen_socket } from 'uWebSockets.js';
import { existsSync } from 'node:fs';
import { isMainThread } from 'node:worker_threads';
import { type HeldBytes, heldBytes } from './body.ts';
import { HeadFields, MAX_HEADER_BYTES } from './head.ts';
import { quiet } from './quiet.ts';
import type { HttpHandler, HttpServer, ListenOptions } from './socket.ts';
import { UwsExchange } from './uws-exchange.ts';

type Library = typeof import('uWebSockets.js');

/** Loads the native library; rejects where no binary fits this platform. */
export async function loadUws(): Promise<Library> {
  // Read once by the native side when it loads, from the process environment; worker threads only see a copy of it.
  if (isMainThread) process.env.UWS_HTTP_MAX_HEADERS_SIZE ??= String(MAX_HEADER_BYTES);
  return ((await import('uWebSockets.js')) as unknown as { default: Library }).default;
}

/** The head as uWS hands it out: the request object is alive only inside the request callback. */
class UwsHead extends HeadFields {
  request: HttpRequest | undefined;
  response: HttpResponse | undefined;

  override get query(): string {
    return this.request?.getQuery() ?? '';
  }

  override remoteAddress(): string {
    return this.response === undefined ? '' : Buffer.from(this.response.getRemoteAddressAsText()).toString('latin1');
  }
}

/** uWebSockets.js behind the seam. This file and uws-exchange.ts are the only ones that know it. */
export class UwsServer implements HttpServer {
  readonly kind = 'uws';
  port = 0;
  /** Exchanges that are not finished. */
  private open = 0;
  readonly maxBodyBytes: number;
  readonly bodies: HeldBytes;
  private readonly closingAsked: (() => boolean) | undefined;
  private readonly maxPerAddress: number;
  private readonly maxConnections: number;
  private readonly perAddress = new Map<string, number>();
  private connections = 0;
  private draining = false;
  private readonly library: Library;
  private readonly app: TemplatedApp;
  private listening: us_listen_socket | undefined;

  constructor(library: Library, options: ListenOptions, handler: HttpHandler) {
    this.library = library;
    this.maxBodyBytes = options.maxBodyBytes;
    this.bodies = heldBytes(options);
    this.closingAsked = options.closing;
    this.maxPerAddress = options.maxConnectionsPerAddress ?? 0;
    this.maxConnections = options.maxConnections ?? 0;
    this.app = options.tls === undefined ? library.App() : library.SSLApp(tlsOptions(options));
    this.route(handler);
  }

  private route(handler: HttpHandler): void {
    const head = new UwsHead();
    const visit = (name: string, value: string): void => head.add(name, value);
    const onRequest = (res: HttpResponse, req: HttpRequest): void => {
      head.reset();
      req.forEach(visit);
      head.path = req.getUrl();
      const refusal = head.complete(this.maxBodyBytes);
      // uWS shows no header behind one with an empty name. Behind a POST whose length may be hidden so, nothing is served.
      const closes = head.wantsClose || (head.method === 'POST' && head.contentLength < 0);
      const exchange = new UwsExchange(this, res, head.contentLength, head.method === 'HEAD', closes);
      if (refusal !== undefined) {
        exchange.refuse(refusal.status, refusal.message);
        return;
      }
      head.request = req;
      head.response = res;
      if (this.mustCount() && !this.countAddress(head.remoteAddress(), exchange)) {
        exchange.refuse(429, `more than ${this.maxPerAddress} requests in flight from one address`);
      } else {
        try {
          handler.onRequest(head, exchange);
        } catch {
          exchange.fail();
        }
        // uWS ends the process when a request callback returns with neither an answer nor an abort handler.
        exchange.settle();
      }
      head.request = undefined;
      head.response = undefined;
    };
    this.app.post('/*', (res, req) => {
      head.method = 'POST';
      onRequest(res, req);
    });
    this.app.any('/*', (res, req) => {
      head.method = req.getMethod().toUpperCase();
      onRequest(res, req);
    });
    if (this.maxConnections > 0) {
      // biome-ignore lint/suspicious/useIterableCallbackReturn: uWS's filter is no array's
      this.app.filter((res, change) => {
        this.connections += Number(change);
        if (Number(change) > 0 && this.connections > this.maxConnections) res.close();
      });
    }
  }

  /**
   * Asking for an address costs as much as a routing decision. While fewer than half the bound are in flight in all,
   * no address can be near it; of what comes beyond, each address gets the other half.
   */
  private mustCount(): boolean {
    return this.maxPerAddress > 0 && this.open > this.maxPerAddress >> 1;
  }

  private countAddress(address: string, exchange: UwsExchange): boolean {
    const count = (this.perAddress.get(address) ?? 0) + 1;
    this.perAddress.set(address, count);
    exchange.address = address;
    return count <= this.maxPerAddress - (this.maxPerAddress >> 1);
  }

  started(): void {
    this.open++;
  }

  /** Whether the answer being sent is the connection's last. */
  isClosing(): boolean {
    return this.draining || (this.closingAsked?.() ?? false);
  }

  finished(exchange: UwsExchange): void {
    this.open--;
    if (exchange.address !== '') {
      const count = (this.perAddress.get(exchange.address) ?? 1) - 1;
      if (count <= 0) this.perAddress.delete(exchange.address);
      else this.perAddress.set(exchange.address, count);
    }
  }

  inFlight(): number {
    return this.open;
  }

  listen(options: ListenOptions): Promise<this> {
    return new Promise((resolve, reject) => {
      const onListen = (token: us_listen_socket | false): void => {
        if (token === false) {
          reject(new Error(`cannot listen on ${options.host}:${options.port}: the address is taken or not permitted`));
          return;
        }
        this.listening = token;
        this.port = this.library.us_socket_local_port(token as never);
        resolve(this);
      };
      // LIBUS_LISTEN_EXCLUSIVE_PORT; the typings know no overload with host and options, the native side does.
      const flags = options.exclusivePort === true ? 1 : 0;
      const listen = this.app.listen.bind(this.app) as unknown as (
        host: string,
        port: number,
        flags: number,
        callback: (token: us_listen_socket | false) => void,
      ) => void;
      listen(options.host, options.port, flags, onListen);
    });
  }

  stopAccepting(): void {
    if (this.listening === undefined) return;
    this.library.us_listen_socket_close(this.listening);
    this.listening = undefined;
  }

  async close(graceMs: number): Promise<number> {
    this.draining = true;
    this.stopAccepting();
    await quiet(() => this.open, graceMs);
    const cut = this.open;
    this.app.close();
    return cut;
  }
}

function tlsOptions(options: ListenOptions): AppOptions {
  const tls = options.tls!;
  if (tls.caFile !== undefined) {
    throw new Error('uWebSockets.js cannot demand client certificates; set SWITCHYARD_HTTP=node for this listener');
  }
  for (const [field, file] of [
    ['certFile', tls.certFile],
    ['keyFile', tls.keyFile],
  ]) {
    if (!existsSync(file)) throw new Error(`tls.${field} does not exist`);
  }
  const result: AppOptions = { cert_file_name: tls.certFile, key_file_name: tls.keyFile };
  if (tls.passphrase !== undefined) result.passphrase = tls.passphrase;
  return result;
}

/** Listens with uWebSockets.js. Rejects when its binary does not load or the address cannot be bound. */
export async function listenUws(options: ListenOptions, handler: HttpHandler): Promise<HttpServer> {
  const library = await loadUws();
  return new UwsServer(library, options, handler).listen(options);
}
