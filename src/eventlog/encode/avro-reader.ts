/** Many records lie in one chunk: its views are made once. */
let chunk: { u8: Uint8Array; view: DataView; buffer: Buffer } | undefined;

function viewsOf(u8: Uint8Array): NonNullable<typeof chunk> {
  if (chunk?.u8 !== u8) {
    const { buffer, byteOffset, byteLength } = u8;
    chunk = {
      u8,
      view: new DataView(buffer, byteOffset, byteLength),
      buffer: Buffer.from(buffer, byteOffset, byteLength),
    };
  }
  return chunk;
}

/** Reads Avro's binary encoding front to back, from `at` up to `end`. Throws RangeError where it runs past the end. */
export class AvroReader {
  at: number;
  private readonly end: number;
  private readonly u8: Uint8Array;
  private readonly view: DataView;
  private readonly buffer: Buffer;

  constructor(u8: Uint8Array, at: number = 0, end: number = u8.length) {
    const { view, buffer } = viewsOf(u8);
    this.u8 = u8;
    this.at = at;
    this.end = end;
    this.view = view;
    this.buffer = buffer;
  }

  get ended(): boolean {
    return this.at >= this.end;
  }

  byte(): number {
    if (this.at >= this.end) throw new RangeError('the record ends too early');
    return this.u8[this.at++];
  }

  /** A long that fits a number; larger ones lose precision. */
  long(): number {
    let low = 0;
    for (let shift = 0; shift < 28; shift += 7) {
      const byte = this.byte();
      low |= (byte & 127) << shift;
      if (byte < 128) return (low >>> 1) ^ -(low & 1);
    }
    let high = 0;
    for (let shift = 0; shift < 21; shift += 7) {
      const byte = this.byte();
      high |= (byte & 127) << shift;
      if (byte > 127) continue;
      const zigzag = high * 2 ** 28 + low;
      return (low & 1) === 0 ? zigzag / 2 : -(zigzag + 1) / 2;
    }
    this.at -= 7;
    return Number(this.bigLong());
  }

  bigLong(): bigint {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = this.byte();
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) break;
      if (shift > 63n) throw new RangeError('a number is too long');
    }
    value = BigInt.asUintN(64, value);
    return (value >> 1n) ^ -(value & 1n);
  }

  double(): number {
    const { at } = this;
    if (at + 8 > this.end) throw new RangeError('the record ends too early');
    this.at = at + 8;
    return this.view.getFloat64(at, true);
  }

  string(): string {
    const start = this.skipBytes();
    return this.buffer.toString('utf8', start, this.at);
  }

  /** A string that is mostly the one that `memo` remembers: then no text is made. */
  known(memo: KnownText): string {
    const start = this.skipBytes();
    const { u8, at } = this;
    const { bytes } = memo;
    let same = bytes.length === at - start;
    for (let i = 0; same && i < bytes.length; i++) same = bytes[i] === u8[start + i];
    if (!same) {
      memo.bytes = Uint8Array.prototype.slice.call(u8, start, at);
      memo.text = this.buffer.toString('utf8', start, at);
    }
    return memo.text;
  }

  bytes(): Buffer {
    const start = this.skipBytes();
    return Buffer.from(this.buffer.subarray(start, this.at));
  }

  /** Leaves out a string or bytes; returns where its own bytes began. */
  skipBytes(): number {
    const length = this.long();
    const start = this.at;
    if (length < 0 || start + length > this.end) throw new RangeError('a text ends too late');
    this.at = start + length;
    return start;
  }

  /** The bytes of `count` values of `size` bytes, copied, so that they are aligned. */
  fixed(count: number, size: number): ArrayBuffer {
    const end = this.at + count * size;
    if (count < 0 || end > this.end) throw new RangeError('an array ends too late');
    // Not slice: that of a Buffer copies nothing.
    const copy = new Uint8Array(end - this.at);
    copy.set(this.u8.subarray(this.at, end));
    this.at = end;
    return copy.buffer;
  }

  /** Items of an array, block by block. */
  array(item: (count: number) => void): void {
    for (let count = this.long(); count !== 0; count = this.long()) {
      if (count < 0) {
        count = -count;
        this.long();
      }
      item(count);
    }
  }
}

/** The last text that stood in one place of a record. */
export interface KnownText {
  bytes: Uint8Array;
  text: string;
}
