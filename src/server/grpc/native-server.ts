import { getSystemErrorName } from 'node:util';
import type { InferRequest, RequestedOutput, Served } from '../../pipeline/types.ts';
import { monotonicMs } from '../../shared/clock.ts';
import { toSwitchyardError } from '../../shared/errors.ts';
import { AnswerBoard } from '../../tensor/answer-board.ts';
import type { NativeGrpc, NativeServer } from '../../tensor/native.ts';
import { nativeTls } from '../../tensor/native-tls.ts';
import { PlacedTensor } from '../../tensor/placed.ts';
import { DATA_TYPES, type Tensor } from '../../tensor/tensor.ts';
import { AnswerMetadata } from './answer-metadata.ts';
import type { Method } from './call.ts';
import type { Dispatcher } from './dispatcher.ts';
import type { GrpcTransport, TransportOptions } from './http2-server.ts';
import { NativeUnaryCall } from './native-call.ts';
import type { NativeEndpoint, NativeServerHandle } from './native-endpoint.ts';
import { NativeStream } from './native-stream.ts';
import { readHeaders } from './native-text.ts';
import { UNIT_MS } from './status.ts';

// Events, as in native/src/grpc_delivery.h.
const NAME = 1;
const INFER = 2;
const MESSAGE = 3;
const OPENED = 4;
const BYTES = 5;
const ENDED = 6;
const GONE = 7;
const SURPLUS = 8;
const FLUSHED = 9;

const ANSWER_WORDS = 5;
/** Longer messages, and those that arrive slowly, are assembled here rather than in the addon. */
const MAX_COLLECTED = 256 << 10;
const SWEEP_MS = 1000;
const NAMES = 512;
const UNARY = 1;
const WITH_INFER = 2;

interface NativeMethod {
  path: string;
  method: Extract<Method, { kind: 'unary' }>;
}

/**
 * gRPC over the addon's HTTP/2: one callback for each turn of the loop tells what came on all connections, as words of
 * one array; answers are left in shared memory and taken at the turn's end.
 */
export class NativeGrpcServer implements GrpcTransport, NativeServerHandle {
  readonly native: NativeGrpc;
  readonly server: object;
  readonly dispatcher: Dispatcher;
  readonly asksClients: boolean;
  private readonly shared: boolean;
  private readonly words: Int32Array;
  private readonly answers: AnswerBoard;
  private readonly metadata = new AnswerMetadata();
  private readonly methods: NativeMethod[] = [];
  private readonly live: (NativeEndpoint | undefined)[] = [];
  private readonly names: string[] = new Array(NAMES).fill('');
  private blockBytes = new Uint8Array(0);
  private objects: (string | ArrayBuffer)[] = [];
  private sweeper: NodeJS.Timeout | undefined;
  private onDrained: (() => void) | undefined;

  /**
   * Throws where the certificates or the key of `options.tls` cannot be used.
   *
   * @param shared other threads listen on the same port
   */
  constructor(native: NativeGrpc, dispatcher: Dispatcher, options: TransportOptions, shared: boolean) {
    this.native = native;
    this.dispatcher = dispatcher;
    this.shared = shared;
    const made: NativeServer = native.grpcServer(
      {
        maxStreams: options.maxConcurrentStreams ?? 1024,
        maxCollected: Math.min(MAX_COLLECTED, dispatcher.limits.maxMessageBytes),
        maxConnections: options.maxConnections ?? 10_000,
        maxConnectionsPerAddress: options.maxConnectionsPerAddress ?? 4096,
      },
      (count, block, objects) => this.onTurn(count, block, objects),
      () => this.onDrained?.(),
    );
    this.server = made.server;
    this.words = made.words;
    this.answers = new AnswerBoard(made, ANSWER_WORDS, () => native.grpcFlush(made.server));
    const { tls } = options;
    this.asksClients = tls !== undefined && (tls.clientCertificates ?? 'none') !== 'none';
    const problem = tls === undefined ? '' : native.grpcSecure(this.server, nativeTls(tls));
    if (problem === '') return;
    native.grpcClose(this.server);
    throw new Error(`TLS of the gRPC port: ${problem}`);
  }

  listen(host: string, port: number): Promise<number> {
    for (const [path, method] of this.dispatcher.methods) {
      if (method.kind !== 'unary') continue;
      const id = this.methods.push({ path, method }) - 1;
      this.native.grpcMethod(this.server, path, id, method.take === undefined ? UNARY : WITH_INFER);
    }
    const bound = this.native.grpcListen(this.server, host, port, this.shared);
    if (bound < 0) {
      const code = getSystemErrorName(bound);
      const error = new Error(`listen ${code}: ${host}:${port}`) as NodeJS.ErrnoException;
      error.code = code;
      return Promise.reject(error);
    }
    this.sweeper = setInterval(() => this.dispatcher.sweep(monotonicMs()), SWEEP_MS);
    this.sweeper.unref();
    return Promise.resolve(bound);
  }

  drain(): Promise<void> {
    this.dispatcher.goAway();
    return new Promise((resolve) => {
      this.onDrained = resolve;
      if (this.native.grpcDrain(this.server) === 0) resolve();
    });
  }

  close(): Promise<void> {
    clearInterval(this.sweeper);
    this.native.grpcClose(this.server);
    for (const endpoint of this.live) endpoint?.onGone();
    this.live.length = 0;
    this.onDrained?.();
    return Promise.resolve();
  }

  forget(endpoint: NativeEndpoint): void {
    if (this.live[endpoint.slot] === endpoint) this.live[endpoint.slot] = undefined;
  }

