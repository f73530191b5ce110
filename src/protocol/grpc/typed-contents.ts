import { invalidArgument } from '../../shared/errors.ts';
import type { DataType } from '../../tensor/tensor.ts';
import { copyElements, countElements, elementWire } from './packed-elements.ts';
import { WIRE_BYTES, WIRE_VARINT, type WireReader } from './wire-reader.ts';

const FIELD_NAMES = [
  '',
  'bool_contents',
  'int_contents',
  'int64_contents',
  'uint_contents',
  'uint64_contents',
  'fp32_contents',
  'fp64_contents',
  'bytes_contents',
];

/** The field of InferTensorContents that carries a datatype; 0: only raw contents can. */
const FIELD_OF: Readonly<Record<DataType, number>> = {
  BOOL: 1,
  INT8: 2,
  INT16: 2,
  INT32: 2,
  INT64: 3,
  UINT8: 4,
  UINT16: 4,
  UINT32: 4,
  UINT64: 5,
  FP32: 6,
  FP64: 7,
  BYTES: 8,
  FP16: 0,
  BF16: 0,
};

/**
 * Turns an InferTensorContents message, which lies at [start, end) of the reader's bytes, into little-endian bytes of
 * `count` elements. Two walks: the first counts, so that nothing is allocated for contents that do not fit their shape.
 * A single packed run of FP32 or FP64 is aliased, not copied: protobuf is little-endian too.
 */
export function typedContents(
  reader: WireReader,
  start: number,
  end: number,
  name: string,
  datatype: DataType,
  elementBytes: number,
  count: number,
): Uint8Array {
  const field = FIELD_OF[datatype];
  if (field === 0) throw invalidArgument(`input '${name}': ${datatype} travels only in raw_input_contents`);
  const where = `input '${name}': ${FIELD_NAMES[field]}`;
  reader.pos = start;
  reader.end = end;
  let found = 0;
  let stringBytes = 0;
  let runs = 0;
  let runEnd = 0;
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    const number = tag >>> 3;
    if (number !== field) {
      if (number < FIELD_NAMES.length) {
        throw invalidArgument(`${where} or raw_input_contents carries ${datatype}, not ${FIELD_NAMES[number]}`);
      }
      reader.skip(tag);
      continue;
    }
    if (field === 8) {
      if ((tag & 7) !== WIRE_BYTES) throw invalidArgument(`${where} has wire type ${tag & 7}`);
      stringBytes += reader.view().length;
      found++;
      continue;
    }
    found += countElements(reader, tag, datatype, where);
    runs += (tag & 7) === WIRE_BYTES ? 1 : 2;
    runEnd = reader.pos;
  }
  if (found !== count) throw invalidArgument(`input '${name}': its shape takes ${count} elements, got ${found}`);
  if (field === 8) return joinStrings(reader, start, stringBytes + 4 * count);
  if (runs === 1 && elementWire(datatype) !== WIRE_VARINT) {
    return reader.bytes.subarray(runEnd - count * elementBytes, runEnd);
  }
  const out = Buffer.allocUnsafe(count * elementBytes);
  let at = 0;
  reader.pos = start;
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    if (tag >>> 3 === field) at = copyElements(reader, tag, datatype, elementBytes, out, at, where);
    else reader.skip(tag);
  }
  return out;
}

function joinStrings(reader: WireReader, start: number, size: number): Buffer {
  const out = Buffer.allocUnsafe(size);
  let at = 0;
  reader.pos = start;
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    if (tag >>> 3 !== 8) {
      reader.skip(tag);
      continue;
    }
    const length = reader.length();
    at = out.writeUInt32LE(length, at);
    reader.bytes.copy(out, at, reader.pos, reader.pos + length);
    at += length;
    reader.pos += length;
  }
  return out;
}
