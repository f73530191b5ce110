import { readU32, writeU32 } from '../../tensor/bytes.ts';
import { checksum } from '../../tensor/checksum.ts';

/**
 * A segment is a file of records behind one another. A record is [mark, length, crc] as little-endian 32-bit words, then
 * `length` bytes, of which the first says what kind the record is and the rest is its Avro encoding. The CRC-32C covers
 * these bytes. The mark lets a reader find the next record behind a damaged one.
 */
export const MARK = 0x31_52_59_53;
export const HEADER_BYTES = 12;
export const MAX_RECORD_BYTES = 256 * 1024 * 1024;

export const INFERENCE = 0;
export const FEEDBACK = 1;

/** A record among others: most readers need no view of its bytes, and a view costs more than reading a few of them. */
export class SpoolRecord {
  readonly kind: number;
  /** Its encoding is `u8[start]` up to `u8[end - 1]`. */
  readonly u8: Uint8Array;
  readonly start: number;
  readonly end: number;

  constructor(kind: number, u8: Uint8Array, start: number, end: number) {
    this.kind = kind;
    this.u8 = u8;
    this.start = start;
    this.end = end;
  }

  /** A view: copy what outlives the call. */
  get body(): Uint8Array {
    return this.u8.subarray(this.start, this.end);
  }
}

/** Completes the record whose kind and body lie at `start + HEADER_BYTES` up to `end`. */
export function sealRecord(u8: Uint8Array, start: number, end: number): void {
  writeU32(u8, start, MARK);
  writeU32(u8, start + 4, end - start - HEADER_BYTES);
  writeU32(u8, start + 8, checksum(u8, start + HEADER_BYTES, end));
}

export interface Parsed {
  records: SpoolRecord[];
  /** Where the next record begins, or the torn one. */
  end: number;
  /** Ranges of bytes that are no record. */
  bad: { start: number; end: number }[];
  /** How many of `records` and of `bad`: the number of the record at `end`, if the first has number 0. */
  count: number;
}

/**
 * Reads whole records from `start` on, at most `maxRecords`. Bytes that are no record are left out when a good record
 * follows them; at the end they may be one that is being written, or was torn. Without `verify`, bytes that never left
 * this process are taken on trust.
 */
export function parseRecords(u8: Uint8Array, start: number, maxRecords: number, verify = true): Parsed {
  const parsed: Parsed = { records: [], end: start, bad: [], count: 0 };
  let at = start;
  while (at < u8.length && parsed.records.length < maxRecords) {
    const end = recordEnd(u8, at, verify);
    if (end > 0) {
      parsed.records.push(new SpoolRecord(u8[at + HEADER_BYTES], u8, at + HEADER_BYTES + 1, end));
      parsed.count++;
      at = end;
      parsed.end = at;
      continue;
    }
    const next = nextRecord(u8, at + 1);
    if (next < 0) break;
    parsed.bad.push({ start: at, end: next });
    parsed.count++;
    at = next;
    parsed.end = at;
  }
  return parsed;
}

/** Where the record at `at` ends; -1: there is no whole, good record. */
function recordEnd(u8: Uint8Array, at: number, verify: boolean): number {
  if (at + HEADER_BYTES + 1 > u8.length || readU32(u8, at) !== MARK) return -1;
  const length = readU32(u8, at + 4);
  const end = at + HEADER_BYTES + length;
  if (length < 1 || length > MAX_RECORD_BYTES || end > u8.length) return -1;
  return !verify || checksum(u8, at + HEADER_BYTES, end) === readU32(u8, at + 8) ? end : -1;
}

function nextRecord(u8: Uint8Array, from: number): number {
  const buffer = Buffer.from(u8.buffer, u8.byteOffset, u8.byteLength);
  for (let at = buffer.indexOf('SYR1', from, 'latin1'); at >= 0; at = buffer.indexOf('SYR1', at + 1, 'latin1'))
    if (recordEnd(u8, at, true) > 0) return at;
  return -1;
}
