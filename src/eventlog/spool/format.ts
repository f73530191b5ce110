import { readU32, writeU32 } from '../../tensor/bytes.ts';
import { checksum } from '../../tensor/checksum.ts';
import { native } from '../../tensor/native.ts';

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

// Words of `meta`, as in native/src/addon.cc.
const POSITION = 0;
const END = 4;

/** Completes `count` records that lie behind one another from the first byte on, each up to its end. */
export function sealRecords(u8: Uint8Array, ends: Int32Array, count: number): void {
  if (native?.sealRecords !== undefined) {
    native.meta[POSITION] = 0;
    native.meta[END] = count;
    if (!native.sealRecords(u8, ends)) throw new RangeError('the ends are not those of records');
    return;
  }
  for (let i = 0, start = 0; i < count; start = ends[i++]) sealRecord(u8, start, ends[i]);
}

/** Records that lie behind one another in one buffer: who takes them together needs no object for each. */
export class SpoolRun {
  readonly u8: Uint8Array;
  readonly count: number;
  /** Record n is `u8[places[2n]]` up to `u8[places[2n + 1] - 1]`. */
  readonly places: Int32Array;
  readonly kinds: Uint8Array;

  constructor(u8: Uint8Array, count: number, places: Int32Array, kinds: Uint8Array) {
    this.u8 = u8;
    this.count = count;
    this.places = places;
    this.kinds = kinds;
  }

  record(i: number): SpoolRecord {
    return new SpoolRecord(this.kinds[i], this.u8, this.places[2 * i], this.places[2 * i + 1]);
  }

  get records(): SpoolRecord[] {
    return Array.from({ length: this.count }, (_, i) => this.record(i));
  }

  /** Calls `take` with each range of neighbours that are feedback, or that are not. */
  eachRange(feedback: boolean, take: (from: number, to: number) => void): void {
    const { kinds, count } = this;
    for (let from = 0; from < count; ) {
      const isFeedback = kinds[from] === FEEDBACK;
      let to = from + 1;
      while (to < count && (kinds[to] === FEEDBACK) === isFeedback) to++;
      if (isFeedback === feedback) take(from, to);
      from = to;
    }
  }
}

/** Records that were chosen one by one, neighbours of one buffer together. */
export function runsOf(records: readonly SpoolRecord[]): SpoolRun[] {
  const runs: SpoolRun[] = [];
  for (let from = 0; from < records.length; ) {
    const { u8 } = records[from];
    let to = from + 1;
    while (to < records.length && records[to].u8 === u8) to++;
    const own = records.slice(from, to);
    const places = Int32Array.from(own.flatMap(({ start, end }) => [start, end]));
    runs.push(
      new SpoolRun(
        u8,
        own.length,
        places,
        Uint8Array.from(own, ({ kind }) => kind),
      ),
    );
    from = to;
  }
  return runs;
}

export interface Parsed {
  run: SpoolRun;
  /** Where the next record begins, or the torn one. */
  end: number;
  /** Ranges of bytes that are no record. */
  bad: { start: number; end: number }[];
  /** How many of the run and of `bad`: the number of the record at `end`, if the first has number 0. */
  count: number;
}

/**
 * Reads whole records from `start` on, at most `maxRecords`. Bytes that are no record are left out when a good record
 * follows them; at the end they may be one that is being written, or was torn. Without `verify`, bytes that never left
 * this process are taken on trust.
 */
export function parseRecords(u8: Uint8Array, start: number, maxRecords: number, verify = true): Parsed {
  let places = new Int32Array(2 * Math.min(maxRecords, FIRST_RECORDS));
  let kinds = new Uint8Array(places.length / 2);
  const bad: Parsed['bad'] = [];
  let count = 0;
  let at = start;
  while (at < u8.length && count < maxRecords) {
    const end = recordEnd(u8, at, verify);
    if (end > 0) {
      if (count === kinds.length) {
        places = grown(places, new Int32Array(4 * count));
        kinds = grown(kinds, new Uint8Array(2 * count));
      }
      kinds[count] = u8[at + HEADER_BYTES];
      places[2 * count] = at + HEADER_BYTES + 1;
      places[2 * count + 1] = end;
      count++;
      at = end;
      continue;
    }
    const next = nextRecord(u8, at + 1);
    if (next < 0) break;
    bad.push({ start: at, end: next });
    at = next;
  }
  return { run: new SpoolRun(u8, count, places, kinds), end: at, bad, count: count + bad.length };
}

const FIRST_RECORDS = 1024;

function grown<T extends Int32Array | Uint8Array>(from: T, to: T): T {
  to.set(from);
  return to;
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
