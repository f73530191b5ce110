import { closeSync, openSync, readSync } from 'node:fs';

/** What the dynamic loader reads first in a shared library. */
export interface ElfNeeds {
  soname: string;
  /** Names of the libraries that it needs, as written in it. */
  needed: string[];
  /** Its own search folders (DT_RUNPATH, else DT_RPATH), $ORIGIN not yet replaced. */
  searched: string[];
}

const PT_LOAD = 1;
const PT_DYNAMIC = 2;
const DT_NULL = 0;
const DT_NEEDED = 1;
const DT_STRTAB = 5;
const DT_SONAME = 14;
const DT_RPATH = 15;
const DT_RUNPATH = 29;

/**
 * Reads the dynamic section of a 64-bit little-endian ELF file. `read` returns up to `length` bytes from `offset`: CUDA's
 * libraries are hundreds of megabytes. Throws an Error that says what is wrong with any other file.
 */
function readElf(read: (offset: number, length: number) => Buffer): ElfNeeds {
  const head = read(0, 64);
  if (head.length < 64 || head.toString('latin1', 0, 4) !== '\x7fELF') throw new Error('it is no ELF file');
  if (head[4] !== 2 || head[5] !== 1) throw new Error('it is not for a 64-bit little-endian machine');
  const size = head.readUInt16LE(54);
  const count = head.readUInt16LE(56);
  const table = read(Number(head.readBigUInt64LE(32)), size * count);
  if (size < 56 || table.length < size * count) throw new Error('it is cut off');
  const segments = Array.from({ length: count }, (_, i) => {
    const at = i * size;
    return {
      type: table.readUInt32LE(at),
      offset: Number(table.readBigUInt64LE(at + 8)),
      address: Number(table.readBigUInt64LE(at + 16)),
      bytes: Number(table.readBigUInt64LE(at + 32)),
    };
  });
  const dynamic = segments.find(({ type }) => type === PT_DYNAMIC);
  if (dynamic === undefined) throw new Error('it is linked statically');
  const entries = readEntries(read(dynamic.offset, Math.min(dynamic.bytes, 1 << 20)));
  const strings = entries.find(([tag]) => tag === DT_STRTAB)?.[1] ?? 0;
  const home = segments.find(
    ({ type, address, bytes }) => type === PT_LOAD && strings >= address && strings < address + bytes,
  );
  if (home === undefined) throw new Error('its table of strings is missing');
  const base = home.offset + strings - home.address;
  const texts = (tag: number): string[] =>
    entries.filter(([each]) => each === tag).map(([, at]) => text(read(base + at, 4096)));
  const folders = [...texts(DT_RUNPATH), ...(texts(DT_RUNPATH).length === 0 ? texts(DT_RPATH) : [])];
  return {
    soname: texts(DT_SONAME)[0] ?? '',
    needed: texts(DT_NEEDED),
    searched: folders.flatMap((list) => list.split(':')).filter((folder) => folder !== ''),
  };
}

function readEntries(section: Buffer): [number, number][] {
  const entries: [number, number][] = [];
  for (let at = 0; at + 16 <= section.length; at += 16) {
    const tag = Number(section.readBigInt64LE(at));
    if (tag === DT_NULL) break;
    entries.push([tag, Number(section.readBigUInt64LE(at + 8))]);
  }
  return entries;
}

function text(bytes: Buffer): string {
  const end = bytes.indexOf(0);
  return bytes.toString('latin1', 0, end === -1 ? bytes.length : end);
}

/** As readElf, of a file. Its errors name the file. */
export function elfNeeds(file: string): ElfNeeds {
  const opened = openSync(file, 'r');
  try {
    return readElf((offset, length) => {
      const bytes = Buffer.alloc(length);
      return bytes.subarray(0, readSync(opened, bytes, 0, length, offset));
    });
  } catch (error) {
    throw new Error(`${file}: ${(error as Error).message}`, { cause: error });
  } finally {
    closeSync(opened);
  }
}
