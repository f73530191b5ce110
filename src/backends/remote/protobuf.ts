import { SwitchyardError } from '../../shared/errors.ts';

/** Protobuf wire types. */
export const VARINT = 0;
export const FIXED64 = 1;
export const BYTES = 2;
export const FIXED32 = 5;

/**
 * Writes one message as a list of pieces, so that tensor bytes are copied once, by `finish`. Fields are written in the
 * order of the calls; default values are the caller's to leave out.
 */
export class Writer {
  readonly #pieces: Uint8Array[] = [];
  #scratch: Buffer = Buffer.alloc(256);
  #at = 0;
  #flushed = 0;
  #size = 0;

  /** Any int32, int64, uint64, enum or bool. Negative numbers take ten bytes, as protobuf wants. */
  varint(field: number, value: number | bigint): this {
    this.#varint(field * 8 + VARINT);
    this.#varint(value);
    return this;
  }

  double(field: number, value: number): this {
    this.#varint(field * 8 + FIXED64);
    this.#reserve(8);
    this.#at = this.#scratch.writeDoubleLE(value, this.#at);
    return this;
  }

  string(field: number, value: string): this {
    return this.bytes(field, Buffer.from(value));
  }

  /** `value` is referred to until `finish`. */
  bytes(field: number, value: Uint8Array): this {
    this.#varint(field * 8 + BYTES);
    this.#varint(value.byteLength);
    this.#flush();
    this.#pieces.push(value);
    this.#size += value.byteLength;
    return this;
  }

  message(field: number, inner: Writer): this {
    inner.#flush();
    this.#varint(field * 8 + BYTES);
    this.#varint(inner.#size);
    this.#flush();
    for (const piece of inner.#pieces) this.#pieces.push(piece);
    this.#size += inner.#size;
    return this;
  }

  /** A packed repeated int64. */
  packed(field: number, values: readonly (number | bigint)[]): this {
    const inner = new Writer();
    for (const value of values) inner.#varint(value);
    return this.message(field, inner);
  }

  finish(): Buffer {
    this.#flush();
    return Buffer.concat(this.#pieces, this.#size);
  }

  #varint(value: number | bigint): void {
    this.#reserve(10);
    if (typeof value === 'bigint' || value < 0) {
      let rest = BigInt.asUintN(64, BigInt(value));
      while (rest > 127n) {
        this.#scratch[this.#at++] = Number(rest & 127n) | 128;
        rest >>= 7n;
      }
      this.#scratch[this.#at++] = Number(rest);
      return;
    }
    let rest = value;
    while (rest > 127) {
      this.#scratch[this.#at++] = (rest % 128) | 128;
      rest = Math.floor(rest / 128);
    }
    this.#scratch[this.#at++] = rest;
  }

  #reserve(bytes: number): void {
    if (this.#at + bytes <= this.#scratch.length) return;
    this.#flush();
    this.#scratch = Buffer.alloc(256);
    this.#at = 0;
    this.#flushed = 0;
  }

  #flush(): void {
    if (this.#at === this.#flushed) return;
    this.#pieces.push(this.#scratch.subarray(this.#flushed, this.#at));
    this.#size += this.#at - this.#flushed;
    this.#flushed = this.#at;
  }
}

/** Reads one message of a remote server: `while (reader.next()) switch (reader.field) …`. Throws on malformed bytes. */
export class Reader {
  field = 0;
  wire = 0;
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** Moves to the next field; the caller reads it with one call, or skips it. */
  next(): boolean {
    if (this.#at >= this.#bytes.length) return false;
    const tag = this.number();
    this.field = Math.floor(tag / 8);
    this.wire = tag & 7;
    return true;
  }

  /** A varint as a number; exact up to 2^53, and negative where the sign bit is set. */
  number(): number {
    const first = this.#bytes[this.#at];
    if (first < 128) {
      this.#at++;
      return first;
    }
    return Number(this.bigint());
  }

  /** A varint as a signed 64-bit integer. */
  bigint(): bigint {
    let low = 0;
    let shift = 0;
    let high = 0n;
    for (let i = 0; i < 10; i++) {
      if (this.#at >= this.#bytes.length) throw malformed();
      const byte = this.#bytes[this.#at++];
      if (i < 4) low += (byte & 127) * 2 ** shift;
      else high |= BigInt(byte & 127) << BigInt(shift);
      if (byte < 128) return BigInt.asIntN(64, high | BigInt(low));
      shift += 7;
    }
    throw malformed();
  }

  bytes(): Buffer {
    const length = this.number();
    return this.#take(length);
  }

  string(): string {
    return this.bytes().toString('utf8');
  }

  message(): Reader {
    return new Reader(this.bytes());
  }

  double(): number {
    return this.#take(8).readDoubleLE(0);
  }

  float(): number {
    return this.#take(4).readFloatLE(0);
  }

  /** Appends a repeated scalar, packed or not. */
  repeated<T>(into: T[], read: (reader: Reader) => T): void {
    if (this.wire !== BYTES) {
      into.push(read(this));
      return;
    }
    const inner = this.message();
    while (inner.#at < inner.#bytes.length) into.push(read(inner));
  }

  skip(): void {
    switch (this.wire) {
      case VARINT:
        this.bigint();
        return;
      case FIXED64:
        this.#take(8);
        return;
      case BYTES:
        this.bytes();
        return;
      case FIXED32:
        this.#take(4);
        return;
      default:
        throw malformed();
    }
  }

  #take(length: number): Buffer {
    if (!(length >= 0) || this.#at + length > this.#bytes.length) throw malformed();
    const start = this.#at;
    this.#at += length;
    return this.#bytes.subarray(start, this.#at);
  }
}

function malformed(): SwitchyardError {
  return new SwitchyardError('internal', 'the remote server sent a malformed message');
}
