import { createPrivateKey } from 'node:crypto';
import { getSystemErrorName } from 'node:util';
import { BYTE_FLOOR } from '../../shared/byte-floor.ts';
import { AnswerBoard } from '../../tensor/answer-board.ts';
import { type NativeHttp, type NativeHttpServer, native } from '../../tensor/native.ts';
import { nativeTls, type TlsTexts } from '../../tensor/native-tls.ts';
import { heldBytes } from './body.ts';
import { NativeExchange } from './native-exchange.ts';
import { NativeHead } from './native-head.ts';
import { readPem } from './node.ts';
import { quiet } from './quiet.ts';
import type { HttpHandler, HttpServer, ListenOptions, TlsFiles } from './socket.ts';

// Events, as in native/src/http_delivery.h.
const TEXT = 1;
const REQUEST = 2;
const BODY = 3;
const GONE = 4;

const ANSWER_WORDS = 6;
const CLOSE = 1;
const TRACKED = 2;

/** Why the addon cannot serve HTTP here; '' where it can. */
export function nativeHttpProblem(tls: boolean): string {
  if (native === undefined) return 'the addon is not in use';
  const missing = native.httpProblem() || (tls ? native.grpcTlsProblem() : '');
  return missing === '' ? '' : `this node executable does not export ${missing}`;
}

/**
 * HTTP/1.1 in the addon: one callback for each turn of the loop tells what came on all connections, as words of one
 * array; answers are left in shared memory and taken at the turn's end.
 */
export class NativeServer implements HttpServer {
  readonly kind = 'native';
  port = 0;
  private readonly native: NativeHttp;
  private readonly shared: NativeHttpServer;
  private readonly handler: HttpHandler;
  private readonly head: NativeHead;
  private readonly answers: AnswerBoard;
  private readonly block: Buffer;
  private readonly closingAsked: (() => boolean) | undefined;
  private readonly live: (NativeExchange | undefined)[] = [];
  private open = 0;
  private draining = false;

  constructor(addon: NativeHttp, options: ListenOptions, handler: HttpHandler) {
    this.native = addon;
    this.handler = handler;
    this.closingAsked = options.closing;
    const certificates = options.tls === undefined ? undefined : nativeTls(tlsTexts(options.tls));
    this.shared = addon.httpServer(
      {
        maxBody: options.maxBodyBytes,
        maxHeld: heldBytes(options).max,
        headerMs: options.headerTimeoutMs ?? 10_000,
        keepAliveMs: options.keepAliveTimeoutMs ?? 60_000,
        bytesPerSecond: options.minBytesPerSecond ?? BYTE_FLOOR,
        maxConnections: bound(options.maxConnections),
        maxConnectionsPerAddress: bound(options.maxConnectionsPerAddress),
      },
      (count, bodies) => this.onTurn(count, bodies),
    );
    if (certificates !== undefined) {
      const wrong = addon.httpSecure(this.shared.server, certificates);
      if (wrong !== '') {
        addon.httpClose(this.shared.server);
        throw new Error(`TLS of the HTTP port: ${wrong}`);
      }
    }
    this.head = new NativeHead(addon, this.shared);
    this.block = Buffer.from(this.shared.block);
    this.answers = new AnswerBoard(this.shared, ANSWER_WORDS, () => addon.httpFlush(this.shared.server));
  }

  listen(options: ListenOptions): this {
    const port = this.native.httpListen(this.shared.server, options.host, options.port, options.exclusivePort !== true);
    if (port < 0) {
      this.native.httpClose(this.shared.server);
      throw new Error(`cannot listen on ${options.host}:${options.port}: ${getSystemErrorName(port)}`);
    }
    this.port = port;
    return this;
  }

  private onTurn(count: number, bodies: ArrayBuffer[] | undefined): void {
    const { words } = this.shared;
    this.head.turn++;
    let at = 0;
    while (at < count) {
      const event = words[at];
      if (event === REQUEST) {
        at = this.onRequest(at, bodies);
      } else if (event === TEXT) {
        this.head.learn(words[at + 1], at + 2);
        at += 4;
      } else {
        const exchange = this.exchangeAt(at);
        if (event === BODY) {
          if (exchange !== undefined) this.giveBody(exchange, at + 3, bodies);
          at += 5;
        } else {
          if (event === GONE) exchange?.onGone();
          else exchange?.onFlushed();
          at += 3;
        }
      }
    }
  }

