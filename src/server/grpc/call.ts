import type { IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http2';
import type { InferRequest, Served } from '../../pipeline/types.ts';
import type { SwitchyardError } from '../../shared/errors.ts';

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

/** A call as its method sees it, whatever carries it. What is sent after its end is dropped. */
export interface Call {
  /** The request's metadata, names in lower case. */
  readonly headers: IncomingHttpHeaders;
  /** '/package.Service/Method' */
  readonly path: string;
  /** The client's address. */
  readonly peer: string;
  /** Common name of the client's verified certificate, or ''. */
  readonly certificateName: string;
  /** monotonicMs() at which the headers arrived. */
  readonly receivedAt: number;
  /** monotonicMs() by which the client wants the answer; Infinity: none. */
  readonly deadline: number;
  receiver: CallReceiver | undefined;
  /** A request header's first value, or ''. */
  header(name: string): string;
  /** Tells the client in the answer's initial metadata who gave it, as long as none has left. */
  describe(served: Served): void;
  /** Answers a unary call with one frame and status OK. The call owns the frame from then on. */
  reply(frame: Buffer): void;
  /** Ends the call with status OK, or with the given trailers. */
  end(trailers?: OutgoingHttpHeaders): void;
  /** Ends the call with an error. */
  fail(error: SwitchyardError): void;
  /** Ends the call with an error from outside its receiver, which is told to let go. */
  abort(error: SwitchyardError): void;
}

/** A call whose messages come and go one by one. */
export interface StreamingCall extends Call {
  /** Sends one frame. False: the client reads slowly; `drained` follows. The call owns the frame. */
  write(frame: Buffer): boolean;
  /** Bytes written that have not left yet. */
  readonly unsentBytes: number;
  /** Stops delivering messages; the client's flow-control window closes by itself. */
  pause(): void;
  resume(): void;
}

/**
 * A registered method. `unary` ones get their single message, or with `take` the request that a transport has decoded
 * already; `stream` ones make a receiver when the call opens.
 */
export type Method =
  | { kind: 'unary'; handle(message: Buffer, call: Call): void; take?(request: InferRequest, call: Call): void }
  | { kind: 'stream'; open(call: StreamingCall): CallReceiver };

/** Where services put their methods. */
export interface MethodRegistry {
  /** @param path '/package.Service/Method' */
  register(path: string, method: Method): void;
}
