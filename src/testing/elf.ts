/** A 64-bit ELF file that only names what it needs: a header, two segments, the dynamic section and its strings. */
export function elfFile(needed: readonly string[], runpath = ''): Buffer {
  const strings = Buffer.from(`\0${[...needed, runpath].map((text) => `${text}\0`).join('')}`, 'latin1');
  const entries: [tag: number, value: number][] = [];
  let at = 1;
  for (const name of needed) {
    entries.push([1, at]);
    at += name.length + 1;
  }
  if (runpath !== '') entries.push([29, at]);
  const dynamicAt = 64 + 2 * 56;
  const stringsAt = dynamicAt + (entries.length + 2) * 16;
  // Loaded at 0x10000, so that addresses are no offsets.
  entries.push([5, 0x10000 + stringsAt], [0, 0]);
  const file = Buffer.alloc(stringsAt + strings.length);
  file.write('\x7fELF\x02\x01\x01', 'latin1');
  file.writeBigUInt64LE(64n, 32);
  file.writeUInt16LE(56, 54);
  file.writeUInt16LE(2, 56);
  const segment = (index: number, type: number, offset: number, bytes: number): void => {
    const head = 64 + index * 56;
    file.writeUInt32LE(type, head);
    file.writeBigUInt64LE(BigInt(offset), head + 8);
    file.writeBigUInt64LE(BigInt(0x10000 + offset), head + 16);
    file.writeBigUInt64LE(BigInt(bytes), head + 32);
  };
  segment(0, 1, 0, file.length);
  segment(1, 2, dynamicAt, stringsAt - dynamicAt);
  entries.forEach(([tag, value], i) => {
    file.writeBigInt64LE(BigInt(tag), dynamicAt + i * 16);
    file.writeBigUInt64LE(BigInt(value), dynamicAt + i * 16 + 8);
  });
  strings.copy(file, stringsAt);
  return file;
}