  /** Returns where the next event's words begin. */
  private onRequest(at: number, bodies: ArrayBuffer[] | undefined): number {
    const { words } = this.shared;
    const { head } = this;
    const slot = words[at + 1];
    const generation = words[at + 2];
    head.slot = slot;
    head.generation = generation;
    head.path = head.known(words[at + 4]);
    head.contentLength = words[at + 5] + words[at + 6] * 0x40000000;
    // -1 in two's complement.
    if (words[at + 6] < 0) head.contentLength = -1;
    const next = head.read(at + 10, words[at + 3]);
    const exchange = new NativeExchange(this, slot, generation);
    this.live[slot] = exchange;
    this.open++;
    try {
      this.handler.onRequest(head, exchange);
    } catch {
      exchange.fail();
    }
    exchange.settle();
    head.forget();
    if (words[at + 7] === 1) this.giveBody(exchange, at + 8, bodies);
    return next;
  }

  private giveBody(exchange: NativeExchange, at: number, bodies: ArrayBuffer[] | undefined): void {
    const { words } = this.shared;
    const where = words[at];
    if (where >= 0) {
      exchange.onBody(new Uint8Array(bodies![where]), true);
    } else if (where === -1) {
      exchange.onEmpty();
    } else {
      const offset = words[at + 1];
      exchange.onBody(this.block.subarray(offset, offset - 1 - where), false);
    }
  }

  private exchangeAt(at: number): NativeExchange | undefined {
    const { words } = this.shared;
    const exchange = this.live[words[at + 1]];
    return exchange !== undefined && exchange.generation === words[at + 2] ? exchange : undefined;
  }

  private isClosing(): boolean {
    return this.draining || (this.closingAsked?.() ?? false);
  }

  /** @param tracked the exchange is told when the answer has left, or cannot */
  answer(slot: number, generation: number, head: Uint8Array, body: Uint8Array, close: boolean, tracked: boolean): void {
    const { words, bytes } = this.answers;
    const flags = (close || this.isClosing() ? CLOSE : 0) | (tracked ? TRACKED : 0);
    const length = head.length + body.length;
    if (tracked || length > bytes.length) {
      this.native.httpAnswer(this.shared.server, slot, generation, head, body, flags);
      return;
    }
    const at = this.answers.add(slot, generation, length);
    words[at + 3] = head.length;
    words[at + 4] = body.length;
    words[at + 5] = flags;
    bytes.set(head, words[at + 2]);
    bytes.set(body, words[at + 2] + head.length);
  }

  stream(slot: number, generation: number, head: Uint8Array): void {
    this.native.httpStream(this.shared.server, slot, generation, head, this.isClosing() ? CLOSE : 0);
  }

  /** False: more has not left than should wait. */
  write(slot: number, generation: number, bytes: Uint8Array): boolean {
    return this.native.httpWrite(this.shared.server, slot, generation, bytes) === 0;
  }

  end(slot: number, generation: number): void {
    this.native.httpEnd(this.shared.server, slot, generation);
  }

  destroy(slot: number, generation: number): void {
    this.native.httpDestroy(this.shared.server, slot, generation);
  }

  finished(exchange: NativeExchange): void {
    this.open--;
    if (this.live[exchange.slot] === exchange) this.live[exchange.slot] = undefined;
  }

  inFlight(): number {
    return this.open;
  }

  stopAccepting(): void {
    this.native.httpStop(this.shared.server);
  }

  async close(graceMs: number): Promise<number> {
    this.draining = true;
    this.stopAccepting();
    await quiet(() => this.open + this.native.httpSending(this.shared.server), graceMs);
    const cut = this.open;
    this.native.httpClose(this.shared.server);
    for (const exchange of this.live) exchange?.onGone();
    return cut;
  }
}

function tlsTexts(tls: TlsFiles): TlsTexts {
  const { passphrase, caFile } = tls;
  const key = readPem('keyFile', tls.keyFile);
  return {
    cert: readPem('certFile', tls.certFile),
    // The addon takes keys in the clear.
    key:
      passphrase === undefined ? key : createPrivateKey({ key, passphrase }).export({ type: 'pkcs8', format: 'pem' }),
    ca: caFile === undefined ? undefined : readPem('caFile', caFile),
    clientCertificates: caFile === undefined ? 'none' : (tls.requireClientCertificate ?? true) ? 'require' : 'request',
  };
}

/** 0 is none. */
function bound(connections: number | undefined): number {
  return connections === undefined || connections === 0 ? Number.MAX_SAFE_INTEGER : connections;
}

/** Listens with the addon. Rejects where it cannot serve HTTP, or the address cannot be bound. */
export async function listenNative(options: ListenOptions, handler: HttpHandler): Promise<HttpServer> {
  const problem = nativeHttpProblem(options.tls !== undefined);
  if (problem !== '') throw new Error(`the addon cannot serve HTTP: ${problem}`);
  return new NativeServer(native!, options, handler).listen(options);
}
