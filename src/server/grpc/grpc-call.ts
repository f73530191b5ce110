import { constants, type IncomingHttpHeaders, type OutgoingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import { SwitchyardError, toSwitchyardError } from '../../shared/errors.ts';
import { compressFrame, decompress, type Encoding, parseEncoding } from './compression.ts';
import { MessageAssembler } from './message-assembler.ts';
import { Outbox } from './outbox.ts';
import { errorTrailers, OK_TRAILERS, RESPONSE_HEADERS } from './status.ts';

/** Who gets the events of a call. After `cancelled` nothing more may be sent. */
export interface CallReceiver {
  /** One request message, uncompressed. The receiver owns its memory from then on. */
  message?(message: Buffer): void;
  /** The client has sent its last message. */
  halfClosed?(): void;
  /** The client is gone, its deadline has passed, or the call broke the protocol: free what was taken. */
  cancelled(): void;
  /** What was written has left: a receiver that paused for it may go on. */
  drained?(): void;
  /** The server is going away: finish what is under way and end the call. */
  goingAway?(): void;
}

/** A registered method. `unary` ones get their single message; `stream` ones make a receiver when the call opens. */
export type Method =
  | { kind: 'unary'; handle(message: Buffer, call: GrpcCall): void }
  | { kind: 'stream'; open(call: GrpcCall): CallReceiver };

/** What all calls of a server share. */
export interface CallLimits {
  maxMessageBytes: number;
  /** Most bytes of incomplete messages over all calls of this server. */
  maxBufferedBytes: number;
  bufferedBytes: number;
  /** Calls in the middle of receiving a message; the server ends those that stall. */
  receiving: Set<GrpcCall>;
}

const WITH_TRAILERS = { waitForTrailers: true, sendDate: false };
const TRAILERS_ONLY = { endStream: true, sendDate: false };

/** One gRPC call on one HTTP/2 stream: framing in, framing and trailers out. */
export class GrpcCall {
  readonly stream: ServerHttp2Stream;
  readonly headers: IncomingHttpHeaders;
  /** monotonicMs() at which the headers arrived. */
  readonly receivedAt: number;
  /** monotonicMs() by which the client wants the answer; Infinity: none. */
  deadline = Number.POSITIVE_INFINITY;
  receiver: CallReceiver | undefined;
  /** The status is decided: nothing more can be sent. */
  finished = false;
  /** monotonicMs() of the last bytes of an incomplete message; kept by the server's sweep. */
  lastProgress = 0;

  private readonly method: Method;
  private readonly limits: CallLimits;
  private readonly encoding: Encoding;
  private assembler: MessageAssembler | undefined;
  private outbox: Outbox | undefined;
  private messages = 0;
  private counted = 0;
  private paused = false;
  private unpacking = false;
  private ended = false;
  private headersSent = false;
  private metadata: OutgoingHttpHeaders | undefined;
  private answerEncoding: Encoding = 'identity';
  private packing: Promise<void> | undefined;
  private trailers: OutgoingHttpHeaders = OK_TRAILERS;
  private timer: NodeJS.Timeout | undefined;

  constructor(
    stream: ServerHttp2Stream,
    headers: IncomingHttpHeaders,
    method: Method,
    limits: CallLimits,
    receivedAt: number,
  ) {
    this.stream = stream;
    this.headers = headers;
    this.method = method;
    this.limits = limits;
    this.receivedAt = receivedAt;
    const encoding = headers['grpc-encoding'] as string | undefined;
    this.encoding = encoding === undefined ? 'identity' : parseEncoding(encoding);
  }

  /** Starts to read. `timeoutMs`: what is left of the client's deadline, Infinity for none. */
  open(timeoutMs: number): void {
    if (timeoutMs !== Number.POSITIVE_INFINITY) {
      this.deadline = this.receivedAt + timeoutMs;
      if (timeoutMs < 0x7fffffff) this.timer = setTimeout(expire, Math.ceil(timeoutMs), this);
    }
    if (this.method.kind === 'stream') this.receiver = this.method.open(this);
  }

  /** Common name of the client's verified certificate, or ''. */
  get certificateName(): string {
    const socket = this.stream.session?.socket as
      | { authorized?: boolean; getPeerCertificate?(): { subject?: { CN?: string | string[] } } }
      | undefined;
    if (socket?.authorized !== true || socket.getPeerCertificate === undefined) return '';
    const name = socket.getPeerCertificate().subject?.CN;
    return typeof name === 'string' ? name : '';
  }

  /** '/package.Service/Method' */
  get path(): string {
    return this.headers[':path'] ?? '';
  }

  /** A request header's first value, or ''. */
  header(name: string): string {
    const value = this.headers[name];
    return typeof value === 'string' ? value : value === undefined ? '' : (value[0] ?? '');
  }

  /** Adds initial metadata to the answer, as long as none has left. */
  describe(metadata: OutgoingHttpHeaders): void {
    this.metadata = metadata;
  }

  /** Answers a unary call with one frame and status OK. The call owns the frame from then on. */
  reply(frame: Buffer): void {
    if (this.finished) return;
    this.finish();
    if (this.answerEncoding !== 'identity' || frame.length > Outbox.SLICE) {
      this.send(frame);
      this.endWriting();
      return;
    }
    this.sendHeaders();
    this.stream.end(frame);
  }

  /** Sends one frame of a stream. False: the client reads slowly; `drained` follows. The call owns the frame. */
  write(frame: Buffer): boolean {
    if (this.finished) return true;
    return this.send(frame);
  }

  /** Bytes written that have not left yet. */
  get unsentBytes(): number {
    return this.stream.writableLength + (this.outbox === undefined ? 0 : this.outbox.bytes);
  }

  /** True while a message has arrived in part. */
  get partial(): boolean {
    return this.assembler !== undefined && !this.finished;
  }

  /** True while nothing of a message has arrived. */
  get silent(): boolean {
    return this.messages === 0 && this.assembler === undefined && !this.finished;
  }

  /** Ends the call with status OK, or with the given trailers. */
  end(trailers: OutgoingHttpHeaders = OK_TRAILERS): void {
    if (this.finished) return;
    this.finish();
    this.trailers = trailers;
    this.endWriting();
  }

  /** Ends the call with an error. */
  fail(error: SwitchyardError): void {
    this.end(errorTrailers(error));
  }

  /** Ends the call with an error from outside its receiver, which is told to let go. */
  abort(error: SwitchyardError): void {
    if (this.finished) return;
    const receiver = this.receiver;
    this.fail(error);
    receiver?.cancelled();
  }

  /** Stops delivering messages; the client's flow-control window closes by itself. */
  pause(): void {
    this.paused = true;
    this.stream.pause();
  }

  resume(): void {
    if (!this.paused) return;
    this.paused = false;
    this.deliver();
    if (!this.paused && !this.unpacking) this.stream.resume();
  }

  /** For the stream's 'data' event. */
  onData(chunk: Buffer): void {
    if (this.finished) return;
    if (
      this.assembler === undefined &&
      chunk.length >= 5 &&
      chunk[0] === 0 &&
      chunk.readUInt32BE(1) === chunk.length - 5 &&
      chunk.length - 5 <= this.limits.maxMessageBytes &&
      !this.paused
    ) {
      this.take(chunk.subarray(5));
      return;
    }
    this.assembler ??= new MessageAssembler(this.limits.maxMessageBytes);
    this.assembler.push(chunk);
    this.deliver();
  }

  /** For the stream's 'end' event. */
  onEnd(): void {
    this.ended = true;
    this.closeIfRead();
  }

  /** For the stream's 'close' event. */
  onClose(): void {
    if (!this.finished) {
      this.finish();
      this.receiver?.cancelled();
    }
    this.receiver = undefined;
  }

  onDrain(): void {
    this.receiver?.drained?.();
  }

  /** For the stream's 'wantTrailers' event. */
  sendTrailers(): void {
    this.stream.sendTrailers(this.trailers);
  }

  private deliver(): void {
    const assembler = this.assembler;
    if (assembler === undefined) {
      this.closeIfRead();
      return;
    }
    try {
      while (!this.paused && !this.unpacking && !this.finished) {
        const frame = assembler.next();
        if (frame === undefined) break;
        if (frame.compressed) this.unpack(frame.bytes);
        else this.take(frame.bytes);
      }
    } catch (error) {
      this.abort(toSwitchyardError(error));
    }
    this.account();
    this.closeIfRead();
  }

  private account(): void {
    const limits = this.limits;
    const held = this.finished || this.assembler === undefined ? 0 : this.assembler.buffered;
    limits.bufferedBytes += held - this.counted;
    this.counted = held;
    if (held > 0 && !this.paused) limits.receiving.add(this);
    else limits.receiving.delete(this);
    this.lastProgress = 0;
    if (held > 0 && limits.bufferedBytes > limits.maxBufferedBytes) {
      this.abort(
        new SwitchyardError('overloaded', 'too many large messages are arriving at once; retry later', {
          retryAfterMs: 1000,
        }),
      );
    }
  }

  private unpack(bytes: Buffer): void {
    this.unpacking = true;
    this.stream.pause();
    decompress(this.encoding, bytes, this.limits.maxMessageBytes).then(
      (message) => {
        this.unpacking = false;
        if (this.finished) return;
        this.answerEncoding = this.encoding;
        this.take(message);
        this.deliver();
        if (!this.paused && !this.unpacking) this.stream.resume();
      },
      (error: unknown) => {
        this.unpacking = false;
        this.abort(toSwitchyardError(error));
      },
    );
  }

  private take(message: Buffer): void {
    this.messages++;
    try {
      if (this.method.kind === 'stream') this.receiver?.message?.(message);
      else if (this.messages === 1) this.method.handle(message, this);
      else throw new SwitchyardError('unsupported', 'this method takes exactly one message, a second one came');
    } catch (error) {
      this.abort(toSwitchyardError(error));
    }
  }

  private closeIfRead(): void {
    if (!this.ended || this.finished || this.unpacking || this.paused) return;
    if (this.assembler !== undefined && !this.assembler.idle) {
      this.abort(new SwitchyardError('invalid_argument', 'the call ended in the middle of a message'));
    } else if (this.method.kind === 'stream') {
      this.ended = false;
      try {
        this.receiver?.halfClosed?.();
      } catch (error) {
        this.abort(toSwitchyardError(error));
      }
    } else if (this.messages === 0) {
      this.abort(new SwitchyardError('unsupported', 'this method takes exactly one message, none came'));
    }
  }

  private finish(): void {
    this.finished = true;
    if (this.timer !== undefined) clearTimeout(this.timer);
    if (this.assembler !== undefined) {
      this.assembler.clear();
      this.limits.bufferedBytes -= this.counted;
      this.counted = 0;
      this.limits.receiving.delete(this);
    }
    if (this.paused) {
      this.paused = false;
      this.stream.resume();
    }
  }

  private sendHeaders(): void {
    if (this.headersSent) return;
    this.headersSent = true;
    let headers = this.metadata === undefined ? RESPONSE_HEADERS : { ...RESPONSE_HEADERS, ...this.metadata };
    if (this.answerEncoding !== 'identity') headers = { ...headers, 'grpc-encoding': this.answerEncoding };
    this.stream.respond(headers, WITH_TRAILERS);
  }

  private send(frame: Buffer): boolean {
    if (this.stream.destroyed) return true;
    this.sendHeaders();
    const encoding = this.answerEncoding;
    if (encoding !== 'identity') {
      // Frames leave in the order they were written, though they are packed on other threads.
      const packed = compressFrame(encoding, frame);
      this.packing = (this.packing ?? Promise.resolve())
        .then(() => packed)
        .then(
          (smaller) => {
            this.queue(smaller);
          },
          () => this.stream.close(constants.NGHTTP2_INTERNAL_ERROR),
        );
      return true;
    }
    return this.queue(frame);
  }

  private queue(frame: Buffer): boolean {
    if (this.stream.destroyed) return true;
    if (this.outbox === undefined) {
      if (frame.length <= Outbox.SLICE) return this.stream.write(frame);
      this.outbox = new Outbox(this.stream);
    }
    return this.outbox.push(frame);
  }

  private endWriting(): void {
    const stream = this.stream;
    if (stream.destroyed) return;
    if (!this.headersSent) {
      this.headersSent = true;
      stream.respond({ ...RESPONSE_HEADERS, ...this.metadata, ...this.trailers }, TRAILERS_ONLY);
      stopSending(stream);
    } else if (this.packing !== undefined) {
      void this.packing.then(() => this.endQueue());
    } else this.endQueue();
  }

  private endQueue(): void {
    if (this.outbox === undefined) this.stream.end();
    else this.outbox.end();
  }
}

function expire(call: GrpcCall): void {
  call.abort(new SwitchyardError('deadline_exceeded', 'the deadline of the call passed before its answer'));
}

/**
 * Asks a client that is answered already, but still sending, to stop; what is under way is read and dropped meanwhile, to
 * keep the connection's window open. Call it once the answer is complete.
 */
export function stopSending(stream: ServerHttp2Stream): void {
  if (stream.readableEnded) return;
  stream.resume();
  setImmediate(closeQuietly, stream);
}

function closeQuietly(stream: ServerHttp2Stream): void {
  if (!stream.destroyed && !stream.closed) stream.close(constants.NGHTTP2_NO_ERROR);
}
