/** A first buffer never exceeds it, so that a declared length alone costs a client's word, not our memory. */
const FIRST_BUFFER = 1 << 20;

/**
 * Gathers a body that comes in several chunks. Up to 1 MiB the buffer has the declared length at once; beyond, it
 * grows fourfold as bytes really arrive, and never past the declared length.
 */
export class BodyBuffer {
  received = 0;
  private buffer: Uint8Array;
  private readonly declared: number;

  /** @param declared the request's Content-Length; the parser guarantees that no more bytes come. */
  constructor(declared: number) {
    this.declared = declared;
    this.buffer = Buffer.allocUnsafeSlow(Math.min(declared, FIRST_BUFFER));
  }

  /** Copies `chunk`. False: more bytes than declared; nothing was copied. */
  add(chunk: Uint8Array): boolean {
    const needed = this.received + chunk.byteLength;
    if (needed > this.declared) return false;
    if (needed > this.buffer.byteLength) {
      const grown = Buffer.allocUnsafeSlow(Math.min(this.declared, needed * 4));
      grown.set(this.buffer.subarray(0, this.received));
      this.buffer = grown;
    }
    this.buffer.set(chunk, this.received);
    this.received = needed;
    return true;
  }

  /** The bytes so far, given away. */
  take(): Uint8Array {
    return this.received === this.buffer.byteLength ? this.buffer : this.buffer.subarray(0, this.received);
  }
}
