import { SwitchyardError } from '../../shared/errors.ts';

/** A first buffer never exceeds it, so that a declared length alone costs a client's word, not our memory. */
const FIRST_BUFFER = 1 << 20;
const LEAST_HELD = 512 << 20;
const NOTHING = new Uint8Array(0);

/** What all large bodies of a server hold together, from when their bytes come until their requests are answered. */
export interface HeldBytes {
  held: number;
  readonly max: number;
}

/** For a server that holds nothing yet: unless it is told otherwise, two of the largest bodies it takes, 512 MiB at least. */
export function heldBytes(options: { maxBodyBytes: number; maxHeldBytes?: number }): HeldBytes {
  return { held: 0, max: options.maxHeldBytes ?? Math.max(LEAST_HELD, 2 * options.maxBodyBytes) };
}

/**
 * Gathers a body that comes in several chunks. Up to 1 MiB the buffer has the declared length at once; beyond, it
 * grows fourfold as bytes really arrive, and never past the declared length.
 */
export class BodyBuffer {
  received = 0;
  private buffer: Uint8Array;
  private readonly declared: number;
  private readonly all: HeldBytes;
  private counted = 0;

  /** @param declared the request's Content-Length; the parser guarantees that no more bytes come. */
  constructor(declared: number, all: HeldBytes) {
    this.declared = declared;
    this.all = all;
    this.buffer = Buffer.allocUnsafeSlow(Math.min(declared, FIRST_BUFFER));
  }

  /** Copies `chunk`. Throws where more bytes came than declared, or all bodies together hold too many; nothing was copied. */
  add(chunk: Uint8Array): void {
    const needed = this.received + chunk.byteLength;
    if (needed > this.declared) {
      throw new SwitchyardError('invalid_argument', 'the body is longer than its Content-Length');
    }
    if (this.all.held + chunk.byteLength > this.all.max) {
      const message = 'too many large requests are under way at once; retry later';
      throw new SwitchyardError('overloaded', message, { retryAfterMs: 1000 });
    }
    this.all.held += chunk.byteLength;
    this.counted += chunk.byteLength;
    if (needed > this.buffer.byteLength) {
      const grown = Buffer.allocUnsafeSlow(Math.min(this.declared, needed * 4));
      grown.set(this.buffer.subarray(0, this.received));
      this.buffer = grown;
    }
    this.buffer.set(chunk, this.received);
    this.received = needed;
  }

  /** The bytes so far, given away. They count until `release`. */
  take(): Uint8Array {
    const { buffer, received } = this;
    this.buffer = NOTHING;
    return received === buffer.byteLength ? buffer : buffer.subarray(0, received);
  }

  /** The request is answered or given up. */
  release(): void {
    this.all.held -= this.counted;
    this.counted = 0;
    this.buffer = NOTHING;
  }
}
