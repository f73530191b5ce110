import { invalidArgument } from '../shared/errors.ts';

/** BYTES elements on the wire: each a u32 little-endian length followed by that many bytes. */

const encoder = new TextEncoder();

/** Little-endian u32 at `offset`; the caller has checked the bounds. */
export function readU32(data: Uint8Array, offset: number): number {
  return (data[offset] | (data[offset + 1] << 8) | (data[offset + 2] << 16) | (data[offset + 3] << 24)) >>> 0;
}

/** Little-endian u32 at `offset`; the caller has checked the bounds. */
export function writeU32(data: Uint8Array, offset: number, value: number): void {
  data[offset] = value;
  data[offset + 1] = value >>> 8;
  data[offset + 2] = value >>> 16;
  data[offset + 3] = value >>> 24;
}

/**
 * Offset just past the element that starts at `offset`, or -1 where the length field or the bytes run past the end.
 * The element's own bytes are `data.subarray(offset + 4, next)`.
 */
export function nextBytesElement(data: Uint8Array, offset: number): number {
  if (offset + 4 > data.length) return -1;
  const next = offset + 4 + readU32(data, offset);
  return next > data.length ? -1 : next;
}

/** Number of elements, or -1 where the data is malformed. */
export function countBytesElements(data: Uint8Array): number {
  let count = 0;
  let offset = 0;
  while (offset < data.length) {
    offset = nextBytesElement(data, offset);
    if (offset < 0) return -1;
    count++;
  }
  return count;
}

/** The wire form of the elements; strings become UTF-8. */
export function encodeBytes(elements: readonly (string | Uint8Array)[]): Uint8Array {
  const parts = elements.map((element) => (typeof element === 'string' ? encoder.encode(element) : element));
  let size = 0;
  for (const part of parts) size += 4 + part.length;
  const data = new Uint8Array(size);
  let offset = 0;
  for (const part of parts) {
    writeU32(data, offset, part.length);
    data.set(part, offset + 4);
    offset += 4 + part.length;
  }
  return data;
}

/** Views, not copies, of each element's bytes. Throws invalid_argument where a length runs past the end. */
export function decodeBytes(data: Uint8Array): Uint8Array[] {
  const elements: Uint8Array[] = [];
  let offset = 0;
  while (offset < data.length) {
    const next = nextBytesElement(data, offset);
    if (next < 0) {
      throw invalidArgument(
        `BYTES element ${elements.length} at byte ${offset} runs past the end of its ${data.length} bytes of data; ` +
          'each element is a 4-byte little-endian length and that many bytes',
      );
    }
    elements.push(new Uint8Array(data.buffer, data.byteOffset + offset + 4, next - offset - 4));
    offset = next;
  }
  return elements;
}
