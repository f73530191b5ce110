import type { IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http2';
import type { Served } from '../../pipeline/types.ts';
import { SwitchyardError, toSwitchyardError } from '../../shared/errors.ts';
import { metadataOf } from './answer-metadata.ts';
import { Arrival } from './arrival.ts';
import type { CallReceiver, Method, StreamingCall } from './call.ts';
import type { CallStream } from './call-stream.ts';
import { compressFrame, decompress, type Encoding, parseEncoding } from './compression.ts';
import { MessageAssembler } from './message-assembler.ts';
import { errorTrailers, OK_TRAILERS, RESPONSE_HEADERS } from './status.ts';

/** What all calls of a server share. */
export interface CallLimits {
  maxMessageBytes: number;
  /** Most bytes of incomplete messages over all calls of this server. */
  maxBufferedBytes: number;
  bufferedBytes: number;
  /** Calls in the middle of receiving a message; the server ends those that stall. */
  receiving: Set<GrpcCall>;
}

/** One gRPC call on one HTTP/2 stream: framing in, framing and trailers out. */
export class GrpcCall implements StreamingCall {
  readonly stream: CallStream;
  readonly headers: IncomingHttpHeaders;
  /** monotonicMs() at which the headers arrived. */
  readonly receivedAt: number;
  /** monotonicMs() by which the client wants the answer; Infinity: none. */
  deadline = Number.POSITIVE_INFINITY;
  receiver: CallReceiver | undefined;
  /** The status is decided: nothing more can be sent. */
  finished = false;
  /** How the incomplete message arrives; kept by the server's sweep. */
  readonly arrival = new Arrival();

  private readonly method: Method;
  private readonly limits: CallLimits;
  private readonly encoding: Encoding;
  private assembler: MessageAssembler | undefined;
  private messages = 0;
  private counted = 0;
  private paused = false;
  private unpacking = false;
  private ended = false;
  private headersSent = false;
  private metadata: OutgoingHttpHeaders | undefined;
  private answerEncoding: Encoding = 'identity';
  private packing: Promise<void> | undefined;
  private timer: NodeJS.Timeout | undefined;

  constructor(
    stream: CallStream,
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

  get certificateName(): string {
    return this.stream.certificateName;
  }

  get peer(): string {
    return this.stream.peer;
  }

  /** True where messages may come one after the other. */
  get streaming(): boolean {
    return this.method.kind === 'stream';
  }

  get path(): string {
    return this.headers[':path'] ?? '';
  }

  header(name: string): string {
    const value = this.headers[name];
    return typeof value === 'string' ? value : value === undefined ? '' : (value[0] ?? '');
  }

  describe(served: Served): void {
    this.metadata = metadataOf(served);
  }

  reply(frame: Buffer): void {
    if (this.finished) return;
    this.finish();
    if (this.answerEncoding !== 'identity') {
      this.send(frame);
      this.endWriting(OK_TRAILERS);
    } else if (!this.stream.gone) {
      this.sendHeaders();
      this.stream.end(OK_TRAILERS, frame);
    }
  }

  write(frame: Buffer): boolean {
    if (this.finished) return true;
    return this.send(frame);
  }

  get unsentBytes(): number {
    return this.stream.unsentBytes;
  }

  /** True while a message has arrived in part. */
  get partial(): boolean {
    return this.assembler !== undefined && !this.finished;
  }

  /** True while nothing of a message has arrived. */
  get silent(): boolean {
    return this.messages === 0 && this.assembler === undefined && !this.finished;
  }

  end(trailers: OutgoingHttpHeaders = OK_TRAILERS): void {
    if (this.finished) return;
    this.finish();
    this.endWriting(trailers);
  }

  fail(error: SwitchyardError): void {
    this.end(errorTrailers(error));
  }

  abort(error: SwitchyardError): void {
    if (this.finished) return;
    const receiver = this.receiver;
    this.fail(error);
    receiver?.cancelled();
  }

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

  /** The stream has brought some bytes. */
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
    const before = this.messages;
    this.assembler.push(chunk);
    this.deliver();
    if (this.messages === before) this.arrival.bytes += chunk.length;
    else this.arrival.begin();
  }

  /** The client has ended its request. */
  onEnd(): void {
    this.ended = true;
    this.closeIfRead();
  }

  /** The stream is gone, answered or not. */
  onClose(): void {
    if (!this.finished) {
      this.finish();
      this.receiver?.cancelled();
    }
    this.receiver = undefined;
  }

  /** What was written has left. */
  onDrain(): void {
    this.receiver?.drained?.();
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
    const assembler = this.finished ? undefined : this.assembler;
    const held = assembler === undefined ? 0 : assembler.buffered;
    limits.bufferedBytes += held - this.counted;
    this.counted = held;
    if (assembler !== undefined && !assembler.idle && !this.paused) limits.receiving.add(this);
    else {
      limits.receiving.delete(this);
      this.arrival.begin();
    }
    this.arrival.movedAt = 0;
    if (held > 0 && limits.bufferedBytes > limits.maxBufferedBytes) this.overloaded();
  }

  /** More waits of all calls than the server holds. */
  overloaded(): void {
    const message = 'too many large messages are arriving at once; retry later';
    this.abort(new SwitchyardError('overloaded', message, { retryAfterMs: 1000 }));
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
    this.stream.respond(headers);
  }

  private send(frame: Buffer): boolean {
    if (this.stream.gone) return true;
    this.sendHeaders();
    const encoding = this.answerEncoding;
    if (encoding !== 'identity') {
      // Frames leave in the order they were written, though they are packed on other threads.
      const packed = compressFrame(encoding, frame);
      this.packing = (this.packing ?? Promise.resolve())
        .then(() => packed)
        .then(
          (smaller) => {
            if (!this.stream.gone) this.stream.write(smaller);
          },
          () => this.stream.reset(),
        );
      return true;
    }
    return this.stream.write(frame);
  }

  private endWriting(trailers: OutgoingHttpHeaders): void {
    const stream = this.stream;
    if (stream.gone) return;
    if (!this.headersSent) {
      this.headersSent = true;
      stream.refuse({ ...RESPONSE_HEADERS, ...this.metadata, ...trailers });
    } else if (this.packing !== undefined) {
      void this.packing.then(() => {
        if (!stream.gone) stream.end(trailers);
      });
    } else stream.end(trailers);
  }
}

function expire(call: GrpcCall): void {
  call.abort(new SwitchyardError('deadline_exceeded', 'the deadline of the call passed before its answer'));
}
