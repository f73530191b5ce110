import { isUtf8 } from 'node:buffer';
import { nextBytesElement } from '../../tensor/bytes.ts';
import { bf16ToNumber, fp16ToNumber } from '../../tensor/half.ts';
import { DATA_TYPES, type DataType } from '../../tensor/tensor.ts';
import { typedView } from '../../tensor/views.ts';
import { type Column, isWithheld } from '../record.ts';
import type { AvroWriter } from './avro-writer.ts';
import { type Action, type Hash, redactText, truncateNumber } from './redact.ts';

/** A tensor in the ring. */
export interface RawColumn {
  type: number;
  /** Its bytes are `u8[start]` and the `bytes` from there on; `start` is a multiple of 8. */
  u8: Uint8Array;
  start: number;
  bytes: number;
}

/** The six arrays of a column, in the schema's order. */
const FLOATS = 0;
const DOUBLES = 1;
const LONGS = 2;
const BOOLEANS = 3;
const STRINGS = 4;
const BINARIES = 5;
const ARRAYS = 6;

const float = new Float32Array(1);
const floatBytes = new Uint8Array(float.buffer);

const CODE: Readonly<Record<DataType, number>> = Object.fromEntries(
  DATA_TYPES.map((type, code) => [type, code]),
) as Record<DataType, number>;
const { BOOL, INT32, INT64, UINT64, FP16, BF16, FP32, FP64, BYTES } = CODE;

/** Writes a column's six arrays, of which one is filled: most types are copied as they lie. */
export function writeValues(writer: AvroWriter, column: RawColumn, action: Action | undefined, hash: Hash): void {
  if (action !== undefined) writeRedacted(writer, column, action, hash);
  else if (column.type === FP32) copyArray(writer, column, FLOATS, 4);
  else if (column.type === FP64) copyArray(writer, column, DOUBLES, 8);
  else if (column.type === BOOL) copyArray(writer, column, BOOLEANS, 1);
  else if (column.type === BYTES) writeTexts(writer, column);
  else if (column.type === FP16 || column.type === BF16) writeFloats(writer, halves(column));
  else writeLongs(writer, column);
}

/** Where the bytes of a column that was just written up to `end` lie; -1: they are not as they were. */
export function copiedAt({ type, bytes }: RawColumn, end: number): number {
  const which = type === FP32 ? FLOATS : type === FP64 ? DOUBLES : type === BOOL ? BOOLEANS : -1;
  return which < 0 ? -1 : end - (ARRAYS - which) - bytes;
}

/** All six arrays null. */
export function writeNoValues(writer: AvroWriter): void {
  writer.reserve(ARRAYS);
  for (let i = 0; i < ARRAYS; i++) writer.u8[writer.at++] = 0;
}

/** Of a column that was read as JSON. */
export function writeColumnValues(writer: AvroWriter, column: Column): void {
  const { datatype, values } = column;
  if (isWithheld(column)) writeNoValues(writer);
  else if (FLOAT_TYPES.has(datatype)) writeFloats(writer, Array.from(values, Number));
  else {
    const which =
      datatype === 'FP64' ? DOUBLES : datatype === 'BOOL' ? BOOLEANS : datatype === 'BYTES' ? STRINGS : LONGS;
    openArray(writer, which, values.length);
    for (const value of values) {
      if (which === DOUBLES) writer.double(Number(value));
      else if (which === BOOLEANS) writer.byte(value === true ? 1 : 0);
      else if (which === STRINGS) writer.string(String(value ?? ''));
      else if (typeof value === 'bigint') writer.bigLong(BigInt.asIntN(64, value));
      else writer.long(Number(value));
    }
    closeArray(writer, which);
  }
}

const FLOAT_TYPES: ReadonlySet<DataType> = new Set<DataType>(['FP16', 'BF16', 'FP32']);

function openArray(writer: AvroWriter, which: number, count: number): void {
  writer.reserve(ARRAYS + 10);
  for (let i = 0; i < which; i++) writer.u8[writer.at++] = 0;
  writer.u8[writer.at++] = 2;
  if (count > 0) writer.long(count);
}

function closeArray(writer: AvroWriter, which: number): void {
  writer.reserve(ARRAYS + 1);
  writer.u8[writer.at++] = 0;
  for (let i = which + 1; i < ARRAYS; i++) writer.u8[writer.at++] = 0;
}

/** Little-endian floats are Avro's own form. */
function copyArray(writer: AvroWriter, { u8, start, bytes }: RawColumn, which: number, size: number): void {
  openArray(writer, which, bytes / size);
  writer.raw(u8, start, bytes);
  closeArray(writer, which);
}

