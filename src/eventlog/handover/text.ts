const encoder = new TextEncoder();

/** Writes UTF-8 and returns where it ends. Most texts are ASCII, and short: a loop beats a call into the encoder. */
export function writeText(u8: Uint8Array, start: number, text: string): number {
  const { length } = text;
  for (let i = 0; i < length; i++) {
    const code = text.charCodeAt(i);
    if (code > 127) {
      // Not encodeInto: it refuses shared memory.
      const bytes = encoder.encode(text);
      u8.set(bytes, start);
      return start + bytes.length;
    }
    u8[start + i] = code;
  }
  return start + length;
}
