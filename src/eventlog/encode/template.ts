import type { Views } from '../handover/memory.ts';
import type { AvroWriter } from './avro-writer.ts';

/** What an encoding took from the ring as it lies: [byte in the ring's record, byte in the encoded one, bytes] each. */
export type Copies = number[];

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
  private readonly timeAt: number;

  /** `keyWords`: distances of the words that decide the layout. `timeAt`: where the time lies in `encoded`. */
  constructor(
    u32: Uint32Array,
    word: number,
    keyWords: readonly number[],
    encoded: Uint8Array,
    copies: Copies,
    timeAt: number,
  ) {
    this.encoded = encoded;
    this.keys = Uint32Array.from(keyWords.flatMap((at) => [at, u32[word + at]]));
    this.copies = Int32Array.from(copies);
    this.timeAt = timeAt;
  }

  /** Writes the request at `base`. False, and nothing is written: its layout is another one. */
  write({ u8, u32, f64 }: Views, base: number, out: AvroWriter): boolean {
    const { keys, copies, encoded } = this;
    const word = base >> 2;
    for (let i = 0; i < keys.length; i += 2) if (u32[word + keys[i]] !== keys[i + 1]) return false;
    const time = f64[(base >> 3) + TIME_AT];
    if (!(time >= FIRST_TIME && time < LAST_TIME)) return false;
    out.reserve(encoded.length);
    const { u8: target, at: start } = out;
    target.set(encoded, start);
    out.at = start + this.timeAt;
    out.long(time);
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

/** Templates of one origin by the size of the ring's record, made only while they are used. */
export class Templates {
  private readonly bySize = new Map<number, RecordTemplate>();
  /** Making one costs, using one earns: layouts that never come again are not worth it. */
  private credit = MOST_CREDIT;

  of(bytes: number): RecordTemplate | undefined {
    return this.bySize.get(bytes);
  }

  used(): void {
    if (this.credit < MOST_CREDIT) this.credit++;
  }

  get worthMaking(): boolean {
    return this.credit >= COST;
  }

  made(bytes: number, template: RecordTemplate): void {
    this.credit -= COST;
    if (this.bySize.size >= MOST_TEMPLATES) this.bySize.clear();
    this.bySize.set(bytes, template);
  }
}

const MOST_TEMPLATES = 32;
const MOST_CREDIT = 256;
const COST = 8;
