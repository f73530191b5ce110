import type { HttpResponse } from 'uWebSockets.js';
import { type SwitchyardError, toSwitchyardError } from '../../shared/errors.ts';
import { splitHead } from './answer-head.ts';
import { BodyBuffer } from './body.ts';
import type { HttpExchange, RequestListener } from './socket.ts';
import { errorBody, headText, JSON_HEADERS, refusalHeaders, statusLine } from './status.ts';
import type { UwsServer } from './uws.ts';

/** Answers above it go through tryEnd, so that a slow reader holds one copy and no further request is read from it. */
const LARGE_ANSWER = 64 * 1024;
const NOTHING = new Uint8Array(0);

// What `writeAnswer` sends. `cork` calls it before it returns, so one set of variables saves a closure per answer.
let answerTo: HttpResponse;
let answerHead: string | Uint8Array = '';
let answerBody: string | Uint8Array = '';
let answerCloses = false;

function writeAnswer(): void {
  answerTo.writeStatus(answerHead).end(answerBody, answerCloses);
}

/** One request on a uWS socket. `res` is undefined from the moment the answer is complete or the peer is gone. */
export class UwsExchange implements HttpExchange {
  /** Counted against the per-address bound; '' = not counted. */
  address = '';
  private res: HttpResponse | undefined;
  private readonly server: UwsServer;
  private readonly contentLength: number;
  private readonly headOnly: boolean;
  private readonly wantsClose: boolean;
  private watching = false;
  /** An answer is on its way out (deferred, or a large one in pieces): no further answer is taken. */
  private answered = false;
  private streaming = false;
  private lastOfConnection = false;
  private listener: RequestListener | undefined;
  private body: BodyBuffer | undefined;

  constructor(server: UwsServer, res: HttpResponse, contentLength: number, headOnly: boolean, wantsClose: boolean) {
    this.server = server;
    this.res = res;
    this.contentLength = contentLength;
    this.headOnly = headOnly;
    this.wantsClose = wantsClose;
    server.started();
  }

  get finished(): boolean {
    return this.res === undefined || this.answered;
  }

  receive(listener: RequestListener): void {
    const res = this.res;
    if (res === undefined || this.answered) return;
    this.listener = listener;
    this.watch(res);
    res.onData((chunk, last) => this.onData(chunk, last));
  }

  takeStreams(): undefined {
    return undefined;
  }

  private watch(res: HttpResponse): void {
    if (this.watching) return;
    this.watching = true;
    res.onAborted(() => {
      this.done();
      this.listener?.onAbort();
    });
  }

  private onData(chunk: ArrayBuffer, last: boolean): void {
    // uWS goes on reading the body of a request that is already answered.
    if (this.res === undefined || this.answered) return;
    if (this.body === undefined && last) {
      if (chunk.byteLength === 0) this.deliver(NOTHING, true);
      else this.deliver(new Uint8Array(chunk), false);
      return;
    }
    this.body ??= new BodyBuffer(Math.max(this.contentLength, 0), this.server.bodies);
    try {
      this.body.add(new Uint8Array(chunk));
    } catch (error) {
      this.refuseFor(toSwitchyardError(error));
      return;
    }
    if (last) this.deliver(this.body.take(), true);
  }

  private deliver(body: Uint8Array, owned: boolean): void {
    try {
      this.listener?.onBody(body, owned);
    } catch {
      this.fail();
    }
  }

  respond(status: number, headers: string, body: string | Uint8Array, close = false): void {
    const res = this.res;
    if (res === undefined || this.answered || this.streaming) return;
    const head = headText(status, headers);
    // uWS writes HEAD's body if given one, and its endWithoutBody leaves the response pending.
    const content = this.headOnly ? '' : body;
    if (close || this.wantsClose || this.server.isClosing()) {
      this.respondLast(res, head, content);
    } else if (content.length > LARGE_ANSWER) {
      this.respondLarge(res, head, typeof content === 'string' ? Buffer.from(content) : content);
    } else {
      this.done();
      answerTo = res;
      answerHead = head;
      answerBody = content;
      answerCloses = false;
      res.cork(writeAnswer);
    }
  }

