import { type DataType, ELEMENT_BYTES, type Tensor } from '../tensor/tensor.ts';

export interface Tolerance {
  relative: number;
  absolute: number;
}

/** Loose enough for quantised and fused kernels, which round by batch size too: what it looks for is rows that mix. */
export const TOLERANCE: Tolerance = { relative: 1e-2, absolute: 1e-3 };
/** Half-precision kernels round differently for different batch sizes. */
const HALF_TOLERANCE: Tolerance = { relative: 2e-2, absolute: 1e-2 };

/**
 * Whether row `row` of a batched output equals the only row of the same output run alone: floats within a tolerance,
 * everything else exactly. Returns what differs in words, '' if nothing does.
 */
export function rowDifference(batched: Tensor, single: Tensor, row: number, rows: number): string {
  const name = `output "${batched.name}"`;
  if (batched.shape[0] !== rows) {
    return `${name} of a batch of ${rows} has shape [${batched.shape}], whose first dimension is not the batch`;
  }
  const rowShape = batched.shape.slice(1);
  if (single.shape.length !== batched.shape.length || single.shape.slice(1).some((dim, i) => dim !== rowShape[i])) {
    return `${name} has shape [${rowShape}] per row in a batch and [${single.shape.slice(1)}] alone`;
  }
  const part = batched.datatype === 'BYTES' ? bytesRow(batched, row, rows) : fixedRow(batched, row, rows);
  return difference(batched.datatype, part, single.data, name);
}

function difference(datatype: DataType, a: Uint8Array, b: Uint8Array, name: string): string {
  if (a.length !== b.length) return `${name} has ${a.length} bytes per row in a batch and ${b.length} alone`;
  const read = floatReader(datatype);
  if (read === undefined) return Buffer.compare(a, b) === 0 ? '' : `${name} differs between a batch and a single item`;
  const { relative, absolute } = ELEMENT_BYTES[datatype] === 2 ? HALF_TOLERANCE : TOLERANCE;
  const left = new DataView(a.buffer, a.byteOffset, a.byteLength);
  const right = new DataView(b.buffer, b.byteOffset, b.byteLength);
  const size = ELEMENT_BYTES[datatype];
  for (let offset = 0; offset < a.length; offset += size) {
    const x = read(left, offset);
    const y = read(right, offset);
    if (Object.is(x, y) || x === y) continue;
    if (!(Math.abs(x - y) <= absolute + relative * Math.max(Math.abs(x), Math.abs(y)))) {
      return `${name} element ${offset / size} is ${x} in a batch and ${y} alone`;
    }
  }
  return '';
}

function fixedRow(tensor: Tensor, row: number, rows: number): Uint8Array {
  const size = tensor.data.length / rows;
  return tensor.data.subarray(row * size, (row + 1) * size);
}

function bytesRow(tensor: Tensor, row: number, rows: number): Uint8Array {
  const perRow = tensor.shape.slice(1).reduce((product, dim) => product * dim, 1);
  const view = new DataView(tensor.data.buffer, tensor.data.byteOffset, tensor.data.byteLength);
  const starts = [0];
  let offset = 0;
  for (let i = 1; i <= rows * perRow; i++) {
    offset += 4 + view.getUint32(offset, true);
    if (i % perRow === 0) starts.push(offset);
  }
  return tensor.data.subarray(starts[row], starts[row + 1]);
}

function floatReader(datatype: DataType): ((view: DataView, offset: number) => number) | undefined {
  if (datatype === 'FP32') return (view, offset) => view.getFloat32(offset, true);
  if (datatype === 'FP64') return (view, offset) => view.getFloat64(offset, true);
  if (datatype === 'FP16') return (view, offset) => fromHalf(view.getUint16(offset, true));
  if (datatype === 'BF16') return (view, offset) => fromBfloat(view.getUint16(offset, true));
  return undefined;
}

function fromHalf(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

const word = new DataView(new ArrayBuffer(4));

function fromBfloat(bits: number): number {
  word.setUint32(0, bits << 16);
  return word.getFloat32(0);
}
