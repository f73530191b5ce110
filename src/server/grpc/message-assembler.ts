import { SwitchyardError } from '../../shared/errors.ts';

const PREFIX = 5;

/** One gRPC message as it arrived; `bytes` alias the chunk it came in when that held it whole. */
export interface Frame {
  compressed: boolean;
  bytes: Buffer;
}

/**
 * Cuts the bytes of a call into gRPC messages. The declared length is judged as soon as its five bytes are here, before
 * anything of the message is kept, and nothing is allocated for a message until all of it has arrived.
 */
export class MessageAssembler {
  /** Bytes held for messages that are not complete. */
  buffered = 0;
  private readonly limit: number;
  private chunks: Buffer[] = [];
  /** Length of the message being waited for; -1: its prefix has not arrived. */
  private wanted = -1;
  private compressed = false;

  constructor(maxMessageBytes: number) {
    this.limit = maxMessageBytes;
  }

  push(chunk: Buffer): void {
    if (chunk.length === 0) return;
    this.chunks.push(chunk);
    this.buffered += chunk.length;
  }

  /** The next complete message, or undefined. Throws overloaded (too long) and internal (no gRPC framing). */
  next(): Frame | undefined {
    if (this.wanted < 0) {
      if (this.buffered < PREFIX) return undefined;
      const prefix = this.take(PREFIX);
      if (prefix[0] > 1) {
        throw new SwitchyardError('internal', `gRPC frame flag ${prefix[0]} is unknown; 0 and 1 are allowed`);
      }
      const declared = prefix.readUInt32BE(1);
      refuseLonger(declared, this.limit);
      this.compressed = prefix[0] === 1;
      this.wanted = declared;
    }
    if (this.buffered < this.wanted) return undefined;
    const bytes = this.take(this.wanted);
    this.wanted = -1;
    return { compressed: this.compressed, bytes };
  }

  /** True between messages: the client may end the call here. */
  get idle(): boolean {
    return this.wanted < 0 && this.buffered === 0;
  }

  clear(): void {
    this.chunks = [];
    this.buffered = 0;
  }

  private take(count: number): Buffer {
    this.buffered -= count;
    const first = this.chunks[0];
    if (first !== undefined && first.length >= count) {
      if (first.length === count) this.chunks.shift();
      else this.chunks[0] = first.subarray(count);
      return first.subarray(0, count);
    }
    const out = Buffer.allocUnsafe(count);
    let at = 0;
    let used = 0;
    while (at < count) {
      const chunk = this.chunks[used];
      const part = Math.min(chunk.length, count - at);
      chunk.copy(out, at, 0, part);
      at += part;
      if (part < chunk.length) {
        this.chunks[used] = chunk.subarray(part);
        break;
      }
      used++;
    }
    this.chunks.splice(0, used);
    return out;
  }
}

/** Throws overloaded, RESOURCE_EXHAUSTED on the wire as gRPC clients know it, for a message over the limit. */
export function refuseLonger(bytes: number, limit: number): void {
  if (bytes > limit) {
    throw new SwitchyardError(
      'payload_too_large',
      `message of ${bytes} bytes is larger than this server's limit of ${limit} bytes; send less or raise the limit`,
    );
  }
}
