import { native as loaded, type NativeCodecs } from '../../tensor/native.ts';
import { recordJson } from '../encode/json.ts';
import { FEEDBACK, type SpoolRun } from '../spool/format.ts';
import { decodeSpooled } from './decode.ts';

// Words of `meta`, as in native/src/addon.cc.
const POSITION = 0;
const NEXT = 3;
const END = 4;

const FIRST_BYTES = 64 * 1024;
/** Of a line, for a byte of its record: where they are longer, the addon is called again for the rest. */
const TYPICAL_GROWTH = 3;
/** Larger ones are the twin's: the addon asks for as much room as a line could take at worst. */
const MAX_NATIVE_BYTES = 1024 * 1024;

/** As recordLineRoom in native/src/record_json.h. */
function roomOf(bytes: number): number {
  return 1024 + 16 * bytes;
}

/**
 * Records as JSON lines, in a buffer that is used again. The addon prints requests as they lie in the spool, many in one
 * call; where it is not built, and of what it leaves, recordJson makes the same bytes.
 */
export class RecordLines {
  private readonly native: NativeCodecs | undefined;
  private out = Buffer.allocUnsafeSlow(FIRST_BYTES);
  private at = 0;

  constructor(native: NativeCodecs | undefined = loaded) {
    this.native = native;
  }

  /** A view: until the next call. */
  get bytes(): Buffer {
    return this.out.subarray(0, this.at);
  }

  clear(): void {
    this.at = 0;
  }

  /** Appends a line for each record of a range that can be read; returns how many cannot. */
  add(run: SpoolRun, from = 0, to: number = run.count): number {
    let refused = 0;
    for (let i = from; i < to; ) {
      const printed = this.native === undefined ? 0 : this.printNatively(this.native, run, i, to);
      i += printed;
      if (printed > 0) continue;
      const record = decodeSpooled(run.record(i++));
      if (record === undefined) refused++;
      else this.line(recordJson(record));
    }
    return refused;
  }

  /** Appends a line of the caller's making. */
  line(text: string): void {
    this.reserve(3 * text.length + 1);
    this.at += this.out.write(text, this.at);
    this.out[this.at++] = 0x0a;
  }

  /** How many from `from` on were printed: up to one that is left to the twin. */
  private printNatively(native: NativeCodecs, { u8, places, kinds }: SpoolRun, from: number, to: number): number {
    let end = from;
    while (end < to && kinds[end] !== FEEDBACK && places[2 * end + 1] - places[2 * end] <= MAX_NATIVE_BYTES) end++;
    if (end === from) return 0;
    let bytes = 0;
    for (let i = from; i < end; i++) bytes += places[2 * i + 1] - places[2 * i];
    this.reserve(TYPICAL_GROWTH * bytes + roomOf(places[2 * from + 1] - places[2 * from]));
    const { meta } = native;
    meta[POSITION] = this.at;
    meta[NEXT] = from;
    meta[END] = end;
    native.recordLines(this.out, u8, places);
    this.at = meta[POSITION];
    return meta[NEXT] - from;
  }

  private reserve(bytes: number): void {
    if (this.at + bytes <= this.out.length) return;
    const grown = Buffer.allocUnsafeSlow(Math.max(2 * this.out.length, this.at + bytes));
    grown.set(this.bytes);
    this.out = grown;
  }
}
