import { invalidArgument, type SwitchyardError } from '../../shared/errors.ts';

export const WIRE_VARINT = 0;
export const WIRE_FIXED64 = 1;
export const WIRE_BYTES = 2;
const WIRE_START_GROUP = 3;
const WIRE_END_GROUP = 4;
export const WIRE_FIXED32 = 5;

const MAX_GROUP_DEPTH = 8;

function malformed(what: string, offset: number): SwitchyardError {
  return invalidArgument(
    `malformed protobuf message: ${what} at byte ${offset}; send a message of the documented type`,
  );
}

/**
 * A cursor over protobuf bytes. It copies nothing. All reads are bounded by `end`, which a caller narrows to walk into
 * a nested message and restores afterwards; every violation throws invalid_argument.
 */
export class WireReader {
  readonly bytes: Buffer;
  pos: number;
  end: number;
  /** The last value of `long()`: two's complement halves. */
  lo = 0;
  hi = 0;

  constructor(bytes: Buffer) {
    this.bytes = bytes;
    this.pos = 0;
    this.end = bytes.length;
  }

  /** The next field's tag (number << 3 | wire type), or 0 at the end of the message. */
  tag(): number {
    if (this.pos >= this.end) return 0;
    const tag = this.uint32();
    if (tag >>> 3 === 0) throw malformed('field number 0', this.pos);
    return tag;
  }

  /** Any varint's low 32 bits, unsigned. */
  uint32(): number {
    if (this.pos < this.end) {
      const first = this.bytes[this.pos];
      if (first < 0x80) {
        this.pos++;
        return first;
      }
    }
    this.long();
    return this.lo >>> 0;
  }

  /** Reads a varint of up to ten bytes into `lo` and `hi`. */
  long(): void {
    const bytes = this.bytes;
    let lo = 0;
    let hi = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      if (this.pos >= this.end) throw malformed('a varint runs past its message', this.pos);
      const byte = bytes[this.pos++];
      const bits = byte & 0x7f;
      if (shift < 28) lo |= bits << shift;
      else if (shift === 28) {
        lo |= bits << 28;
        hi = bits >> 4;
      } else hi |= bits << (shift - 32);
      if (byte < 0x80) {
        this.lo = lo;
        this.hi = hi;
        return;
      }
    }
    throw malformed('a varint is longer than ten bytes', this.pos);
  }

  /** A signed 64-bit varint as a number; beyond 2^53 it is rounded, and stays beyond 2^53. */
  int64(): number {
    this.long();
    return this.hi * 4294967296 + (this.lo >>> 0);
  }

  /** `lo` and `hi` as an exact value: a number while it is a safe integer, else a bigint. */
  exact(signed: boolean): number | bigint {
    const hi = signed ? this.hi : this.hi >>> 0;
    const value = hi * 4294967296 + (this.lo >>> 0);
    return Number.isSafeInteger(value) ? value : (BigInt(hi) << 32n) | BigInt(this.lo >>> 0);
  }

  /** The length of a length-delimited field, checked against the enclosing message; the cursor stands at its first byte. */
  length(): number {
    let length: number;
    if (this.pos < this.end && this.bytes[this.pos] < 0x80) length = this.bytes[this.pos++];
    else {
      this.long();
      length = this.hi === 0 ? this.lo >>> 0 : Number.POSITIVE_INFINITY;
    }
    if (length > this.end - this.pos) throw malformed('a field is longer than its message', this.pos);
    return length;
  }

  /** A view of a bytes field: it shares the message's memory. */
  view(): Buffer {
    const length = this.length();
    const start = this.pos;
    this.pos = start + length;
    return this.bytes.subarray(start, this.pos);
  }

  string(): string {
    const length = this.length();
    const start = this.pos;
    this.pos = start + length;
    return length === 0 ? '' : this.bytes.toString('utf8', start, this.pos);
  }

  double(): number {
    if (this.end - this.pos < 8) throw malformed('a double runs past its message', this.pos);
    this.pos += 8;
    return this.bytes.readDoubleLE(this.pos - 8);
  }

  float(): number {
    if (this.end - this.pos < 4) throw malformed('a float runs past its message', this.pos);
    this.pos += 4;
    return this.bytes.readFloatLE(this.pos - 4);
  }

  /** Passes over the value of an unknown field. */
  skip(tag: number, depth = 0): void {
    switch (tag & 7) {
      case WIRE_VARINT:
        this.long();
        return;
      case WIRE_FIXED64:
        this.advance(8);
        return;
      case WIRE_BYTES:
        this.advance(this.length());
        return;
      case WIRE_FIXED32:
        this.advance(4);
        return;
      case WIRE_START_GROUP:
        if (depth >= MAX_GROUP_DEPTH) throw malformed('groups nest too deeply', this.pos);
        for (;;) {
          const inner = this.tag();
          if (inner === 0) throw malformed('a group has no end', this.pos);
          if ((inner & 7) === WIRE_END_GROUP) {
            if (inner >>> 3 !== tag >>> 3) throw malformed('a group ends with another number', this.pos);
            return;
          }
          this.skip(inner, depth + 1);
        }
      default:
        throw malformed(`wire type ${tag & 7}`, this.pos);
    }
  }

  private advance(count: number): void {
    if (count > this.end - this.pos) throw malformed('a field runs past its message', this.pos);
    this.pos += count;
  }
}

/** The number of varints between two offsets: bytes without the continuation bit. */
export function countVarints(bytes: Buffer, start: number, end: number): number {
  let count = 0;
  for (let i = start; i < end; i++) if (bytes[i] < 0x80) count++;
  return count;
}
