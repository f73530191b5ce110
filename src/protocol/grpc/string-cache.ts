const SLOTS = 512;
const LONGEST = 64;

/**
 * Names repeat from request to request: this returns the string made last time instead of decoding it again. Bounded:
 * one entry per slot, a newcomer takes the slot over. Only for strings a client may see repeated, never for ids.
 */
export class StringCache {
  private readonly keys: (Buffer | undefined)[] = new Array(SLOTS).fill(undefined);
  private readonly values: string[] = new Array(SLOTS).fill('');

  /** The UTF-8 string in bytes[start, end). */
  get(bytes: Buffer, start: number, end: number): string {
    const length = end - start;
    if (length === 0) return '';
    if (length > LONGEST) return bytes.toString('utf8', start, end);
    let hash = length;
    for (let i = start; i < end; i++) hash = (Math.imul(hash, 31) + bytes[i]) | 0;
    const slot = (hash ^ (hash >>> 15)) & (SLOTS - 1);
    const key = this.keys[slot];
    if (key !== undefined && key.length === length) {
      let i = 0;
      while (i < length && key[i] === bytes[start + i]) i++;
      if (i === length) return this.values[slot];
    }
    const value = bytes.toString('utf8', start, end);
    const copy = Buffer.allocUnsafeSlow(length);
    bytes.copy(copy, 0, start, end);
    this.keys[slot] = copy;
    this.values[slot] = value;
    return value;
  }
}
