import type { DataType } from './tensor.ts';

/** Typed arrays want their offset on a multiple of the element size: these copy only where the bytes are not aligned. */

function aligned(data: Uint8Array, size: number): Uint8Array {
  return data.byteOffset % size === 0 ? data : new Uint8Array(data);
}

/** Elements of FP32. Bytes behind the last whole one are left out. */
export function float32View(data: Uint8Array): Float32Array {
  const bytes = aligned(data, 4);
  return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length >>> 2);
}

/** Elements of FP64. Bytes behind the last whole one are left out. */
export function float64View(data: Uint8Array): Float64Array {
  const bytes = aligned(data, 8);
  return new Float64Array(bytes.buffer, bytes.byteOffset, bytes.length >>> 3);
}

/** Elements of INT16. Bytes behind the last whole one are left out. */
export function int16View(data: Uint8Array): Int16Array {
  const bytes = aligned(data, 2);
  return new Int16Array(bytes.buffer, bytes.byteOffset, bytes.length >>> 1);
}

/** Elements of UINT16, and the bits of FP16 and BF16. Bytes behind the last whole one are left out. */
export function uint16View(data: Uint8Array): Uint16Array {
  const bytes = aligned(data, 2);
  return new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length >>> 1);
}

/** Elements of INT32. Bytes behind the last whole one are left out. */
export function int32View(data: Uint8Array): Int32Array {
  const bytes = aligned(data, 4);
  return new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length >>> 2);
}

/** Elements of UINT32. Bytes behind the last whole one are left out. */
export function uint32View(data: Uint8Array): Uint32Array {
  const bytes = aligned(data, 4);
  return new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length >>> 2);
}

/** Elements of INT64. Bytes behind the last whole one are left out. */
export function int64View(data: Uint8Array): BigInt64Array {
  const bytes = aligned(data, 8);
  return new BigInt64Array(bytes.buffer, bytes.byteOffset, bytes.length >>> 3);
}

/** Elements of UINT64. Bytes behind the last whole one are left out. */
export function uint64View(data: Uint8Array): BigUint64Array {
  const bytes = aligned(data, 8);
  return new BigUint64Array(bytes.buffer, bytes.byteOffset, bytes.length >>> 3);
}

export type TypedView =
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | BigUint64Array
  | BigInt64Array
  | Float32Array
  | Float64Array;

/**
 * The elements of a fixed-size type as a typed array over the same bytes (over a copy where misaligned). BOOL comes as
 * bytes, FP16 and BF16 as their 16-bit patterns, BYTES as the raw bytes.
 */
export function typedView(datatype: DataType, data: Uint8Array): TypedView {
  switch (datatype) {
    case 'BOOL':
    case 'UINT8':
    case 'BYTES':
      return data;
    case 'INT8':
      return new Int8Array(data.buffer, data.byteOffset, data.length);
    case 'UINT16':
    case 'FP16':
    case 'BF16':
      return uint16View(data);
    case 'INT16':
      return int16View(data);
    case 'UINT32':
      return uint32View(data);
    case 'INT32':
      return int32View(data);
    case 'UINT64':
      return uint64View(data);
    case 'INT64':
      return int64View(data);
    case 'FP32':
      return float32View(data);
    case 'FP64':
      return float64View(data);
  }
}
