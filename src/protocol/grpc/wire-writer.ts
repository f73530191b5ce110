import { PlacedTensor } from '../../tensor/placed.ts';
import type { Tensor } from '../../tensor/tensor.ts';

/** Up to here a loop copies faster than a call. */
const FEW_BYTES = 96;

/** Bytes of a varint. `value` is a non-negative safe integer. */
export function varintSize(value: number): number {
  if (value < 0x80) return 1;
  let size = 1;
  while (value >= 0x80) {
    value = Math.floor(value / 128);
    size++;
  }
  return size;
}

/** Bytes of an int64 varint: ten when negative. */
export function int64Size(value: number): number {
  return value < 0 ? 10 : varintSize(value);
}

/** UTF-8 bytes of a string. Short ASCII strings, nearly all of them, cost no call into native code. */
export function utf8Size(text: string): number {
  const length = text.length;
  if (length > 128) return Buffer.byteLength(text);
  for (let i = 0; i < length; i++) if (text.charCodeAt(i) >= 0x80) return Buffer.byteLength(text);
  return length;
}

/** Bytes of a length-delimited field whose tag takes one byte and whose content takes `length`. */
export function fieldSize(length: number): number {
  return 1 + varintSize(length) + length;
}

/** Bytes of a string field with a one-byte tag; 0 for '', which proto3 leaves out. */
export function stringFieldSize(text: string): number {
  return text.length === 0 ? 0 : fieldSize(utf8Size(text));
}

/** Writes protobuf into a buffer its maker sized beforehand; it never grows. */
export class WireWriter {
  readonly bytes: Buffer;
  pos: number;

  constructor(bytes: Buffer, pos: number) {
    this.bytes = bytes;
    this.pos = pos;
  }

  /** A non-negative safe integer. */
  varint(value: number): void {
    const bytes = this.bytes;
    let pos = this.pos;
    while (value >= 0x80000000) {
      bytes[pos++] = (value % 128) | 0x80;
      value = Math.floor(value / 128);
    }
    while (value >= 0x80) {
      bytes[pos++] = (value & 0x7f) | 0x80;
      value >>>= 7;
    }
    bytes[pos++] = value;
    this.pos = pos;
  }

  /** Any 64-bit value by its halves. */
  long(lo: number, hi: number): void {
    const bytes = this.bytes;
    let pos = this.pos;
    while (hi !== 0) {
      bytes[pos++] = (lo & 0x7f) | 0x80;
      lo = ((lo >>> 7) | (hi << 25)) >>> 0;
      hi >>>= 7;
    }
    this.pos = pos;
    this.varint(lo >>> 0);
  }

  int64(value: number | bigint): void {
    if (typeof value === 'number' && value >= 0) this.varint(value);
    else {
      const wide = BigInt.asUintN(64, BigInt(value));
      this.long(Number(wide & 0xffffffffn), Number(wide >> 32n));
    }
  }

  /** A string field with a one-byte tag; nothing for ''. */
  stringField(tag: number, text: string): void {
    if (text.length === 0) return;
    const size = utf8Size(text);
    this.bytes[this.pos++] = tag;
    this.varint(size);
    const bytes = this.bytes;
    if (size === text.length && size <= 128) {
      let pos = this.pos;
      for (let i = 0; i < size; i++) bytes[pos++] = text.charCodeAt(i);
      this.pos = pos;
    } else this.pos += bytes.write(text, this.pos, size, 'utf8');
  }

  /** A length-delimited field's tag and length; the content follows. */
  header(tag: number, length: number): void {
    this.bytes[this.pos++] = tag;
    this.varint(length);
  }

  raw(content: Uint8Array): void {
    this.bytes.set(content, this.pos);
    this.pos += content.length;
  }

  /** A tensor's bytes. Of a few, a view costs more than a loop. */
  tensor(tensor: Tensor): void {
    if (!(tensor instanceof PlacedTensor) || tensor.bytes > FEW_BYTES) {
      this.raw(tensor.data);
      return;
    }
    const { source, offset, bytes: count } = tensor;
    const { bytes, pos } = this;
    for (let i = 0; i < count; i++) bytes[pos + i] = source[offset + i];
    this.pos = pos + count;
  }

  double(value: number): void {
    this.pos = this.bytes.writeDoubleLE(value, this.pos);
  }

  float(value: number): void {
    this.pos = this.bytes.writeFloatLE(value, this.pos);
  }
}

/** Bytes before a gRPC message: the compression flag and the length. */
export const FRAME_PREFIX = 5;

/** A buffer of exactly one uncompressed gRPC frame, its prefix written; the message starts at FRAME_PREFIX. */
export function allocateFrame(messageBytes: number): Buffer {
  const frame = Buffer.allocUnsafe(FRAME_PREFIX + messageBytes);
  frame[0] = 0;
  frame.writeUInt32BE(messageBytes, 1);
  return frame;
}

/** Wraps an already encoded message: one copy, for messages off the hot path. */
export function frameMessage(message: Uint8Array): Buffer {
  const frame = allocateFrame(message.length);
  frame.set(message, FRAME_PREFIX);
  return frame;
}
