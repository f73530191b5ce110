import type { Served } from '../../pipeline/types.ts';
import type { NativeGrpc } from '../../tensor/native.ts';
import type { Dispatcher } from './dispatcher.ts';

/** What a slot of the addon's stands for on this side. */
export interface NativeEndpoint {
  readonly slot: number;
  readonly generation: number;
  onBytes(bytes: Buffer): void;
  onEnded(): void;
  /** What was written has left. */
  onFlushed(): void;
  /** More came than the one message of a unary call. */
  onSurplus(): void;
  /** The client is gone, before the call was answered. */
  onGone(): void;
}

/** What endpoints ask of their server. */
export interface NativeServerHandle {
  readonly native: NativeGrpc;
  readonly server: object;
  readonly dispatcher: Dispatcher;
  /** Clients may have certificates. */
  readonly asksClients: boolean;
  /** Nothing more is to be told of the endpoint. */
  forget(endpoint: NativeEndpoint): void;
  /** Answers a unary call with a frame of at most SLICE bytes, which is copied, and status OK; `served` gave it. */
  answer(slot: number, generation: number, served: Served | undefined, frame: Buffer): void;
}
