import { type DataType, ELEMENT_BYTES, type Tensor } from '../tensor/tensor.ts';
import { skipElements } from './bytes-elements.ts';

/**
 * Writes a row-major block of shape `from` into the corner of a block of shape `to` (same rank, no dim smaller).
 * `width`: bytes of one element. The rest of the target keeps what it holds.
 */
export function copyIntoCorner(
  source: Uint8Array,
  from: readonly number[],
  target: Uint8Array,
  targetOffset: number,
  to: readonly number[],
  width: number,
): void {
  copyBlock(source, 0, from, target, targetOffset, to, from, width);
}

/** The reverse: the corner of shape `to` out of a block of shape `from` that starts at `sourceOffset`. */
export function copyFromCorner(
  source: Uint8Array,
  sourceOffset: number,
  from: readonly number[],
  target: Uint8Array,
  to: readonly number[],
  width: number,
): void {
  copyBlock(source, sourceOffset, from, target, 0, to, to, width);
}

/** Copies the corner `block` between two layouts, in runs as long as the innermost axes agree. */
function copyBlock(
  source: Uint8Array,
  sourceOffset: number,
  from: readonly number[],
  target: Uint8Array,
  targetOffset: number,
  to: readonly number[],
  block: readonly number[],
  width: number,
): void {
  let axis = block.length - 1;
  let inner = width;
  while (axis >= 0 && from[axis] === to[axis]) inner *= from[axis--];
  if (axis < 0) {
    target.set(source.subarray(sourceOffset, sourceOffset + inner), targetOffset);
    return;
  }
  const run = block[axis] * inner;
  let outer = 1;
  for (let i = 0; i < axis; i++) outer *= block[i];
  if (run === 0 || outer === 0) return;
  const index = new Array<number>(axis).fill(0);
  for (let n = 0; n < outer; n++) {
    let s = 0;
    let t = 0;
    for (let i = 0; i < axis; i++) {
      s = s * from[i] + index[i];
      t = t * to[i] + index[i];
    }
    const start = sourceOffset + s * from[axis] * inner;
    target.set(source.subarray(start, start + run), targetOffset + t * to[axis] * inner);
    for (let i = axis - 1; i >= 0; i--) {
      if (++index[i] < block[i]) break;
      index[i] = 0;
    }
  }
}

/** A BYTES block of shape `from` as one of shape `to`, with empty strings where there was nothing. */
export function padStrings(tensor: Tensor, to: readonly number[]): Uint8Array {
  return remapStrings(tensor.data, tensor.shape, to, tensor.name);
}

/** The corner of shape `to` of a BYTES block of shape `from`. */
export function cropStrings(
  data: Uint8Array,
  from: readonly number[],
  to: readonly number[],
  name: string,
): Uint8Array {
  return remapStrings(data, from, to, name);
}

function remapStrings(data: Uint8Array, from: readonly number[], to: readonly number[], name: string): Uint8Array {
  const starts = [0];
  const count = from.reduce((product, dim) => product * dim, 1);
  for (let i = 0; i < count; i++) starts.push(skipElements(data, starts[i], 1, name));
  const pieces: Uint8Array[] = [];
  const empty = new Uint8Array(4);
  const total = to.reduce((product, dim) => product * dim, 1);
  const index = new Array<number>(to.length).fill(0);
  for (let n = 0; n < total; n++) {
    let flat = 0;
    let inside = true;
    for (let i = 0; i < to.length; i++) {
      inside &&= index[i] < from[i];
      flat = flat * from[i] + index[i];
    }
    pieces.push(inside ? data.subarray(starts[flat], starts[flat + 1]) : empty);
    for (let i = to.length - 1; i >= 0; i--) {
      if (++index[i] < to[i]) break;
      index[i] = 0;
    }
  }
  return concat(pieces);
}

/** The pieces one behind the other, in fresh memory; empty for none. */
export function concat(pieces: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const piece of pieces) length += piece.length;
  const joined = new Uint8Array(length);
  let at = 0;
  for (const piece of pieces) {
    joined.set(piece, at);
    at += piece.length;
  }
  return joined;
}

/** Fills `target` (whole elements) with one value; integers take the value's whole part modulo their width. */
export function fillElements(target: Uint8Array, datatype: DataType, value: number): void {
  if (value === 0 && !Object.is(value, -0)) {
    target.fill(0);
    return;
  }
  const pattern = encodeElement(datatype, value);
  if (target.length === 0) return;
  target.set(pattern);
  for (let filled = pattern.length; filled < target.length; filled *= 2) {
    target.copyWithin(filled, 0, Math.min(filled, target.length - filled));
  }
}

function encodeElement(datatype: DataType, value: number): Uint8Array {
  const bytes = new Uint8Array(ELEMENT_BYTES[datatype]);
  const view = new DataView(bytes.buffer);
  switch (datatype) {
    case 'FP32':
      view.setFloat32(0, value, true);
      break;
    case 'FP64':
      view.setFloat64(0, value, true);
      break;
    case 'FP16':
      view.setUint16(0, halfBits(value), true);
      break;
    case 'BF16':
      view.setUint16(0, bfloatBits(value), true);
      break;
    case 'BOOL':
      bytes[0] = value === 0 ? 0 : 1;
      break;
    case 'BYTES':
      break;
    default: {
      let rest = BigInt.asUintN(64, BigInt(Number.isFinite(value) ? Math.trunc(value) : 0));
      for (let i = 0; i < bytes.length; i++, rest >>= 8n) bytes[i] = Number(rest & 0xffn);
    }
  }
  return bytes;
}

function float32Bits(value: number): number {
  return new Uint32Array(new Float32Array([value]).buffer)[0];
}

/** The nearest bfloat16, ties to even. */
function bfloatBits(value: number): number {
  const bits = float32Bits(value);
  if (Number.isNaN(value)) return 0x7fc0;
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}

/** The nearest IEEE half, ties to even; beyond 65504 it is infinite. */
function halfBits(value: number): number {
  if (Number.isNaN(value)) return 0x7e00;
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const size = Math.abs(value);
  if (size >= 65520) return sign | 0x7c00;
  // Below 2^-14 halves are multiples of 2^-24; above, of 2^(exponent - 10).
  const exponent = size < 2 ** -14 ? -14 : Math.floor(Math.log2(size));
  const units = size / 2 ** (exponent - 10);
  const floor = Math.floor(units);
  const rest = units - floor;
  const rounded = rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor;
  return sign | (size < 2 ** -14 ? rounded : ((exponent + 14) << 10) + rounded);
}
