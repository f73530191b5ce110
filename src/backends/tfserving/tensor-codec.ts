import { SwitchyardError } from '../../shared/errors.ts';
import type { DataType, Tensor } from '../../tensor/tensor.ts';
import { type Reader, Writer } from '../remote/protobuf.ts';
import { ownBytes, packStrings, packValues, unpackStrings } from '../remote/values.ts';

/** tensorflow.DataType numbers. */
const TF_TYPES: Readonly<Record<DataType, number>> = {
  FP32: 1,
  FP64: 2,
  INT32: 3,
  UINT8: 4,
  INT16: 5,
  INT8: 6,
  BYTES: 7,
  INT64: 9,
  BOOL: 10,
  BF16: 14,
  UINT16: 17,
  FP16: 19,
  UINT32: 22,
  UINT64: 23,
};

const DATATYPES = new Map(Object.entries(TF_TYPES).map(([name, number]) => [number, name as DataType]));

/** @throws SwitchyardError unsupported for quantised, complex, resource and other types without a v2 name */
export function datatypeOf(tfType: number, what: string): DataType {
  const datatype = DATATYPES.get(tfType);
  if (datatype === undefined) {
    throw new SwitchyardError('unsupported', `${what} has TensorFlow type ${tfType}, which has no v2 datatype`);
  }
  return datatype;
}

/** A TensorProto. Its bytes are referred to until the message is finished. */
export function encodeTensor(tensor: Tensor): Writer {
  const shape = new Writer();
  for (const dim of tensor.shape) shape.message(2, new Writer().varint(1, dim));
  const proto = new Writer().varint(1, TF_TYPES[tensor.datatype]).message(2, shape);
  if (tensor.datatype !== 'BYTES') return proto.bytes(4, tensor.data);
  for (const element of unpackStrings(tensor.name, tensor.data)) proto.bytes(8, element);
  return proto;
}

/** A TensorProto, its values as content or as lists, in memory of its own. Short lists repeat their last value. */
export function decodeTensor(name: string, reader: Reader): Tensor {
  let datatype: DataType = 'FP32';
  const shape: number[] = [];
  let content: Buffer | undefined;
  const values: (number | bigint)[] = [];
  const strings: Uint8Array[] = [];
  while (reader.next()) {
    switch (reader.field) {
      case 1:
        datatype = datatypeOf(reader.number(), `output "${name}"`);
        break;
      case 2:
        readShape(reader.message(), shape);
        break;
      case 4:
        content = reader.bytes();
        break;
      case 5:
        reader.repeated(values, (inner) => inner.float());
        break;
      case 6:
        reader.repeated(values, (inner) => inner.double());
        break;
      case 8:
        strings.push(reader.bytes());
        break;
      // int_val, int64_val, bool_val, half_val, uint32_val, uint64_val
      case 7:
      case 10:
      case 11:
      case 13:
      case 16:
      case 17:
        reader.repeated(values, (inner) => inner.bigint());
        break;
      default:
        reader.skip();
    }
  }
  return { name, datatype, shape, data: pack(name, datatype, shape, content, values, strings) };
}

function pack(
  name: string,
  datatype: DataType,
  shape: number[],
  content: Buffer | undefined,
  values: (number | bigint)[],
  strings: Uint8Array[],
): Uint8Array {
  if (datatype === 'BYTES') return packStrings(name, shape, strings, true);
  if (content !== undefined && content.byteLength > 0) return ownBytes(name, datatype, shape, content);
  // No list at all stands for zeros.
  return packValues(name, datatype, shape, values.length === 0 && !shape.includes(0) ? [0] : values, true);
}

/** A TensorShapeProto's sizes; -1 unknown. */
export function readShape(reader: Reader, into: number[]): void {
  while (reader.next()) {
    if (reader.field !== 2) {
      reader.skip();
      continue;
    }
    const dim = reader.message();
    let size = 0;
    while (dim.next()) {
      if (dim.field === 1) size = dim.number();
      else dim.skip();
    }
    into.push(size);
  }
}
