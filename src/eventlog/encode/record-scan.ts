/**
 * Finds a record's model without decoding the record. What runs past the end of the record is an end beyond it: callers
 * compare.
 */
export interface ModelPlace {
  /** Where its length stands, and where its text ends: the same bytes, the same model. */
  from: number;
  to: number;
}

/** Of an encoded record that begins at `start`. The schemas of both kinds begin alike up to `traceparent`. */
export function findModel(u8: Uint8Array, start: number, feedback: boolean, place: ModelPlace): void {
  let at = skipText(u8, start);
  while (u8[at] > 127) at++;
  at = skipText(u8, skipText(u8, skipText(u8, at + 1)));
  for (let i = feedback ? 1 : 3; i > 0; i--) at = skipText(u8, at);
  place.from = at;
  place.to = skipText(u8, at);
}

/** Behind a text that begins at `at`. */
function skipText(u8: Uint8Array, at: number): number {
  const first = u8[at];
  // An odd one is negative.
  if (first < 128) return (first & 1) === 0 ? at + 1 + (first >> 1) : BEYOND;
  let length = 0;
  let shift = 0;
  let byte = first;
  let next = at + 1;
  for (; byte > 127 && shift < 28; shift += 7) {
    length |= (byte & 127) << shift;
    byte = u8[next++];
  }
  length |= (byte & 127) << shift;
  return (length & 1) === 0 ? next + (length >>> 1) : BEYOND;
}

const BEYOND = 0x7fffffff;
