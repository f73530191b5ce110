/** Reads Avro's binary encoding front to back. Throws RangeError where it runs past the end. */
export class AvroReader {
  at: number;
  private readonly u8: Uint8Array;
  private readonly view: DataView;
  private readonly buffer: Buffer;

  constructor(u8: Uint8Array, at = 0) {
    this.u8 = u8;
    this.at = at;
    this.view = new DataView(u8.buffer, u8.byteOffset, u8.byteLength);
    this.buffer = Buffer.from(u8.buffer, u8.byteOffset, u8.byteLength);
  }

  byte(): number {
    if (this.at >= this.u8.length) throw new RangeError('the record ends too early');
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
    this.at -= 4;
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
    const value = this.view.getFloat64(this.at, true);
    this.at += 8;
    return value;
  }

  string(): string {
    const start = this.skipBytes();
    return this.buffer.toString('utf8', start, this.at);
  }

  bytes(): Buffer {
    const start = this.skipBytes();
    return Buffer.from(this.buffer.subarray(start, this.at));
  }

  /** Leaves out a string or bytes; returns where its own bytes began. */
  skipBytes(): number {
    const length = this.long();
    const start = this.at;
    if (length < 0 || start + length > this.u8.length) throw new RangeError('a text ends too late');
    this.at = start + length;
    return start;
  }

  /** The bytes of `count` values of `size` bytes, copied, so that they are aligned. */
  fixed(count: number, size: number): ArrayBuffer {
    const end = this.at + count * size;
    if (count < 0 || end > this.u8.length) throw new RangeError('an array ends too late');
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
