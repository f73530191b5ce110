import type { NativeServer } from './native.ts';
import type { HttpExchange, RequestListener } from './socket.ts';
import { errorBody, headText, JSON_HEADERS } from './status.ts';

/** Larger answers hold the exchange open until they have left: their client may go in the middle. */
const LARGE_ANSWER = 64 * 1024;
const NOTHING = new Uint8Array(0);

/** One request of the addon's HTTP server. */
export class NativeExchange implements HttpExchange {
  readonly slot: number;
  readonly generation: number;
  private readonly server: NativeServer;
  private listener: RequestListener | undefined;
  private streaming = false;
  private answered = false;
  private gone = false;

  constructor(server: NativeServer, slot: number, generation: number) {
    this.server = server;
    this.slot = slot;
    this.generation = generation;
  }

  get finished(): boolean {
    return this.answered || this.gone;
  }

  receive(listener: RequestListener): void {
    if (!this.finished) this.listener = listener;
  }

  takeStreams(): undefined {
    return undefined;
  }

  onBody(body: Uint8Array, owned: boolean): void {
    if (this.finished) return;
    try {
      this.listener?.onBody(body, owned);
    } catch {
      this.fail();
    }
  }

  onFlushed(): void {
    if (this.answered) this.done();
    else this.listener?.onWritable?.();
  }

  onGone(): void {
    if (this.gone) return;
    this.done();
    this.listener?.onAbort();
  }

  respond(status: number, headers: string, body: string | Uint8Array, close = false): void {
    if (this.finished || this.streaming) return;
    const head = Buffer.from(headText(status, headers), 'latin1');
    this.send(head, typeof body === 'string' ? Buffer.from(body) : body, close);
  }

  respondBytes(head: Uint8Array, body: Uint8Array): void {
    if (this.finished || this.streaming) return;
    this.send(head, body, false);
  }

  private send(head: Uint8Array, body: Uint8Array, close: boolean): void {
    this.answered = true;
    const large = body.length > LARGE_ANSWER;
    this.server.answer(this.slot, this.generation, head, body, close, large);
    if (!large) this.done();
  }

  startStream(status: number, headers: string): void {
    if (this.finished || this.streaming) return;
    this.streaming = true;
    this.server.stream(this.slot, this.generation, Buffer.from(headText(status, headers), 'latin1'));
  }

  write(chunk: string | Uint8Array): boolean {
    if (this.finished || !this.streaming || chunk.length === 0) return true;
    return this.server.write(this.slot, this.generation, typeof chunk === 'string' ? Buffer.from(chunk) : chunk);
  }

  endStream(): void {
    if (this.finished || !this.streaming) return;
    this.answered = true;
    this.server.end(this.slot, this.generation);
  }

  destroy(): void {
    if (this.gone) return;
    this.listener = undefined;
    this.server.destroy(this.slot, this.generation);
    this.done();
  }

  /** The handler threw. What it threw may hold anything, so the client learns nothing of it. */
  fail(): void {
    if (this.streaming) this.destroy();
    else this.respond(500, JSON_HEADERS, errorBody('internal error'));
  }

  settle(): void {
    if (!this.finished && this.listener === undefined && !this.streaming) {
      this.respond(500, JSON_HEADERS, errorBody('internal error: the request was not answered'));
    }
  }

  /** A request without a body. */
  onEmpty(): void {
    this.onBody(NOTHING, true);
  }

  private done(): void {
    if (this.gone) return;
    this.gone = true;
    this.server.finished(this);
  }
}
