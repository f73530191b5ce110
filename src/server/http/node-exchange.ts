import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { ByteWatch, tooSlow } from '../../shared/byte-floor.ts';
import { type SwitchyardError, toSwitchyardError } from '../../shared/errors.ts';
import { splitHead } from './answer-head.ts';
import { BodyBuffer, type HeldBytes } from './body.ts';
import type { HttpExchange, NodeStreams, RequestListener } from './socket.ts';
import { errorBody, JSON_HEADERS, refusalHeaders } from './status.ts';

/** What an exchange needs of its server. */
export interface NodeExchangeOwner {
  isClosing(): boolean;
  /** Of all exchanges. */
  readonly bodies: HeldBytes;
  finished(exchange: NodeExchange): void;
  /** The answer being given is the connection's last. */
  condemn(socket: Socket): void;
}

/** A body given away as a stream may rest this long. */
const STALLED_MS = 60_000;
const NOTHING = new Uint8Array(0);
const NO_LISTENER: RequestListener = { onBody: () => {}, onAbort: () => {} };

/**
 * A client that takes nothing of its answer for twice as long (node's timer looks for progress once more) is cut, as uWS
 * does: it holds the answer in our memory.
 */
const STALLED_READER_MS = 5_000;

/** One request on node:http. */
export class NodeExchange implements HttpExchange {
  private readonly arriving = new ByteWatch(performance.now());
  private readonly req: IncomingMessage;
  private readonly res: ServerResponse;
  private readonly owner: NodeExchangeOwner;
  private readonly contentLength: number;
  private listener: RequestListener | undefined;
  private body: BodyBuffer | undefined;
  private bodyComplete = false;
  private streaming = false;
  private answered = false;
  /** performance.now() at a whole answer, and its bytes. */
  private answeredAt = Number.POSITIVE_INFINITY;
  private answerBytes = 0;
  /** Its streams were given away. */
  private taken = false;
  /** The whole answer went to the kernel. */
  private complete = false;
  private gone = false;

  constructor(owner: NodeExchangeOwner, req: IncomingMessage, res: ServerResponse, contentLength: number) {
    this.owner = owner;
    this.req = req;
    this.res = res;
    this.contentLength = contentLength;
    res.on('finish', () => {
      // 'finish' also comes when the socket fails under a pending write.
      this.complete = !req.socket.destroyed;
    });
    res.on('close', () => this.onClose());
    // An error ends in 'close'; without a listener it would end the process.
    res.on('error', () => {});
    req.on('error', () => {});
  }

  get finished(): boolean {
    return this.answered || this.gone;
  }

  /** Whether a body arrives slower than `floor` bytes per second. */
  crawls(now: number, floor: number): boolean {
    if (this.finished || this.taken || this.bodyComplete || this.contentLength <= 0) return false;
    return this.arriving.tooSlow(this.body?.received ?? 0, now, floor);
  }

  /** Whether the client takes a whole answer slower than `floor` bytes per second. */
  lags(now: number, floor: number): boolean {
    return !this.gone && tooSlow(this.answerBytes, now - this.answeredAt, floor);
  }

  receive(listener: RequestListener): void {
    if (this.finished) return;
    this.listener = listener;
    this.req.on('data', (chunk: Buffer) => this.onChunk(chunk));
    this.req.on('end', () => this.onEnd());
  }

  takeStreams(): NodeStreams | undefined {
    if (this.finished || this.streaming || this.listener !== undefined) return undefined;
    this.taken = true;
    this.listener = NO_LISTENER;
    if (this.owner.isClosing()) {
      this.res.setHeader('Connection', 'close');
      this.owner.condemn(this.req.socket);
    }
    const { req, res } = this;
    req.setTimeout(STALLED_MS, () => {
      if (!req.complete) req.destroy();
    });
    return { request: req, response: res };
  }

  private onChunk(chunk: Buffer): void {
    if (this.finished) return;
    this.body ??= new BodyBuffer(Math.max(this.contentLength, 0), this.owner.bodies);
    try {
      this.body.add(chunk);
    } catch (error) {
      this.refuseFor(toSwitchyardError(error));
    }
  }

  private onEnd(): void {
    this.bodyComplete = true;
    if (this.finished || !this.req.complete) return;
    try {
      this.listener?.onBody(this.body?.take() ?? NOTHING, true);
    } catch {
      this.fail();
    }
  }

  respond(status: number, headers: string, body: string | Uint8Array, close = false): void {
    if (this.finished || this.streaming || this.taken) return;
    this.answered = true;
    const content = typeof body === 'string' ? Buffer.from(body) : Buffer.from(body);
    this.answeredAt = performance.now();
    this.answerBytes = content.byteLength;
    const lines = splitHeaders(headers);
    lines.push('Content-Length', String(content.byteLength));
    if (close || this.owner.isClosing()) {
      lines.push('Connection', 'close');
      this.owner.condemn(this.req.socket);
    }
    this.res.writeHead(status, lines);
    // Ends with the answer: node sets its keep-alive time then.
    this.req.socket.setTimeout(STALLED_READER_MS);
    this.res.end(this.req.method === 'HEAD' ? undefined : content);
  }

  respondBytes(head: Uint8Array, body: Uint8Array): void {
    const { status, headers } = splitHead(head);
    this.respond(status, headers, body);
  }

  startStream(status: number, headers: string): void {
    if (this.finished || this.streaming || this.taken) return;
    this.streaming = true;
    const lines = splitHeaders(headers);
    if (this.owner.isClosing()) {
      lines.push('Connection', 'close');
      this.owner.condemn(this.req.socket);
    }
    this.res.on('drain', () => {
      this.req.socket.setTimeout(0);
      this.listener?.onWritable?.();
    });
    this.res.writeHead(status, lines);
    this.res.flushHeaders();
  }

  write(chunk: string | Uint8Array): boolean {
    if (this.finished || !this.streaming || chunk.length === 0) return true;
    const flowing = this.res.write(typeof chunk === 'string' ? chunk : Buffer.from(chunk));
    if (!flowing) this.req.socket.setTimeout(STALLED_READER_MS);
    return flowing;
  }

  endStream(): void {
    if (this.finished || !this.streaming) return;
    this.answered = true;
    this.req.socket.setTimeout(STALLED_READER_MS);
    this.res.end();
  }

  destroy(): void {
    if (this.gone) return;
    this.listener = undefined;
    this.res.destroy();
  }

  refuse(status: number, message: string): void {
    const listener = this.listener;
    this.listener = undefined;
    this.respond(status, refusalHeaders(status), errorBody(message), true);
    listener?.onAbort();
  }

  private refuseFor(error: SwitchyardError): void {
    if (this.streaming) this.res.destroy();
    else this.refuse(error.httpStatus, error.message);
  }

  fail(): void {
    if (this.streaming || this.taken) this.destroy();
    else this.respond(500, JSON_HEADERS, errorBody('internal error'));
  }

  settle(): void {
    if (!this.finished && this.listener === undefined && !this.streaming) {
      this.respond(500, JSON_HEADERS, errorBody('internal error: the request was not answered'));
    }
  }

  private onClose(): void {
    if (this.gone) return;
    this.gone = true;
    this.body?.release();
    this.owner.finished(this);
    if (!this.complete) this.listener?.onAbort();
  }
}

/** A header block as the flat list writeHead takes. */
function splitHeaders(block: string): string[] {
  const list: string[] = [];
  if (block === '') return list;
  for (const line of block.split('\r\n')) {
    const colon = line.indexOf(':');
    list.push(line.slice(0, colon), line.slice(colon + 1).trim());
  }
  return list;
}