  answer(slot: number, generation: number, served: Served | undefined, frame: Buffer): void {
    const { answers, metadata } = this;
    const { words, bytes } = answers;
    const at = answers.add(slot, generation, metadata.begin(served) + frame.length);
    const start = words[at + 2];
    const end = metadata.print(bytes, start);
    words[at + 3] = frame.length;
    words[at + 4] = end - start;
    bytes.set(frame, end);
  }

  private onTurn(count: number, block: ArrayBuffer | undefined, objects: (string | ArrayBuffer)[] | undefined): void {
    if (block !== undefined) this.blockBytes = new Uint8Array(block);
    if (objects !== undefined) this.objects = objects;
    const { words } = this;
    const now = monotonicMs();
    let at = 0;
    while (at < count) {
      switch (words[at]) {
        case NAME:
          this.names[words[at + 1]] = this.textAt(at + 2);
          at += 5;
          break;
        case INFER:
          at = this.onInfer(at, now);
          break;
        case MESSAGE:
          this.onMessage(at, now);
          at += 11;
          break;
        case OPENED:
          this.onOpened(at, now);
          at += 5;
          break;
        case BYTES:
          this.endpointAt(at)?.onBytes(Buffer.from(this.objects[words[at + 3]] as ArrayBuffer));
          at += 4;
          break;
        default:
          this.onSignal(words[at], at);
          at += 3;
      }
    }
    this.objects = [];
  }

  private onSignal(event: number, at: number): void {
    const endpoint = this.endpointAt(at);
    if (endpoint === undefined) return;
    if (event === ENDED) endpoint.onEnded();
    else if (event === FLUSHED) endpoint.onFlushed();
    else if (event === SURPLUS) endpoint.onSurplus();
    else if (event === GONE) {
      this.live[endpoint.slot] = undefined;
      endpoint.onGone();
    }
  }

  private endpointAt(at: number): NativeEndpoint | undefined {
    const endpoint = this.live[this.words[at + 1]];
    return endpoint !== undefined && endpoint.generation === this.words[at + 2] ? endpoint : undefined;
  }

  private onOpened(at: number, now: number): void {
    const { words } = this;
    const stream = new NativeStream(this, words[at + 1], words[at + 2]);
    this.live[stream.slot] = stream;
    this.dispatcher.open(stream, readHeaders(this.objects[words[at + 4]] as string), now - words[at + 3]);
  }

  private onMessage(at: number, now: number): void {
    const { path, method } = this.methods[this.words[at + 3]];
    const call = this.unaryCall(at, path, now);
    const bytes = this.bytesAt(at + 8);
    try {
      method.handle(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length), call);
    } catch (error) {
      call.abort(toSwitchyardError(error));
    }
  }

  /** Returns where the next event's words begin. */
  private onInfer(at: number, now: number): number {
    const { words, names } = this;
    const { path, method } = this.methods[words[at + 3]];
    const call = this.unaryCall(at, path, now);
    const inputCount = words[at + 13];
    const outputCount = words[at + 14];
    const inputs: Tensor[] = [];
    const outputs: RequestedOutput[] = [];
    const request: InferRequest = {
      model: names[words[at + 8]],
      version: names[words[at + 9]],
      id: words[at + 12] === 0 ? '' : this.textAt(at + 10),
      inputs,
      outputs,
      parameters: undefined,
    };
    let next = at + 15;
    for (let i = 0; i < inputCount; i++) {
      const shape: number[] = [];
      const rank = words[next + 5];
      for (let d = 0; d < rank; d++) shape.push(words[next + 6 + d]);
      inputs.push(this.tensorAt(next, shape));
      next += 6 + rank;
    }
    for (let i = 0; i < outputCount; i++) {
      outputs.push({ name: names[words[next++]], binary: true, classification: 0 });
    }
    try {
      method.take!(request, call);
    } catch (error) {
      call.abort(toSwitchyardError(error));
    }
    return next;
  }

  private unaryCall(at: number, path: string, now: number): NativeUnaryCall {
    const { words } = this;
    const slot = words[at + 1];
    const digits = words[at + 5];
    const timeout = digits < 0 ? Number.POSITIVE_INFINITY : digits * UNIT_MS[String.fromCharCode(words[at + 6])];
    const call = new NativeUnaryCall(
      this,
      slot,
      words[at + 2],
      path,
      now - words[at + 7],
      timeout,
      words[at + 4] === 1,
    );
    if (digits >= 0) call.watchDeadline(now);
    this.live[slot] = call;
    return call;
  }

  /** Small ones stay where they lie in the block, which is never used again. */
  private tensorAt(at: number, shape: number[]): Tensor {
    const { words } = this;
    const name = this.names[words[at]];
    const datatype = DATA_TYPES[words[at + 1]];
    if (words[at + 2] >= 0) return { name, datatype, shape, data: this.bytesAt(at + 2) };
    return new PlacedTensor(name, datatype, shape, this.blockBytes, words[at + 3], words[at + 4]);
  }

  /** The bytes named by three words: which object or the block (-1), offset, length. */
  private bytesAt(at: number): Uint8Array {
    const object = this.words[at];
    const buffer = object < 0 ? this.blockBytes.buffer : (this.objects[object] as ArrayBuffer);
    return new Uint8Array(buffer, this.words[at + 1], this.words[at + 2]);
  }

  private textAt(at: number): string {
    const bytes = this.bytesAt(at);
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('utf8');
  }
}
