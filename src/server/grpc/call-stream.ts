import type { OutgoingHttpHeaders } from 'node:http2';
import type { GrpcCall } from './grpc-call.ts';

/** The HTTP/2 stream under a call: what GrpcCall asks of a transport. It tells `call` of data, end, drain and close. */
export interface CallStream {
  /** Nothing reaches the client any more. */
  readonly gone: boolean;
  /** All of the request has been delivered. */
  readonly requestEnded: boolean;
  readonly unsentBytes: number;
  readonly peer: string;
  readonly certificateName: string;
  /** Delivers the request to the call from now on. */
  attach(call: GrpcCall): void;
  pause(): void;
  resume(): void;
  /** Sends the answer's headers; frames and trailers follow. */
  respond(headers: OutgoingHttpHeaders): void;
  /** Sends headers that are all of the answer, or all but a body, and asks a client that still sends to stop. */
  refuse(headers: OutgoingHttpHeaders, body?: string): void;
  /** False: the client lags; the call's `onDrain` follows. The stream owns the frame. */
  write(frame: Buffer): boolean;
  /** Ends the answer behind what was written and, where given, one last frame. */
  end(trailers: OutgoingHttpHeaders, frame?: Buffer): void;
  /** Ends the stream where no answer can be made any more. */
  reset(): void;
}

/** Frames up to this size are sent in one piece. */
export const SLICE = 65536;