  respondBytes(head: Uint8Array, body: Uint8Array): void {
    const res = this.res;
    if (res === undefined || this.answered || this.streaming) return;
    if (this.headOnly || this.wantsClose || body.length > LARGE_ANSWER || this.server.isClosing()) {
      const { status, headers } = splitHead(head);
      this.respond(status, headers, body);
      return;
    }
    this.done();
    answerTo = res;
    answerHead = head;
    answerBody = body;
    answerCloses = false;
    res.cork(writeAnswer);
  }

  /**
   * Answers and closes, on a later turn of the loop: answered inside the request callback, uWS parses on in the bytes
   * it holds and serves what it takes for the next request, which after a framing error is an attacker's. While an
   * answer is pending it closes the connection instead.
   */
  private respondLast(res: HttpResponse, head: string, body: string | Uint8Array): void {
    this.answered = true;
    this.watch(res);
    const kept = typeof body === 'string' ? body : Buffer.from(body);
    setImmediate(() => {
      if (this.res === undefined) return;
      this.done();
      answerTo = res;
      answerHead = head;
      answerBody = kept;
      answerCloses = true;
      res.cork(writeAnswer);
    });
  }

  private respondLarge(res: HttpResponse, head: string, body: Uint8Array): void {
    this.answered = true;
    this.watch(res);
    const total = body.byteLength;
    res.cork(() => {
      res.writeStatus(head);
      const [, complete] = res.tryEnd(body, total);
      if (complete) {
        this.done();
        return;
      }
      const start = res.getWriteOffset();
      const rest = Buffer.from(body.subarray(start));
      res.onWritable((offset) => {
        const [taken, ended] = res.tryEnd(rest.subarray(offset - start), total);
        if (ended) this.done();
        return taken;
      });
    });
  }

  startStream(status: number, headers: string): void {
    const res = this.res;
    if (res === undefined || this.answered || this.streaming) return;
    this.streaming = true;
    this.watch(res);
    res.onWritable(() => {
      this.listener?.onWritable?.();
      return true;
    });
    this.lastOfConnection = this.wantsClose || this.server.isClosing();
    const closing = this.lastOfConnection ? '\r\nConnection: close' : '';
    res.cork(() => {
      res.writeStatus(`${statusLine(status)}\r\n${headers}${closing}`);
    });
  }

  write(chunk: string | Uint8Array): boolean {
    const res = this.res;
    if (res === undefined || !this.streaming || chunk.length === 0) return true;
    let flowing = true;
    res.cork(() => {
      flowing = res.write(chunk);
    });
    return flowing;
  }

  endStream(): void {
    const res = this.res;
    if (res === undefined || !this.streaming) return;
    this.done();
    res.cork(() => {
      res.end(undefined, this.lastOfConnection);
    });
  }

  destroy(): void {
    const res = this.res;
    if (res === undefined) return;
    this.listener = undefined;
    this.done();
    res.close();
  }

  refuse(status: number, message: string): void {
    const listener = this.listener;
    this.listener = undefined;
    this.respond(status, refusalHeaders(status), errorBody(message), true);
    listener?.onAbort();
  }

  private refuseFor(error: SwitchyardError): void {
    if (this.streaming) {
      const listener = this.listener;
      this.destroy();
      listener?.onAbort();
    } else this.refuse(error.httpStatus, error.message);
  }

  /** The handler threw. What it threw may hold anything, so the client learns nothing of it. */
  fail(): void {
    if (this.streaming) this.destroy();
    else this.respond(500, JSON_HEADERS, errorBody('internal error'));
  }

  settle(): void {
    if (this.res !== undefined && !this.watching) {
      this.respond(500, JSON_HEADERS, errorBody('internal error: the request was not answered'));
    }
  }

  private done(): void {
    if (this.res === undefined) return;
    this.res = undefined;
    this.body?.release();
    this.server.finished(this);
  }
}
