import { invalidArgument } from '../../shared/errors.ts';
import { checkedCount, checkTensor } from '../../tensor/check.ts';
import { type DataType, ELEMENT_BYTES, MAX_RANK, type Tensor } from '../../tensor/tensor.ts';
import { copyElements, countElements } from './packed-elements.ts';
import { datatypeOfNumber, TENSORFLOW_TYPES, valueFieldName } from './tensor-proto-types.ts';
import { WIRE_BYTES, type WireReader } from './wire-reader.ts';

/**
 * Decodes the TensorProto at [start, end) of the reader's bytes. Elements come as tensor_content (aliased) or in the
 * field of their type; fewer than the shape takes repeat the last one, none at all mean zeros, more are refused. As a few
 * bytes can thus stand for a huge tensor, `maxBytes` bounds it. Throws invalid_argument.
 */
export function decodeTensorProto(
  reader: WireReader,
  start: number,
  end: number,
  name: string,
  maxBytes: number,
): Tensor {
  reader.pos = start;
  reader.end = end;
  let number = 0;
  const shape: number[] = [];
  let content: Buffer | undefined;
  let values = 0;
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    const field = tag >>> 3;
    if (field === 1) number = reader.uint32();
    else if (tag === ((2 << 3) | WIRE_BYTES)) readShape(reader, shape, name);
    else if (tag === ((4 << 3) | WIRE_BYTES)) content = reader.view();
    else {
      if (valueFieldName(field) !== undefined) values++;
      reader.skip(tag);
    }
  }
  const datatype = datatypeOfNumber(number);
  if (datatype === undefined) {
    const allowed = Object.values(TENSORFLOW_TYPES).map((type) => type.name);
    throw invalidArgument(`input '${name}': dtype ${number} is not supported; allowed are ${allowed.join(', ')}`);
  }
  const count = checkedCount(name, shape);
  const size = ELEMENT_BYTES[datatype];
  if (count * Math.max(size, 4 * Number(size === 0)) > maxBytes) {
    throw invalidArgument(`input '${name}': shape [${shape}] of ${datatype} exceeds the limit of ${maxBytes} bytes`);
  }
  if (content !== undefined && content.length > 0) {
    if (datatype === 'BYTES')
      throw invalidArgument(`input '${name}': give DT_STRING in string_val, not tensor_content`);
    if (values > 0) throw invalidArgument(`input '${name}': give tensor_content or values in a field, not both`);
    const tensor: Tensor = { name, datatype, shape, data: content };
    checkTensor(tensor);
    return tensor;
  }
  reader.pos = start;
  const data =
    datatype === 'BYTES'
      ? stringValues(reader, name, count, maxBytes)
      : numberValues(reader, name, datatype, size, count);
  return { name, datatype, shape, data };
}

function readShape(reader: WireReader, shape: number[], name: string): void {
  const outer = reader.end;
  const length = reader.length();
  reader.end = reader.pos + length;
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    if (tag === ((2 << 3) | WIRE_BYTES)) {
      if (shape.length > MAX_RANK) throw invalidArgument(`input '${name}': its rank exceeds ${MAX_RANK}`);
      shape.push(readDim(reader));
    } else if (tag === 3 << 3) {
      if (reader.uint32() !== 0)
        throw invalidArgument(`input '${name}': its shape has an unknown rank; give every size`);
    } else reader.skip(tag);
  }
  reader.end = outer;
}

function readDim(reader: WireReader): number {
  const outer = reader.end;
  const length = reader.length();
  reader.end = reader.pos + length;
  let size = 0;
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    if (tag === 1 << 3) size = reader.int64();
    else reader.skip(tag);
  }
  reader.end = outer;
  return size;
}

/** Walks over the value fields of the tensor from the cursor; other types' fields are refused. */
function nextValue(reader: WireReader, name: string, datatype: DataType): number {
  const wanted = TENSORFLOW_TYPES[datatype];
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    const field = tag >>> 3;
    if (field === wanted.field) return tag;
    const other = valueFieldName(field);
    if (other !== undefined) {
      throw invalidArgument(`input '${name}': ${wanted.name} travels in ${wanted.fieldName}, not in ${other}`);
    }
    reader.skip(tag);
  }
  return 0;
}

function refuseSurplus(name: string, found: number, count: number): void {
  if (found > count) throw invalidArgument(`input '${name}': its shape takes ${count} elements, got ${found}`);
}

function numberValues(reader: WireReader, name: string, datatype: DataType, size: number, count: number): Buffer {
  const start = reader.pos;
  const where = `input '${name}': ${TENSORFLOW_TYPES[datatype].fieldName}`;
  let found = 0;
  for (let tag = nextValue(reader, name, datatype); tag !== 0; tag = nextValue(reader, name, datatype)) {
    found += countElements(reader, tag, datatype, where);
  }
  refuseSurplus(name, found, count);
  if (found === 0) return Buffer.alloc(count * size);
  const out = Buffer.allocUnsafe(count * size);
  let at = 0;
  reader.pos = start;
  for (let tag = nextValue(reader, name, datatype); tag !== 0; tag = nextValue(reader, name, datatype)) {
    at = copyElements(reader, tag, datatype, size, out, at, where);
  }
  if (at < out.length) out.fill(out.subarray(at - size, at), at);
  return out;
}

function stringValues(reader: WireReader, name: string, count: number, maxBytes: number): Buffer {
  const values: Buffer[] = [];
  let bytes = 0;
  for (let tag = nextValue(reader, name, 'BYTES'); tag !== 0; tag = nextValue(reader, name, 'BYTES')) {
    if ((tag & 7) !== WIRE_BYTES) throw invalidArgument(`input '${name}': string_val has wire type ${tag & 7}`);
    const value = reader.view();
    bytes += 4 + value.length;
    values.push(value);
    refuseSurplus(name, values.length, count);
  }
  const last = values.length === 0 ? Buffer.alloc(0) : values[values.length - 1];
  bytes += (count - values.length) * (4 + last.length);
  if (bytes > maxBytes) throw invalidArgument(`input '${name}' takes ${bytes} bytes; the limit is ${maxBytes}`);
  const out = Buffer.allocUnsafe(bytes);
  let at = 0;
  for (let i = 0; i < count; i++) {
    const value = i < values.length ? values[i] : last;
    at = out.writeUInt32LE(value.length, at);
    at += value.copy(out, at);
  }
  return out;
}
