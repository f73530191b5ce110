import { latin1 } from './text.ts';

/**
 * Member names, tensor names and datatypes repeat from request to request. This table gives back the same string for
 * the same bytes without building it again. It is direct-mapped: a clash evicts, so hostile names cost memory or
 * probes to nobody.
 */
const SLOTS = 1024;
const MAX_LENGTH = 48;
const table: string[] = new Array<string>(SLOTS).fill('');

/** The ASCII bytes [start, end) as a string. */
export function internName(buf: Uint8Array, start: number, end: number): string {
  const length = end - start;
  if (length > MAX_LENGTH) return latin1(buf, start, end);
  let hash = length;
  for (let i = start; i < end; i++) hash = (Math.imul(hash, 31) + buf[i]) | 0;
  const slot = (hash ^ (hash >>> 10)) & (SLOTS - 1);
  const known = table[slot];
  if (known.length === length && matches(known, buf, start)) return known;
  const made = latin1(buf, start, end);
  table[slot] = made;
  return made;
}

function matches(text: string, buf: Uint8Array, start: number): boolean {
  for (let i = 0; i < text.length; i++) {
    if (text.charCodeAt(i) !== buf[start + i]) return false;
  }
  return true;
}
