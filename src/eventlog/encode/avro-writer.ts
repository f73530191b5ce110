const utf8 = new TextEncoder();
const scratch = new Float64Array(1);
const scratchBytes = new Uint8Array(scratch.buffer);
const FIRST_BYTES = 64 * 1024;
/** Of `largeLong`: 2^52. */
const MAX_FAST = 2 ** 52;

/** Of an integer below 2^52 as a zigzag varint. */
export function longBytes(value: number): number {
  let rest = value < 0 ? -2 * value - 1 : 2 * value;
  let bytes = 1;
  for (; rest > 127; bytes++) rest = Math.floor(rest / 128);
  return bytes;
}

/** Avro's binary encoding into a buffer that grows. */
export class AvroWriter {
  u8: Uint8Array;
  at = 0;

  constructor(bytes: number = FIRST_BYTES) {
    this.u8 = new Uint8Array(bytes);
  }

  /** Makes room; the methods for single values do so by themselves, `raw…` do not. */
  reserve(bytes: number): void {
    if (this.at + bytes <= this.u8.length) return;
    const grown = new Uint8Array(Math.max(this.u8.length * 2, this.at + bytes));
    grown.set(this.u8.subarray(0, this.at));
    this.u8 = grown;
  }

  /** A safe integer as a zigzag varint. */
  long(value: number): void {
    this.reserve(10);
    if (value >= -0x40000000 && value < 0x40000000) {
      let n = (value << 1) ^ (value >> 31);
      while (n > 127) {
        this.u8[this.at++] = (n & 127) | 128;
        n >>>= 7;
      }
      this.u8[this.at++] = n;
      return;
    }
    if (value >= 0 && value <= MAX_FAST) this.largeLong(value * 2);
    else this.bigLong(BigInt(value));
  }

  /** Of a zigzag number up to 2^53: 28 bits by integer arithmetic, the rest likewise. */
  private largeLong(zigzag: number): void {
    const high = Math.floor(zigzag / 0x10000000);
    let low = zigzag - high * 0x10000000;
    const { u8 } = this;
    for (let i = 0; i < 4; i++) {
      u8[this.at++] = (low & 127) | 128;
      low >>>= 7;
    }
    let n = high;
    while (n > 127) {
      u8[this.at++] = (n & 127) | 128;
      n >>>= 7;
    }
    u8[this.at++] = n;
  }

  bigLong(value: bigint): void {
    this.reserve(10);
    let n = BigInt.asUintN(64, (value << 1n) ^ (value >> 63n));
    while (n > 127n) {
      this.u8[this.at++] = Number(n & 127n) | 128;
      n >>= 7n;
    }
    this.u8[this.at++] = Number(n);
  }

  double(value: number): void {
    this.reserve(8);
    scratch[0] = value;
    const { u8, at } = this;
    for (let i = 0; i < 8; i++) u8[at + i] = scratchBytes[i];
    this.at = at + 8;
  }

  byte(value: number): void {
    this.reserve(1);
    this.u8[this.at++] = value;
  }

  /** Bytes as they are. */
  raw(source: Uint8Array, start: number, bytes: number): void {
    this.reserve(bytes);
    const { u8, at } = this;
    if (bytes <= 128) for (let i = 0; i < bytes; i++) u8[at + i] = source[start + i];
    else u8.set(source.subarray(start, start + bytes), at);
    this.at = at + bytes;
  }

  /** `bytes` or `string` from UTF-8. */
  bytes(source: Uint8Array, start: number, bytes: number): void {
    this.long(bytes);
    this.raw(source, start, bytes);
  }

  string(text: string): void {
    const { length } = text;
    this.reserve(length * 3 + 5);
    // Up to 63 bytes the length takes one byte, whatever comes.
    if (length < 64) {
      const { u8 } = this;
      const start = this.at + 1;
      for (let i = 0; ; i++) {
        if (i === length) {
          u8[this.at] = length << 1;
          this.at = start + length;
          return;
        }
        const code = text.charCodeAt(i);
        if (code > 127) break;
        u8[start + i] = code;
      }
    }
    const bytes = utf8.encode(text);
    this.bytes(bytes, 0, bytes.length);
  }
}
