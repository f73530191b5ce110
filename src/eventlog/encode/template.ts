import type { Views } from '../handover/memory.ts';
import type { AvroWriter } from './avro-writer.ts';

/** What of an encoding differs between requests of one layout. */
export interface Varying {
  /** Taken from the ring as it lies: [byte in the ring's record, byte in the encoded one, bytes] each. */
  copies: number[];
  /** Written as Avro longs: [64-bit float in the ring's record, byte in the encoded one] each. */
  longs: number[];
}

/** A time between these takes six bytes as an Avro long: from 1970-07 to 2039-09. */
const FIRST_TIME = 2 ** 34;
const LAST_TIME = 2 ** 41;
/** Of the latency and of the wall time in the ring's record. */
const TIME_AT = 2;

/**
 * Requests of one origin mostly differ in their ids, times and numbers only. A template is an encoded record of an
 * origin whose layout is known: where a request has the same layout, the whole record is copied and the few bytes that
 * differ are put in. That costs a third of encoding it field by field.
 */
export class RecordTemplate {
  private readonly encoded: Uint8Array;
  /** Words of the ring's record that decide the layout, by their distance from its first, with their values. */
  private readonly keys: Uint32Array;
  private readonly copies: Int32Array;
  private readonly longs: Int32Array;

  /** `keyWords`: distances of the words that decide the layout, but for the bytes that `longs` take. */
  constructor(u32: Uint32Array, word: number, keyWords: readonly number[], encoded: Uint8Array, varying: Varying) {
    this.encoded = encoded;
    this.keys = Uint32Array.from(keyWords.flatMap((at) => [at, u32[word + at]]));
    this.copies = Int32Array.from(varying.copies);
    this.longs = Int32Array.from(varying.longs);
  }

  /** Writes the request at `base`, whose longs are as long as the template's. False, and nothing is written: its layout is another one. */
  write({ u8, u32, f64 }: Views, base: number, out: AvroWriter): boolean {
    const { keys, copies, longs, encoded } = this;
    const word = base >> 2;
    for (let i = 0; i < keys.length; i += 2) if (u32[word + keys[i]] !== keys[i + 1]) return false;
    if (!fitsTemplate(f64[(base >> 3) + TIME_AT])) return false;
    out.reserve(encoded.length);
    const { u8: target, at: start } = out;
    target.set(encoded, start);
    for (let i = 0; i < longs.length; i += 2) {
      out.at = start + longs[i + 1];
      out.long(f64[(base >> 3) + longs[i]]);
    }
    for (let i = 0; i < copies.length; i += 3) {
      const from = base + copies[i];
      const to = start + copies[i + 1];
      const bytes = copies[i + 2];
      if (bytes <= MOST_BY_LOOP) for (let b = 0; b < bytes; b++) target[to + b] = u8[from + b];
      else target.set(u8.subarray(from, from + bytes), to);
    }
    out.at = start + encoded.length;
    return true;
  }
}

const MOST_BY_LOOP = 128;

export function fitsTemplate(time: number): boolean {
  return time >= FIRST_TIME && time < LAST_TIME;
}

/** Templates of one origin by the number of their layout, made only while they are used. */
export class Templates {
  private readonly byLayout = new Map<number, RecordTemplate>();
  /** Making one costs, using one earns: layouts that never come again are not worth it. */
  private credit = MOST_CREDIT;

  of(layout: number): RecordTemplate | undefined {
    return this.byLayout.get(layout);
  }

  used(): void {
    if (this.credit < MOST_CREDIT) this.credit++;
  }

  get worthMaking(): boolean {
    return this.credit >= COST;
  }

  made(layout: number, template: RecordTemplate): void {
    this.credit -= COST;
    if (this.byLayout.size >= MOST_TEMPLATES) this.byLayout.clear();
    this.byLayout.set(layout, template);
  }
}

const MOST_TEMPLATES = 32;
const MOST_CREDIT = 256;
const COST = 8;
