/** A number of `width` bytes, the lowest first. Throws a RangeError where they are not all there. */
export function little(input: Buffer, at: number, width: number): number {
  if (at + width > input.length) throw new RangeError('it ends too early');
  return input.readUIntLE(at, width);
}
