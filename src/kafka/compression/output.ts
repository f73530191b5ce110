/**
 * The most bytes that one batch may hold when it is unpacked, as librdkafka's receive.message.max.bytes has it: a batch of
 * a megabyte may say that it holds a terabyte.
 */
export const MAX_UNPACKED_BYTES = 100_000_000;

/** Unpacked bytes that grow, up to a limit. Formats of the LZ77 family copy from what is there already. */
export class Output {
  private readonly limit: number;
  private buffer: Buffer;
  private length = 0;

  /** @param expected bytes; a guess, which a sender may have made too high */
  constructor(expected: number, limit: number) {
    this.limit = limit;
    this.buffer = Buffer.allocUnsafe(Math.min(Math.max(expected, 64), limit, 16 * 1024 * 1024));
  }

  get size(): number {
    return this.length;
  }

  /** Throws a RangeError where `from` to `to` is not in `input`, or the limit is passed. */
  append(input: Uint8Array, from: number, to: number): void {
    if (to > input.length) throw new RangeError('it ends too early');
    this.room(to - from);
    this.buffer.set(input.subarray(from, to), this.length);
    this.length += to - from;
  }

  /** Repeats `count` bytes from `distance` back; what is copied may be copied again. Throws as `append` does. */
  repeat(distance: number, count: number): void {
    if (distance === 0 || distance > this.length) throw new RangeError('it refers to bytes before its beginning');
    this.room(count);
    const { buffer } = this;
    const end = this.length + count;
    if (distance >= count) buffer.copyWithin(this.length, this.length - distance, end - distance);
    else for (let at = this.length; at < end; at++) buffer[at] = buffer[at - distance];
    this.length = end;
  }

  bytes(): Buffer {
    return this.buffer.subarray(0, this.length);
  }

  private room(more: number): void {
    const wanted = this.length + more;
    if (wanted > this.limit) throw tooLarge(this.limit);
    if (wanted <= this.buffer.length) return;
    const grown = Buffer.allocUnsafe(Math.min(this.limit, Math.max(wanted, 2 * this.buffer.length)));
    this.buffer.copy(grown, 0, 0, this.length);
    this.buffer = grown;
  }
}

export function tooLarge(limit: number): RangeError {
  return new RangeError(`it holds more than ${limit} bytes when it is unpacked; send smaller batches`);
}
