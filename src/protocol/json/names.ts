import { latin1 } from './text.ts';

/**
 * Member names, tensor names and datatypes repeat from request to request. This table gives back the same string for
 * the same bytes without building it again. It is direct-mapped: a clash evicts, so hostile names cost memory or
 * probes to nobody.
 */
const SLOTS = 1024;
const MAX_LENGTH = 48;
const table: string[] = new Array<string>(SLOTS).fill('');

/**
 * The string whose first byte is at `start`, when it is short ASCII without escapes and its closing quote comes before
 * `end`; undefined otherwise. The closing quote is then at `start + length`.
 */
export function internName(buf: Uint8Array, start: number, end: number): string | undefined {
  const limit = Math.min(end, start + MAX_LENGTH);
  let hash = 0;
  let pos = start;
  for (;;) {
    if (pos >= limit) return undefined;
    const c = buf[pos];
    if (c === 0x22) break;
    if (c < 0x20 || c >= 0x7f || c === 0x5c) return undefined;
    hash = (Math.imul(hash, 31) + c) | 0;
    pos++;
  }
  const slot = (hash ^ (hash >>> 10)) & (SLOTS - 1);
  const known = table[slot];
  if (known.length === pos - start && matches(known, buf, start)) return known;
  const made = latin1(buf, start, pos);
  table[slot] = made;
  return made;
}

function matches(text: string, buf: Uint8Array, start: number): boolean {
  for (let i = 0; i < text.length; i++) {
    if (text.charCodeAt(i) !== buf[start + i]) return false;
  }
  return true;
}
