import { nextBytesElement } from '../../tensor/bytes.ts';
import { type DataType, ELEMENT_BYTES, type Tensor } from '../../tensor/tensor.ts';
import { TENSORFLOW_TYPES } from './tensor-proto-types.ts';
import { fieldSize, varintSize, WireWriter } from './wire-writer.ts';

/**
 * Encodes a TensorProto (no prefix) with its elements in the field of their type, as TensorFlow Serving answers. The
 * caller owns the result; the tensor's bytes are copied.
 */
export function encodeTensorProto(tensor: Tensor): Buffer {
  const type = TENSORFLOW_TYPES[tensor.datatype];
  const shapeBytes = shapeSize(tensor.shape);
  const head = 1 + varintSize(type.number) + fieldSize(shapeBytes);
  const values = valuesSize(tensor);
  const tag = (type.field << 3) | 2;
  const size = head + (tensor.datatype === 'BYTES' ? values : packedSize(tag, values));
  const writer = new WireWriter(Buffer.allocUnsafe(size), 0);
  writer.bytes[writer.pos++] = 0x08;
  writer.varint(type.number);
  writer.header(0x12, shapeBytes);
  for (const dim of tensor.shape) {
    const dimBytes = dim === 0 ? 0 : 1 + varintSize(dim);
    writer.header(0x12, dimBytes);
    if (dim === 0) continue;
    writer.bytes[writer.pos++] = 0x08;
    writer.varint(dim);
  }
  if (tensor.datatype === 'BYTES') writeStrings(writer, tag, tensor.data);
  else if (values > 0) {
    writer.varint(tag);
    writer.varint(values);
    if (tensor.datatype === 'FP32' || tensor.datatype === 'FP64') writer.raw(tensor.data);
    else writeVarints(writer, tensor);
  }
  return writer.bytes;
}

function shapeSize(shape: readonly number[]): number {
  let size = 0;
  for (const dim of shape) size += fieldSize(dim === 0 ? 0 : 1 + varintSize(dim));
  return size;
}

function packedSize(tag: number, bytes: number): number {
  return bytes === 0 ? 0 : varintSize(tag) + varintSize(bytes) + bytes;
}

function valuesSize(tensor: Tensor): number {
  const { datatype, data } = tensor;
  if (datatype === 'FP32' || datatype === 'FP64') return data.length;
  let size = 0;
  if (datatype === 'BYTES') {
    for (let at = 0; at < data.length; ) {
      const next = nextBytesElement(data, at);
      size += fieldSize(next - at - 4);
      at = next;
    }
    return size;
  }
  const width = ELEMENT_BYTES[datatype];
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  for (let at = 0; at < data.length; at += width) {
    readHalves(view, datatype, at);
    size += longSize(lo, hi);
  }
  return size;
}

function writeStrings(writer: WireWriter, tag: number, data: Uint8Array): void {
  for (let at = 0; at < data.length; ) {
    const next = nextBytesElement(data, at);
    writer.header(tag, next - at - 4);
    writer.raw(data.subarray(at + 4, next));
    at = next;
  }
}

function writeVarints(writer: WireWriter, tensor: Tensor): void {
  const { datatype, data } = tensor;
  const width = ELEMENT_BYTES[datatype];
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  for (let at = 0; at < data.length; at += width) {
    readHalves(view, datatype, at);
    writer.long(lo, hi);
  }
}

/** The element last read, as the halves of its 64-bit two's complement. */
let lo = 0;
let hi = 0;

function readHalves(view: DataView, datatype: DataType, at: number): void {
  let value: number;
  switch (datatype) {
    case 'INT64':
    case 'UINT64':
      lo = view.getUint32(at, true);
      hi = view.getUint32(at + 4, true);
      return;
    case 'INT32':
      value = view.getInt32(at, true);
      break;
    case 'INT16':
      value = view.getInt16(at, true);
      break;
    case 'INT8':
      value = view.getInt8(at);
      break;
    case 'UINT32':
      value = view.getUint32(at, true);
      break;
    case 'UINT8':
    case 'BOOL':
      value = view.getUint8(at);
      break;
    default:
      value = view.getUint16(at, true);
  }
  lo = value >>> 0;
  hi = value < 0 ? 0xffffffff : 0;
}

function longSize(low: number, high: number): number {
  if (high === 0) return varintSize(low);
  let size = 5;
  for (let rest = high >>> 3; rest !== 0; rest >>>= 7) size++;
  return size;
}
