import { existsSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { PACKAGE_FOLDER } from '../shared/program-files.ts';

/** A server made by `grpcServer`, and the memory that it shares with its maker. */
export interface NativeServer {
  readonly server: object;
  /** What `turn` is to read. */
  readonly words: Int32Array;
  /** Answers for the addon to take, and their bytes: see answer-board.ts. */
  readonly answers: Int32Array;
  readonly answerBytes: ArrayBuffer;
}

export interface NativeServerOptions {
  maxStreams: number;
  maxCollected: number;
  maxConnections: number;
  maxConnectionsPerAddress: number;
}

/** PEM texts, and names and numbers as OpenSSL has them. */
export interface NativeTlsOptions {
  cert: string;
  key: string;
  /** '' for none. */
  ca: string;
  /** 0 asks for no certificate, 1 takes connections without one, 2 does not. */
  clients: number;
  ciphers: string;
  /** Of TLS 1.3. */
  suites: string;
  minVersion: number;
  maxVersion: number;
  /** At most 32 bytes; sessions are resumed under the same one only. */
  sessionContext: string;
}

/** The gRPC server in native/: src/grpc_addon.cc documents each function. */
export interface NativeGrpc {
  grpcProblem(): string;
  grpcTlsProblem(): string;
  grpcServer(
    options: NativeServerOptions,
    turn: (count: number, block: ArrayBuffer | undefined, objects: (string | ArrayBuffer)[] | undefined) => void,
    drained: () => void,
  ): NativeServer;
  grpcSecure(server: object, options: NativeTlsOptions): string;
  grpcMethod(server: object, path: string, id: number, kind: number): void;
  grpcListen(server: object, host: string, port: number, shared: boolean): number;
  grpcRespond(server: object, slot: number, generation: number, headers: string, end: boolean): void;
  grpcWrite(server: object, slot: number, generation: number, bytes: Uint8Array): number;
  grpcEnd(server: object, slot: number, generation: number, trailers: string, bare: boolean): void;
  grpcReset(server: object, slot: number, generation: number, code: number): void;
  grpcConsume(server: object, slot: number, generation: number, bytes: number): void;
  grpcHeaders(server: object, slot: number, generation: number): string;
  grpcHeader(server: object, slot: number, generation: number, name: string): string | undefined;
  grpcPeer(server: object, slot: number, generation: number): string;
  grpcCertificateName(server: object, slot: number, generation: number): string;
  grpcFlush(server: object): void;
  grpcDrain(server: object): number;
  grpcClose(server: object): void;
}

/** A server made by `httpServer`, and the memory that it shares with its maker. */
export interface NativeHttpServer extends NativeServer {
  /** Texts and small bodies that `words` speak of; used again in the next turn. */
  readonly block: ArrayBuffer;
}

/** The HTTP server in native/: src/http_addon.cc documents each function. */
export interface NativeHttp {
  httpProblem(): string;
  httpServer(
    options: {
      maxBody: number;
      maxHeld: number;
      headerMs: number;
      keepAliveMs: number;
      bytesPerSecond: number;
      maxConnections: number;
      maxConnectionsPerAddress: number;
    },
    turn: (count: number, bodies: ArrayBuffer[] | undefined) => void,
  ): NativeHttpServer;
  httpSecure(server: object, options: NativeTlsOptions): string;
  httpListen(server: object, host: string, port: number, shared: boolean): number;
  httpAnswer(server: object, slot: number, generation: number, head: Uint8Array, body: Uint8Array, flags: number): void;
  httpStream(server: object, slot: number, generation: number, head: Uint8Array, flags: number): void;
  httpWrite(server: object, slot: number, generation: number, bytes: Uint8Array): number;
  httpEnd(server: object, slot: number, generation: number): void;
  httpDestroy(server: object, slot: number, generation: number): void;
  httpHead(server: object, slot: number, generation: number): string;
  httpAsk(server: object, name: string, unalike: boolean): number;
  httpPeer(server: object, slot: number, generation: number): string;
  httpCertificateName(server: object, slot: number, generation: number): string;
  httpFlush(server: object): void;
  httpStop(server: object): void;
  httpSending(server: object): number;
  httpClose(server: object): void;
}

/** What ONNX Runtime says of an input or output of a model. */
export interface OrtValueInfo {
  name: string;
  isTensor: boolean;
  /** ONNX's TensorProto element type. */
  type: number;
  /** -1 where symbolic. */
  shape: number[];
}

export interface NativeLoaded {
  session: object;
  fresh: boolean;
  inputs: OrtValueInfo[];
  outputs: OrtValueInfo[];
}

type OrtLoad<T> = (key: string, path: string, numbers: Int32Array, entries: string[], extensions: string[][]) => T;

/** Sessions of ONNX Runtime that all threads share: src/ort_addon.cc and src/ort_aside.cc document each function. */
export interface NativeSessions {
  ortOpen(library: string, version: string, intraThreads: number, interThreads: number): string;
  ortLoad: OrtLoad<NativeLoaded>;
  ortLoadAside: OrtLoad<Promise<NativeLoaded>>;
  ortRehearse(session: object, plan: Float64Array, inputs: Uint8Array[]): Promise<void>;
  ortRun(session: object, plan: Float64Array, inputs: Uint8Array[]): ArrayBuffer[];
  ortClose(session: object): void;
}

/** Models staged on GPUs: src/stage_addon.cc documents each function. */
export interface NativeStager {
  stageOpen(
    cudaLibrary: string,
    path: string,
    numbers: Int32Array,
    entries: string[],
    extensions: string[][],
    plan: Float64Array,
    names: string[],
    wake: () => void,
  ): object;
  stageState(stager: object): {
    open: boolean;
    problem: string;
    slots: number;
    lost: boolean;
    inputs: OrtValueInfo[];
    outputs: OrtValueInfo[];
  };
  stageRun(stager: object, rows: number, inputs: readonly (readonly Uint8Array[])[]): number;
  stageAnswered(stager: object): { slot: number; problem: string; lost: boolean }[];
  stageRead(stager: object, slot: number, rows: number, outputs: number[]): ArrayBuffer[];
  stageClose(stager: object): void;
}

/** A body for `decodeAside`. The thread beside reads and writes its memory until `done` is called. */
export interface NativeJob {
  readonly body: Uint8Array;
  /** Of a request of TensorFlow Serving: the inputs that it may name; else empty. */
  readonly expected: Uint8Array;
  readonly slab: Uint8Array;
  /** As `meta` is for `decode`. */
  readonly words: Int32Array;
  /** Where the addon puts those of tensors that do not fit the slab. */
  readonly buffers: ArrayBuffer[];
  readonly done: () => void;
}

/** Bytes of one thread that another one reads: src/lend.cc documents each function. */
export interface NativeLoans {
  lend(body: Uint8Array): number;
  takeBack(loan: number): void;
  borrow(loan: number): ArrayBuffer | undefined;
  giveBack(buffer: ArrayBuffer): void;
}

/** The addon in native/: src/addon.cc documents each function. */
export interface NativeCodecs extends NativeGrpc, NativeHttp, NativeLoans, NativeSessions, NativeStager {
  readonly interface: number;
  /** Words that both sides read and write during a call. Never give its memory away. */
  readonly meta: Int32Array;
  decode(body: Uint8Array, slab: Uint8Array, expected?: Uint8Array): ArrayBuffer[] | undefined;
  /** One job at a time: src/decode_aside.cc documents it. */
  decodeAside(job: NativeJob): boolean;
  print(out: Uint8Array, head: Uint8Array, data: Uint8Array): void;
  /** Of `bytes[start]` up to `bytes[end - 1]`. Absent where the processor has no instructions for it. */
  crc32c?(bytes: Uint8Array, start: number, end: number): number;
  /** Absent where that one is. */
  sealRecords?(records: Uint8Array, ends: Int32Array): boolean;
  /** Of the calling thread, by so much niceness. */
  giveWay(by: number): void;
  /** Of the calling thread, by the kernel's numbers; none but on Linux. */
  usableCores(): number[];
  /** `thread`: 0 for the calling one. False where the kernel refuses. Threads that it starts inherit them. */
  useCores(thread: number, cores: Int32Array): boolean;
  /** Child processes of any thread start with these cores, and do not inherit those of the thread. */
  giveChildrenCores(cores: Int32Array): boolean;
  recordLines(out: Uint8Array, records: Uint8Array, places: Int32Array): void;
}

/** The addon's kInterface that this file describes. */
const INTERFACE = 17;

/** Absolute paths, the one to try first before the other; native/platform.mjs names the prebuilt in the same way. */
function candidates(): string[] {
  const paths = [join(PACKAGE_FOLDER, 'native/build/switchyard.node')];
  const prebuilts = join(PACKAGE_FOLDER, 'native/prebuilds/');
  if (existsSync(prebuilts)) {
    const musl = process.platform === 'linux' && readdirSync('/lib').some((name) => name.startsWith('ld-musl-'));
    const libc = process.platform === 'linux' ? (musl ? '-musl' : '-glibc') : '';
    paths.push(`${prebuilts}${process.platform}-${process.arch}${libc}.node`);
  }
  return paths.filter((path) => existsSync(path));
}

/** Why the addon is not used, with the remedy; '' when it is used, or was switched off. */
export let nativeProblem = '';

/** The addon, or undefined where the TypeScript codecs do its work. SWITCHYARD_NATIVE: `off`, or `on` = must load. */
export const native = load(process.env.SWITCHYARD_NATIVE ?? '');

function load(wanted: string): NativeCodecs | undefined {
  if (wanted === 'off') return undefined;
  if (wanted !== '' && wanted !== 'on') throw new Error(`SWITCHYARD_NATIVE is "${wanted}"; allowed are on and off`);
  const require = createRequire(import.meta.url);
  let reason = 'it is not built';
  for (const path of candidates()) {
    try {
      const addon = require(path) as NativeCodecs;
      if (addon.interface === INTERFACE) return addon;
      reason = 'it was built from the sources of another version';
    } catch (error) {
      reason = (error as Error).message;
    }
  }
  nativeProblem =
    `the native codecs are not in use (${reason}); JSON and gRPC are served by slower code. ` +
    'Remedy: install a C++17 compiler and run `npm run build:native`, or set SWITCHYARD_NATIVE=off';
  if (wanted === 'on') throw new Error(nativeProblem);
  return undefined;
}
