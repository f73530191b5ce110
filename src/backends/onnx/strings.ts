import { isUtf8 } from 'node:buffer';
import { invalidArgument } from '../../shared/errors.ts';

/**
 * BYTES elements (u32 little-endian length and that many bytes each) as the strings ONNX Runtime takes.
 *
 * onnxruntime-node hands strings over as JavaScript strings and C strings: bytes that are no UTF-8 would come out as
 * replacement characters, and everything behind a zero byte would vanish. Such elements are refused instead.
 *
 * @param name the input's name, for messages
 * @param count elements the shape declares
 * @throws SwitchyardError invalid_argument
 */
export function decodeStrings(name: string, data: Uint8Array, count: number): string[] {
  const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  const strings = new Array<string>(count);
  let at = 0;
  for (let i = 0; i < count; i++) {
    if (at + 4 > bytes.length) {
      throw invalidArgument(`input "${name}": element ${i} of ${count} is missing; the data ends after ${at} bytes`);
    }
    const length = bytes.readUInt32LE(at);
    at += 4;
    if (length > bytes.length - at) {
      throw invalidArgument(
        `input "${name}": element ${i} declares ${length} bytes, ${bytes.length - at} are left; lengths are u32 little-endian`,
      );
    }
    const end = at + length;
    if (!isUtf8(bytes.subarray(at, end))) {
      throw invalidArgument(`input "${name}": element ${i} is not UTF-8; ONNX models on this backend take text only`);
    }
    const zero = bytes.indexOf(0, at);
    if (zero !== -1 && zero < end) {
      throw invalidArgument(
        `input "${name}": element ${i} holds a zero byte, which ONNX Runtime's strings cannot carry`,
      );
    }
    strings[i] = bytes.toString('utf8', at, end);
    at = end;
  }
  if (at !== bytes.length) {
    throw invalidArgument(`input "${name}": ${bytes.length - at} bytes are left over after ${count} elements`);
  }
  return strings;
}

/** Strings as BYTES elements, in fresh memory of its own ArrayBuffer. */
export function encodeStrings(strings: readonly string[]): Uint8Array {
  let size = 0;
  for (let i = 0; i < strings.length; i++) size += 4 + Buffer.byteLength(strings[i]);
  // Not Buffer.allocUnsafe: its pool is shared, and the result may be transferred to another thread.
  const bytes = Buffer.from(new ArrayBuffer(size));
  let at = 0;
  for (let i = 0; i < strings.length; i++) {
    const length = bytes.write(strings[i], at + 4);
    bytes.writeUInt32LE(length, at);
    at += 4 + length;
  }
  return new Uint8Array(bytes.buffer, 0, size);
}
