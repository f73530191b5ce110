import { invalidArgument, type SwitchyardError } from '../../shared/errors.ts';
import type { DataType } from '../../tensor/tensor.ts';
import { countVarints, WIRE_BYTES, type WireReader } from './wire-reader.ts';

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

const RANGES: Readonly<Partial<Record<DataType, readonly [number, number]>>> = {
  INT8: [-128, 127],
  INT16: [-32768, 32767],
  UINT8: [0, 255],
  UINT16: [0, 65535],
};

/** Bytes of one element in the typed field, on the wire; 0: a varint or a byte string. */
function wireWidth(field: number): number {
  return field === 6 ? 4 : field === 7 ? 8 : 0;
}

function wrongCount(name: string, found: number, count: number): SwitchyardError {
  return invalidArgument(`input '${name}': its shape takes ${count} elements, its contents hold ${found}`);
}

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
  const resume = reader.pos;
  const outer = reader.end;
  reader.pos = start;
  reader.end = end;
  let found = 0;
  let byteTotal = 0;
  let chunks = 0;
  let chunkStart = 0;
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    const number = tag >>> 3;
    if (number >= 1 && number <= 8 && number !== field) {
      throw invalidArgument(
        `input '${name}': ${datatype} travels in ${FIELD_NAMES[field]} or raw_input_contents, not in ${FIELD_NAMES[number]}`,
      );
    }
    if (number !== field || (tag & 7) !== WIRE_BYTES) {
      if (number === field) {
        found++;
        chunks = 2;
      }
      reader.skip(tag);
      continue;
    }
    const length = reader.length();
    const from = reader.pos;
    reader.pos += length;
    if (field === 8) {
      found++;
      byteTotal += length;
      continue;
    }
    const width = wireWidth(field);
    if (width > 0) {
      if (length % width !== 0) throw invalidArgument(`input '${name}': ${FIELD_NAMES[field]} ends inside an element`);
      found += length / width;
    } else found += countVarints(reader.bytes, from, reader.pos);
    chunks++;
    chunkStart = from;
  }
  if (found !== count) throw wrongCount(name, found, count);
  let data: Uint8Array;
  if (field === 8) data = joinStrings(reader, start, byteTotal + 4 * count);
  else if (wireWidth(field) > 0 && chunks === 1) {
    data = reader.bytes.subarray(chunkStart, chunkStart + count * elementBytes);
  } else data = convert(reader, start, field, Buffer.allocUnsafe(count * elementBytes), elementBytes, name, datatype);
  reader.pos = resume;
  reader.end = outer;
  return data;
}

function joinStrings(reader: WireReader, start: number, size: number): Buffer {
  const out = Buffer.allocUnsafe(size);
  let at = 0;
  reader.pos = start;
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    if (tag !== ((8 << 3) | WIRE_BYTES)) {
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

function convert(
  reader: WireReader,
  start: number,
  field: number,
  out: Buffer,
  elementBytes: number,
  name: string,
  datatype: DataType,
): Buffer {
  let at = 0;
  reader.pos = start;
  const outer = reader.end;
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    if (tag >>> 3 !== field) {
      reader.skip(tag);
      continue;
    }
    const packed = (tag & 7) === WIRE_BYTES;
    if (!packed && (tag & 7) !== (field === 6 ? 5 : field === 7 ? 1 : 0)) {
      throw invalidArgument(`input '${name}': ${FIELD_NAMES[field]} has wire type ${tag & 7}`);
    }
    if (packed) {
      const length = reader.length();
      reader.end = reader.pos + length;
    }
    do {
      if (packed && reader.pos === reader.end) break;
      at = element(reader, field, out, at, elementBytes, name, datatype);
    } while (packed);
    reader.end = outer;
  }
  return out;
}

/** Reads one element at the cursor and writes it at `at`; returns the offset behind it. */
function element(
  reader: WireReader,
  field: number,
  out: Buffer,
  at: number,
  elementBytes: number,
  name: string,
  datatype: DataType,
): number {
  if (field === 6) return out.writeFloatLE(reader.float(), at);
  if (field === 7) return out.writeDoubleLE(reader.double(), at);
  reader.long();
  if (elementBytes === 8) {
    out.writeInt32LE(reader.lo, at);
    return out.writeInt32LE(reader.hi, at + 4);
  }
  if (elementBytes === 4) return out.writeInt32LE(reader.lo, at);
  if (field === 1) {
    out[at] = reader.lo !== 0 || reader.hi !== 0 ? 1 : 0;
    return at + 1;
  }
  const value = field === 2 ? reader.lo : reader.lo >>> 0;
  const range = RANGES[datatype]!;
  if (value < range[0] || value > range[1]) {
    throw invalidArgument(`input '${name}': ${value} is outside ${datatype}; allowed are ${range[0]} to ${range[1]}`);
  }
  out[at] = value & 0xff;
  if (elementBytes === 1) return at + 1;
  out[at + 1] = (value >> 8) & 0xff;
  return at + 2;
}
