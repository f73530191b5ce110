import type { GatewayServices } from '../../services.ts';

/** What an operator may choose about the inference port's answers. */
export interface HttpSettings {
  /** Adds Server-Timing to answers that ran a batch. */
  serverTiming: boolean;
  /** Status of `overloaded`: 429, or 503 as Triton answers. */
  overloadStatus: 429 | 503;
  /** JSON answers of fewer bytes are not compressed for clients that merely can decompress. */
  compressFromBytes: number;
  /** A stream whose peer leaves more bytes than this unread is cut. */
  maxStreamBacklogBytes: number;
}

export const DEFAULT_SETTINGS: HttpSettings = {
  serverTiming: true,
  overloadStatus: 429,
  compressFromBytes: 16 * 1024,
  maxStreamBacklogBytes: 8 * 1024 * 1024,
};

/** What every handler works with: one per gateway thread. */
export interface HttpGateway {
  services: GatewayServices;
  settings: HttpSettings;
}
