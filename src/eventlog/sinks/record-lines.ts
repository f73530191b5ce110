import { native as loaded, type NativeCodecs } from '../../tensor/native.ts';
import { recordJson } from '../encode/json.ts';
import { INFERENCE, type SpoolRecord } from '../spool/format.ts';
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
function roomOf({ start, end }: SpoolRecord): number {
  return 1024 + 16 * (end - start);
}

/**
 * Records as JSON lines, in a buffer that is used again. The addon prints requests as they lie in the spool, many in one
 * call; where it is not built, and of what it leaves, recordJson makes the same bytes.
 */
export class RecordLines {
  private readonly native: NativeCodecs | undefined;
  private out = Buffer.allocUnsafeSlow(FIRST_BYTES);
  private at = 0;
  private places = new Int32Array(2048);

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

  /** Appends a line for each record that can be read; returns how many cannot. */
  add(records: readonly SpoolRecord[]): number {
    let refused = 0;
    for (let i = 0; i < records.length; ) {
      const printed = this.native === undefined ? 0 : this.printNatively(this.native, records, i);
      i += printed;
      if (printed > 0) continue;
      const record = decodeSpooled(records[i++]);
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

  /** How many from `from` on were printed: neighbours in one chunk, up to one that is left to the twin. */
  private printNatively(native: NativeCodecs, records: readonly SpoolRecord[], from: number): number {
    const { u8 } = records[from];
    if (this.places.length < 2 * records.length) this.places = new Int32Array(2 * records.length);
    const { places } = this;
    let count = 0;
    let bytes = 0;
    for (let i = from; i < records.length; i++) {
      const record = records[i];
      if (record.u8 !== u8 || record.kind !== INFERENCE || record.end - record.start > MAX_NATIVE_BYTES) break;
      places[2 * count] = record.start;
      places[2 * count + 1] = record.end;
      bytes += record.end - record.start;
      count++;
    }
    if (count === 0) return 0;
    this.reserve(TYPICAL_GROWTH * bytes + roomOf(records[from]));
    const { meta } = native;
    meta[POSITION] = this.at;
    meta[NEXT] = 0;
    meta[END] = count;
    native.recordLines(this.out, u8, places);
    this.at = meta[POSITION];
    return meta[NEXT];
  }

  private reserve(bytes: number): void {
    if (this.at + bytes <= this.out.length) return;
    const grown = Buffer.allocUnsafeSlow(Math.max(2 * this.out.length, this.at + bytes));
    grown.set(this.bytes);
    this.out = grown;
  }
}
