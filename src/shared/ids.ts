import { randomBytes } from 'node:crypto';

const BLOCK = 36;

/**
 * Gives each request a number, whose text no other thread or process gives: 96 random bits drawn once, then the number to
 * base 36. Most ids are only printed, by prefix and number, and never become a text.
 */
export interface IdSource {
  readonly prefix: string;
  next(): number;
  /** Cheapest for numbers in their order. */
  text(number: number): string;
}

/**
 * Texts are cut from one that holds all ids of a last digit: a text joined of two costs several times as much to flatten
 * once it is read.
 */
export class RequestIds implements IdSource {
  readonly prefix = `${randomBytes(12).toString('base64url')}-`;
  private count = 0;
  private block = -1;
  private bytes = Buffer.alloc(0);
  private stem = '';
  private joined = '';
  private length = 0;

  next(): number {
    return this.count++;
  }

  text(number: number): string {
    const block = Math.floor(number / BLOCK);
    if (block < this.block) return this.prefix + number.toString(BLOCK);
    if (block > this.block) this.fill(block);
    const at = (number - block * BLOCK) * this.length;
    return this.joined.slice(at, at + this.length);
  }

  private fill(block: number): void {
    const stem = block === 0 ? this.prefix : this.prefix + block.toString(BLOCK);
    this.block = block;
    // Nearly always it is the last digit alone that differs from the block before.
    let from = 0;
    if (stem.length === this.stem.length) {
      while (from < stem.length - 1 && stem[from] === this.stem[from]) from++;
    } else {
      this.length = stem.length + 1;
      this.bytes = Buffer.alloc(BLOCK * this.length);
      for (let i = 0; i < BLOCK; i++) this.bytes[i * this.length + this.length - 1] = i < 10 ? 0x30 + i : 0x57 + i;
    }
    for (let each = from; each < stem.length; each++) {
      const code = stem.charCodeAt(each);
      for (let i = 0; i < BLOCK; i++) this.bytes[i * this.length + each] = code;
    }
    this.stem = stem;
    this.joined = this.bytes.toString('latin1');
  }
}

const LARGEST_SMALL = 2 ** 31 - 1;
const ZERO = 0x30;
/** Less than the letter "a" by the ten digits before it. */
const LETTER = 0x57;

/** Prints the number of an id, as its text has it, to u8[start…], where eleven bytes have room; returns where it ends. */
export function printIdNumber(u8: Uint8Array, start: number, number: number): number {
  if (number > LARGEST_SMALL) {
    const text = number.toString(BLOCK);
    for (let i = 0; i < text.length; i++) u8[start + i] = text.charCodeAt(i);
    return start + text.length;
  }
  let end = start + 1;
  for (let bound = BLOCK; bound <= number; bound *= BLOCK) end++;
  let left = number | 0;
  for (let at = end - 1; at >= start; at--) {
    const rest = (left / BLOCK) | 0;
    const digit = left - rest * BLOCK;
    u8[at] = digit < 10 ? ZERO + digit : LETTER + digit;
    left = rest;
  }
  return end;
}
