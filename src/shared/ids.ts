import { randomBytes } from 'node:crypto';

const BLOCK = 36;

/**
 * Ids that no other thread or process gives: 96 random bits drawn once, then a count to base 36. Every request has one.
 * They are cut from a text that holds all ids of a last digit: a text joined of two costs several times as much to
 * flatten once it is read.
 */
export function idSource(): () => string {
  const prefix = `${randomBytes(12).toString('base64url')}-`;
  let bytes = Buffer.alloc(0);
  let stem = '';
  let text = '';
  let length = 0;
  let at = 0;
  let blocks = 0;
  return () => {
    if (at === text.length) {
      const next = blocks === 0 ? prefix : prefix + blocks.toString(BLOCK);
      blocks++;
      // Nearly always it is the last digit alone that differs from the block before.
      let from = 0;
      if (next.length === stem.length) while (from < next.length - 1 && next[from] === stem[from]) from++;
      else {
        length = next.length + 1;
        bytes = Buffer.alloc(BLOCK * length);
        for (let i = 0; i < BLOCK; i++) bytes[i * length + length - 1] = i < 10 ? 0x30 + i : 0x57 + i;
      }
      for (let each = from; each < next.length; each++) {
        const code = next.charCodeAt(each);
        for (let i = 0; i < BLOCK; i++) bytes[i * length + each] = code;
      }
      stem = next;
      text = bytes.toString('latin1');
      at = 0;
    }
    at += length;
    return text.slice(at - length, at);
  };
}
