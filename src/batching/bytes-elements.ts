import { SwitchyardError } from '../shared/errors.ts';

/**
 * Offset just past `count` length-prefixed elements that start at `offset`. Throws internal when they do not fit:
 * decoders check what clients send, so only a backend can get here with such bytes.
 */
export function skipElements(data: Uint8Array, offset: number, count: number, name: string): number {
  let at = offset;
  for (let i = 0; i < count; i++) {
    if (at + 4 > data.length) throw truncated(name, i, count);
    const length = data[at] + data[at + 1] * 0x100 + data[at + 2] * 0x10000 + data[at + 3] * 0x1000000;
    at += 4 + length;
    if (at > data.length) throw truncated(name, i, count);
  }
  return at;
}

function truncated(name: string, at: number, count: number): SwitchyardError {
  return new SwitchyardError(
    'internal',
    `BYTES tensor "${name}" ends inside element ${at} of ${count}: every element is a 4-byte length and that many bytes`,
  );
}
