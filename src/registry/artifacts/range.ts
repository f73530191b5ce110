import type { ByteRange } from '../blobs/store.ts';

/**
 * The one range that a `Range` header asks of `size` bytes. Undefined: answer everything, as for headers that are
 * malformed or name several ranges (RFC 9110 lets a server ignore those). 'unsatisfiable': 416.
 */
export function readRange(header: string, size: number): ByteRange | 'unsatisfiable' | undefined {
  const match = /^bytes=(\d{0,16})-(\d{0,16})$/.exec(header.replaceAll(' ', ''));
  if (match === null || (match[1] === '' && match[2] === '')) return undefined;
  if (match[1] === '') {
    const last = Number(match[2]);
    if (last === 0 || size === 0) return 'unsatisfiable';
    return { start: Math.max(0, size - last), end: size - 1 };
  }
  const start = Number(match[1]);
  const end = match[2] === '' ? size - 1 : Number(match[2]);
  if (match[2] !== '' && end < start) return undefined;
  if (start >= size) return 'unsatisfiable';
  return { start, end: Math.min(end, size - 1) };
}
