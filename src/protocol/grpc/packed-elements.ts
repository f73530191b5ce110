import { invalidArgument } from '../../shared/errors.ts';
import type { DataType } from '../../tensor/tensor.ts';
import { countVarints, WIRE_BYTES, WIRE_FIXED32, WIRE_FIXED64, WIRE_VARINT, type WireReader } from './wire-reader.ts';

const RANGES: Readonly<Partial<Record<DataType, readonly [number, number]>>> = {
  INT8: [-128, 127],
  INT16: [-32768, 32767],
  UINT8: [0, 255],
  UINT16: [0, 65535],
  FP16: [0, 65535],
  BF16: [0, 65535],
};

/** How one element of a datatype travels in a repeated field. */
export function elementWire(datatype: DataType): number {
  if (datatype === 'FP32') return WIRE_FIXED32;
  if (datatype === 'FP64') return WIRE_FIXED64;
  return datatype === 'BYTES' ? WIRE_BYTES : WIRE_VARINT;
}

/**
 * Elements in one occurrence of a repeated field, whose tag was just read; the cursor moves behind it. Packed or not.
 * `where` names the field in errors.
 */
export function countElements(reader: WireReader, tag: number, datatype: DataType, where: string): number {
  const wire = tag & 7;
  const element = elementWire(datatype);
  if (wire === element) {
    reader.skip(tag);
    return 1;
  }
  if (wire !== WIRE_BYTES) throw invalidArgument(`${where}: wire type ${wire} does not carry ${datatype}`);
  const length = reader.length();
  const start = reader.pos;
  reader.pos += length;
  if (element === WIRE_VARINT) return countVarints(reader.bytes, start, reader.pos);
  const width = element === WIRE_FIXED32 ? 4 : 8;
  if (length % width !== 0) throw invalidArgument(`${where}: a packed run ends inside an element`);
  return length / width;
}

/**
 * Writes the elements of one occurrence of a repeated field into `out` from `at` on, as little-endian elements; returns
 * the offset behind them. Not for BYTES. Throws invalid_argument for values outside a small integer type.
 */
export function copyElements(
  reader: WireReader,
  tag: number,
  datatype: DataType,
  elementBytes: number,
  out: Buffer,
  at: number,
  where: string,
): number {
  if ((tag & 7) !== WIRE_BYTES) return copyElement(reader, datatype, elementBytes, out, at, where);
  const length = reader.length();
  const start = reader.pos;
  if (elementWire(datatype) !== WIRE_VARINT) {
    reader.pos = start + length;
    reader.bytes.copy(out, at, start, reader.pos);
    return at + length;
  }
  const outer = reader.end;
  reader.end = start + length;
  while (reader.pos < reader.end) at = copyElement(reader, datatype, elementBytes, out, at, where);
  reader.end = outer;
  return at;
}

function copyElement(
  reader: WireReader,
  datatype: DataType,
  elementBytes: number,
  out: Buffer,
  at: number,
  where: string,
): number {
  if (datatype === 'FP32') return out.writeFloatLE(reader.float(), at);
  if (datatype === 'FP64') return out.writeDoubleLE(reader.double(), at);
  reader.long();
  if (elementBytes >= 4) {
    at = out.writeInt32LE(reader.lo, at);
    return elementBytes === 4 ? at : out.writeInt32LE(reader.hi, at);
  }
  if (datatype === 'BOOL') {
    out[at] = reader.lo !== 0 || reader.hi !== 0 ? 1 : 0;
    return at + 1;
  }
  const value = reader.lo;
  const range = RANGES[datatype]!;
  if (value < range[0] || value > range[1]) {
    throw invalidArgument(`${where}: ${value} is outside ${datatype}; allowed are ${range[0]} to ${range[1]}`);
  }
  out[at] = value & 0xff;
  if (elementBytes === 1) return at + 1;
  out[at + 1] = (value >> 8) & 0xff;
  return at + 2;
}