function writeFloats(writer: AvroWriter, values: Iterable<number> & { length: number }): void {
  openArray(writer, FLOATS, values.length);
  writer.reserve(4 * values.length);
  for (const value of values) {
    float[0] = value;
    for (let b = 0; b < 4; b++) writer.u8[writer.at++] = floatBytes[b];
  }
  closeArray(writer, FLOATS);
}

function halves(column: RawColumn): number[] {
  const convert = column.type === FP16 ? fp16ToNumber : bf16ToNumber;
  return Array.from(view(column) as Uint16Array, convert);
}

function writeLongs(writer: AvroWriter, column: RawColumn): void {
  const values = view(column);
  openArray(writer, LONGS, values.length);
  writer.reserve(10 * values.length);
  if (column.type === INT64 || column.type === UINT64) {
    for (const value of values as BigInt64Array | BigUint64Array) {
      const signed = BigInt.asIntN(64, value);
      if (signed > -0x40000000n && signed < 0x40000000n) writer.long(Number(signed));
      else writer.bigLong(signed);
    }
  } else if (column.type === INT32) {
    const numbers = values as Int32Array;
    for (let i = 0; i < numbers.length; i++) writer.long(numbers[i]);
  } else {
    for (const value of values) writer.long(Number(value));
  }
  closeArray(writer, LONGS);
}

function writeTexts(writer: AvroWriter, { u8, start, bytes }: RawColumn): void {
  const data = u8.subarray(start, start + bytes);
  let count = 0;
  let text = true;
  for (let at = 0, next = 0; at < data.length; at = next, count++) {
    next = nextBytesElement(data, at);
    if (next < 0) break;
    // A view of shared memory is refused by isUtf8, a copy is not.
    if (text && !isUtf8(data.slice(at + 4, next))) text = false;
  }
  const which = text ? STRINGS : BINARIES;
  openArray(writer, which, count);
  for (let at = 0, i = 0; i < count; i++) {
    const next = nextBytesElement(data, at);
    writer.bytes(data, at + 4, next - at - 4);
    at = next;
  }
  closeArray(writer, which);
}

/** What a redaction leaves. `drop` never comes here: the column is left out. */
function writeRedacted(writer: AvroWriter, column: RawColumn, action: Action, hash: Hash): void {
  if (action.kind === 'mask') {
    writeNoValues(writer);
    return;
  }
  if (action.kind === 'truncate' && column.type !== BYTES) {
    writeTruncated(writer, column, action.length);
    return;
  }
  const texts = elementTexts(column);
  openArray(writer, STRINGS, texts.length);
  for (const text of texts) writer.string(redactText(action, text, hash));
  closeArray(writer, STRINGS);
}

function writeTruncated(writer: AvroWriter, column: RawColumn, decimals: number): void {
  const { type } = column;
  if (type === FP32 || type === FP64 || type === FP16 || type === BF16) {
    const values = type === FP16 || type === BF16 ? halves(column) : Array.from(view(column) as Float64Array);
    const cut = values.map((value) => truncateNumber(value, decimals));
    if (type !== FP64) writeFloats(writer, cut);
    else {
      openArray(writer, DOUBLES, cut.length);
      for (const value of cut) writer.double(value);
      closeArray(writer, DOUBLES);
    }
    return;
  }
  // Whole numbers have no decimals to lose.
  writeValues(writer, column, undefined, String);
}

/** The elements as texts; BYTES that are no UTF-8 with replacement characters. */
export function elementTexts(column: RawColumn, limit = Number.POSITIVE_INFINITY): string[] {
  const { type, u8, start, bytes } = column;
  const texts: string[] = [];
  if (type === BYTES) {
    const data = Buffer.from(u8.slice(start, start + bytes));
    for (let at = 0; at < data.length && texts.length < limit; ) {
      const next = nextBytesElement(data, at);
      if (next < 0) break;
      texts.push(data.toString('utf8', at + 4, next));
      at = next;
    }
    return texts;
  }
  const values = type === FP16 || type === BF16 ? halves(column) : view(column);
  for (const value of values) {
    if (texts.length >= limit) break;
    texts.push(type === BOOL ? (value ? 'true' : 'false') : String(value));
  }
  return texts;
}

function view({ type, u8, start, bytes }: RawColumn): ReturnType<typeof typedView> {
  return typedView(DATA_TYPES[type], new Uint8Array(u8.buffer, u8.byteOffset + start, bytes));
}

/** The datatype that a column has after its redaction. */
export function datatypeAfter(type: number, action: Action | undefined): DataType {
  return action?.kind === 'hash' ? 'BYTES' : DATA_TYPES[type];
}
