/** Strings from bytes by the engine's own decoders, without a view or Buffer in between. */
type Slicer = (this: Uint8Array, start: number, end: number) => string;
const slices = Buffer.prototype as unknown as { latin1Slice: Slicer; utf8Slice: Slicer };
const latin1Slice = slices.latin1Slice;
const utf8Slice = slices.utf8Slice;

/** The bytes as a string, one character each. */
export function latin1(buf: Uint8Array, start: number, end: number): string {
  return latin1Slice.call(buf, start, end);
}

/** The bytes as UTF-8; invalid sequences become U+FFFD, so check first where that matters. */
export function utf8(buf: Uint8Array, start: number, end: number): string {
  return utf8Slice.call(buf, start, end);
}
