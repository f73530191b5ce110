import { invalidArgument, SwitchyardError } from '../../shared/errors.ts';
import { type DataType, ELEMENT_BYTES, elementCount, type Tensor } from '../../tensor/tensor.ts';
import type { NativeTensor } from './session.ts';
import { decodeStrings, encodeStrings } from './strings.ts';

interface ElementType {
  datatype: DataType;
  /** ort.Tensor's name for it. */
  ort: string;
  /** View over `length` elements at an aligned offset. Undefined for strings. */
  view: ((buffer: ArrayBuffer, offset: number, length: number) => ArrayBufferView) | undefined;
}

/** Index is ONNX's TensorProto element type. */
const ELEMENT_TYPES: readonly (ElementType | undefined)[] = [
  undefined,
  { datatype: 'FP32', ort: 'float32', view: (b, o, n) => new Float32Array(b, o, n) },
  { datatype: 'UINT8', ort: 'uint8', view: (b, o, n) => new Uint8Array(b, o, n) },
  { datatype: 'INT8', ort: 'int8', view: (b, o, n) => new Int8Array(b, o, n) },
  { datatype: 'UINT16', ort: 'uint16', view: (b, o, n) => new Uint16Array(b, o, n) },
  { datatype: 'INT16', ort: 'int16', view: (b, o, n) => new Int16Array(b, o, n) },
  { datatype: 'INT32', ort: 'int32', view: (b, o, n) => new Int32Array(b, o, n) },
  { datatype: 'INT64', ort: 'int64', view: (b, o, n) => new BigInt64Array(b, o, n) },
  { datatype: 'BYTES', ort: 'string', view: undefined },
  { datatype: 'BOOL', ort: 'bool', view: (b, o, n) => new Uint8Array(b, o, n) },
  { datatype: 'FP16', ort: 'float16', view: (b, o, n) => new Uint16Array(b, o, n) },
  { datatype: 'FP64', ort: 'float64', view: (b, o, n) => new Float64Array(b, o, n) },
  { datatype: 'UINT32', ort: 'uint32', view: (b, o, n) => new Uint32Array(b, o, n) },
  { datatype: 'UINT64', ort: 'uint64', view: (b, o, n) => new BigUint64Array(b, o, n) },
];

const BF16 = 16;

const UNSUPPORTED_NAMES: Readonly<Record<number, string>> = { 14: 'COMPLEX64', 15: 'COMPLEX128', 16: 'BF16' };

const BY_DATATYPE = new Map(ELEMENT_TYPES.filter((type) => type !== undefined).map((type) => [type.datatype, type]));

/**
 * Our datatype for ONNX's element type. `bf16`: the way into the runtime can carry BF16, as onnxruntime-node cannot.
 * @throws SwitchyardError unsupported for complex and sub-byte types, and for BF16 where it cannot be carried
 */
export function datatypeOf(onnxType: number, what: string, bf16 = false): DataType {
  if (bf16 && onnxType === BF16) return 'BF16';
  const type = ELEMENT_TYPES[onnxType];
  if (type === undefined) {
    const name = UNSUPPORTED_NAMES[onnxType] ?? `ONNX element type ${onnxType}`;
    const way = bf16
      ? 'which cannot be passed in or out; cast it to FP32'
      : 'which onnxruntime-node cannot pass in or out; cast it to FP32 or FP16';
    throw new SwitchyardError('unsupported', `${what} is ${name}, ${way} inside the model`);
  }
  return type.datatype;
}

/**
 * The tensor's bytes as the runtime may read them: the same when they are aligned and not shared, else a copy.
 * @throws SwitchyardError invalid_argument when they do not fill the shape, or are no strings
 */
export function inputBytes({ name, datatype, shape, data }: Tensor): Uint8Array {
  const count = countOf(name, shape);
  const size = ELEMENT_BYTES[datatype];
  if (datatype === 'BYTES') decodeStrings(name, data, count);
  else checkLength(name, datatype, shape, data, count * size);
  const usable = datatype === 'BYTES' || data.byteOffset % size === 0;
  return usable && data.buffer instanceof ArrayBuffer ? data : Uint8Array.from(data);
}

function countOf(name: string, shape: readonly number[]): number {
  const count = elementCount(shape);
  if (count < 0)
    throw invalidArgument(`input "${name}" has shape [${shape}]; dims must be whole numbers of at most 32 dims`);
  return count;
}

function checkLength(
  name: string,
  datatype: DataType,
  shape: readonly number[],
  data: Uint8Array,
  wanted: number,
): void {
  if (data.byteLength === wanted) return;
  const bytes = data.byteLength;
  throw invalidArgument(`input "${name}" has ${bytes} bytes; shape [${shape}] of ${datatype} takes ${wanted}`);
}

/**
 * The tensor as onnxruntime-node's binding takes it: a view of the same bytes when they are aligned and not shared, else a
 * copy. The binding reads them during `run` only.
 * @throws SwitchyardError invalid_argument when the bytes do not fill the shape
 */
export function toNative(tensor: Tensor): NativeTensor {
  const { name, datatype, shape, data } = tensor;
  const count = countOf(name, shape);
  const type = BY_DATATYPE.get(datatype);
  if (type === undefined) {
    throw new SwitchyardError('unsupported', `input "${name}" is ${datatype}, which onnxruntime-node cannot pass in`);
  }
  if (type.view === undefined)
    return { type: type.ort, dims: shape, location: 'cpu', data: decodeStrings(name, data, count) };
  const bytes = inputBytes(tensor);
  return {
    type: type.ort,
    dims: shape,
    location: 'cpu',
    data: type.view(bytes.buffer as ArrayBuffer, bytes.byteOffset, count),
  };
}

/** The answer's own bytes, uncopied: each output lies alone in an ArrayBuffer that V8 owns, so it may be transferred. */
export function fromNative(name: string, datatype: DataType, native: NativeTensor): Tensor {
  const { data, dims } = native;
  if (Array.isArray(data)) return { name, datatype, shape: dims, data: encodeStrings(data) };
  return {
    name,
    datatype,
    shape: dims,
    data: new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength),
  };
}
