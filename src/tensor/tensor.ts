/** Element types by their v2 protocol names. */
export type DataType =
  | 'BOOL'
  | 'UINT8'
  | 'UINT16'
  | 'UINT32'
  | 'UINT64'
  | 'INT8'
  | 'INT16'
  | 'INT32'
  | 'INT64'
  | 'FP16'
  | 'BF16'
  | 'FP32'
  | 'FP64'
  | 'BYTES';

/** Bytes of one element; 0 for BYTES, whose elements are a u32 little-endian length and that many bytes. */
export const ELEMENT_BYTES: Readonly<Record<DataType, number>> = {
  BOOL: 1,
  UINT8: 1,
  UINT16: 2,
  UINT32: 4,
  UINT64: 8,
  INT8: 1,
  INT16: 2,
  INT32: 4,
  INT64: 8,
  FP16: 2,
  BF16: 2,
  FP32: 4,
  FP64: 8,
  BYTES: 0,
};

/** Index is the wire code of a data type inside frames. */
export const DATA_TYPES: readonly DataType[] = [
  'BOOL',
  'UINT8',
  'UINT16',
  'UINT32',
  'UINT64',
  'INT8',
  'INT16',
  'INT32',
  'INT64',
  'FP16',
  'BF16',
  'FP32',
  'FP64',
  'BYTES',
];

/**
 * A dense tensor in row-major order as raw little-endian bytes: the only form the pipeline moves. `data` may be any
 * view, aligned or not; BYTES elements are length-prefixed as on the v2 wire. Whoever holds the tensor owns `data`
 * unless the receiving function's comment says otherwise.
 */
export interface Tensor {
  name: string;
  datatype: DataType;
  /** Full shape, batch dimension included where the model batches. */
  shape: number[];
  data: Uint8Array;
}

export const MAX_RANK = 32;

/** The product of dims, checked: rank ≤ 32, each dim a non-negative integer, product a safe integer. Returns -1 if not. */
export function elementCount(shape: readonly number[]): number {
  if (shape.length > MAX_RANK) return -1;
  let count = 1;
  for (let i = 0; i < shape.length; i++) {
    const dim = shape[i];
    if (!(dim >= 0) || !Number.isSafeInteger(dim)) return -1;
    count *= dim;
    if (count > Number.MAX_SAFE_INTEGER) return -1;
  }
  return count;
}
