/**
 * MurmurHash3 (x86, 32 bits) of a text's UTF-8 bytes, without encoding it into a buffer: units are hashed on every
 * request. Any implementation of the same function assigns the same buckets.
 */
export function murmur3(text: string, seed: number): number {
  let h = seed | 0;
  let k = 0;
  let filled = 0;
  let i = 0;
  // Four ASCII characters at a time: as most units are.
  for (; i + 3 < text.length; i += 4) {
    const a = text.charCodeAt(i);
    const b = text.charCodeAt(i + 1);
    const c = text.charCodeAt(i + 2);
    const d = text.charCodeAt(i + 3);
    if ((a | b | c | d) >= 0x80) break;
    h = mixBlock(h, a | (b << 8) | (c << 16) | (d << 24));
  }
  let length = i;
  for (; i < text.length; i++) {
    let code = text.charCodeAt(i);
    let rest = 0;
    let byte: number;
    if (code < 0x80) byte = code;
    else if (code < 0x800) {
      byte = 0xc0 | (code >> 6);
      rest = 1;
    } else if (code >= 0xd800 && code < 0xdc00 && isLow(text, i + 1)) {
      code = 0x10000 + ((code - 0xd800) << 10) + (text.charCodeAt(++i) - 0xdc00);
      byte = 0xf0 | (code >> 18);
      rest = 3;
    } else {
      // A surrogate alone is encoded as the replacement character, as TextEncoder does.
      if (code >= 0xd800 && code < 0xe000) code = 0xfffd;
      byte = 0xe0 | (code >> 12);
      rest = 2;
    }
    for (;;) {
      k |= byte << (8 * filled);
      length++;
      if (++filled === 4) {
        h = mixBlock(h, k);
        k = 0;
        filled = 0;
      }
      if (rest === 0) break;
      rest--;
      byte = 0x80 | ((code >> (6 * rest)) & 0x3f);
    }
  }
  if (filled > 0) h ^= scramble(k);
  return finish(h, length);
}

/**
 * The same of an ASCII text that lies in a block, which costs a fifth: it need not be found in memory, nor made. −1: it
 * is not all ASCII.
 */
export function murmur3Ascii(block: Uint8Array, at: number, length: number, seed: number): number {
  let h = seed | 0;
  let all = 0;
  let i = at;
  const end = at + length;
  for (; i + 3 < end; i += 4) {
    const k = block[i] | (block[i + 1] << 8) | (block[i + 2] << 16) | (block[i + 3] << 24);
    all |= k;
    h = mixBlock(h, k);
  }
  let k = 0;
  for (let shift = 0; i < end; i++, shift += 8) k |= block[i] << shift;
  if (((all | k) & 0x80808080) !== 0) return -1;
  if ((length & 3) !== 0) h ^= scramble(k);
  return finish(h, length);
}

function isLow(text: string, i: number): boolean {
  const code = i < text.length ? text.charCodeAt(i) : 0;
  return code >= 0xdc00 && code < 0xe000;
}

function finish(hash: number, length: number): number {
  let h = hash ^ length;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

function scramble(k: number): number {
  const mixed = Math.imul(k, 0xcc9e2d51);
  return Math.imul((mixed << 15) | (mixed >>> 17), 0x1b873593);
}

function mixBlock(h: number, k: number): number {
  const mixed = h ^ scramble(k);
  return (Math.imul((mixed << 13) | (mixed >>> 19), 5) + 0xe6546b64) | 0;
}
