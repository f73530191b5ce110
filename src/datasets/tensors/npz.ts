import { crc32 } from 'node:zlib';
import { invalidArgument } from '../../shared/errors.ts';

/** One array of an .npz: NumPy's type, all dimensions, and its values in C order, little-endian, as they come. */
export interface NpzArray {
  name: string;
  /** As NumPy writes types: '<f4', '|u1', '|S12'. */
  descr: string;
  shape: readonly number[];
  bytes(): AsyncIterable<Uint8Array>;
}

const LOCAL = 0x04034b50;
const DESCRIPTOR = 0x08074b50;
const CENTRAL = 0x02014b50;
const END = 0x06054b50;
const END_64 = 0x06064b50;
const LOCATOR_64 = 0x07064b50;
/** Sizes come behind the bytes; names are UTF-8. */
const FLAGS = 0x0808;
/** 4.5: with sizes of 64 bits. */
const VERSION = 45;
/** 1980-01-01: the same arrays make the same bytes. */
const DATE = 0x0021;
const IN_EXTRA = 0xffffffff;

/** The header of a .npy of version 1.0: magic, length and a Python literal, 64 bytes or a multiple of them. */
export function npyHeader({ descr, shape }: Pick<NpzArray, 'descr' | 'shape'>): Buffer {
  const dims = shape.length === 1 ? `${shape[0]},` : shape.join(', ');
  const literal = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${dims}), }`;
  const length = Math.ceil((10 + literal.length + 1) / 64) * 64 - 10;
  const header = Buffer.alloc(10 + length, ' ');
  header.write('\x93NUMPY\x01\x00', 'latin1');
  header.writeUInt16LE(length, 8);
  header.write(literal, 10, 'latin1');
  header.write('\n', header.length - 1);
  return header;
}

/**
 * Arrays as one .npz, which is a zip of .npy files that are not packed: `numpy.load` reads each by its name. Nothing is held but
 * what an array gives at a time, and none is asked before the one ahead of it has ended. Throws invalid_argument for a
 * name that is there twice or would leave the folder that somebody unpacks it in.
 */
export async function* npz(arrays: readonly NpzArray[]): AsyncGenerator<Uint8Array> {
  checkNames(arrays);
  const directory: Buffer[] = [];
  let offset = 0;
  for (const array of arrays) {
    const name = Buffer.from(`${array.name}.npy`);
    const start = offset;
    const head = Buffer.concat([localHeader(name), name, extra(0, 0)]);
    yield head;
    let size = 0;
    let crc = 0;
    const header = npyHeader(array);
    yield header;
    crc = crc32(header, crc);
    size += header.length;
    for await (const bytes of array.bytes()) {
      crc = crc32(bytes, crc);
      size += bytes.byteLength;
      yield bytes;
    }
    yield descriptor(crc, size);
    offset += head.length + size + 24;
    directory.push(centralHeader(name, crc), name, extra(size, size, start));
  }
  const central = Buffer.concat(directory);
  yield central;
  yield ends(arrays.length, central.length, offset);
}

function checkNames(arrays: readonly NpzArray[]): void {
  const seen = new Set<string>();
  for (const { name } of arrays) {
    if (!/^[^/\\\x00-\x1f][^\\\x00-\x1f]{0,199}$/.test(name) || name.split('/').includes('..'))
      throw invalidArgument(`inputs: the name ${JSON.stringify(name.slice(0, 100))} can be none of a file in the .npz`);
    if (seen.has(name)) throw invalidArgument(`inputs: ${JSON.stringify(name)} is there twice`);
    seen.add(name);
  }
}

function localHeader(name: Buffer): Buffer {
  const header = Buffer.alloc(30);
  header.writeUInt32LE(LOCAL, 0);
  header.writeUInt16LE(VERSION, 4);
  header.writeUInt16LE(FLAGS, 6);
  header.writeUInt16LE(DATE, 12);
  header.writeUInt32LE(IN_EXTRA, 18);
  header.writeUInt32LE(IN_EXTRA, 22);
  header.writeUInt16LE(name.length, 26);
  header.writeUInt16LE(20, 28);
  return header;
}

/** The field of zip64: sizes, and of the directory where the file begins. */
function extra(...numbers: readonly number[]): Buffer {
  const field = Buffer.alloc(4 + 8 * numbers.length);
  field.writeUInt16LE(1, 0);
  field.writeUInt16LE(8 * numbers.length, 2);
  numbers.forEach((number, i) => {
    field.writeBigUInt64LE(BigInt(number), 4 + 8 * i);
  });
  return field;
}

function descriptor(crc: number, size: number): Buffer {
  const behind = Buffer.alloc(24);
  behind.writeUInt32LE(DESCRIPTOR, 0);
  behind.writeUInt32LE(crc, 4);
  behind.writeBigUInt64LE(BigInt(size), 8);
  behind.writeBigUInt64LE(BigInt(size), 16);
  return behind;
}

function centralHeader(name: Buffer, crc: number): Buffer {
  const header = Buffer.alloc(46);
  header.writeUInt32LE(CENTRAL, 0);
  header.writeUInt16LE(VERSION, 4);
  header.writeUInt16LE(VERSION, 6);
  header.writeUInt16LE(FLAGS, 8);
  header.writeUInt16LE(DATE, 14);
  header.writeUInt32LE(crc, 16);
  header.writeUInt32LE(IN_EXTRA, 20);
  header.writeUInt32LE(IN_EXTRA, 24);
  header.writeUInt16LE(name.length, 28);
  header.writeUInt16LE(28, 30);
  header.writeUInt32LE(IN_EXTRA, 42);
  return header;
}

/** The end of the directory in both forms, and where the longer one begins. */
function ends(count: number, length: number, offset: number): Buffer {
  const end = Buffer.alloc(56 + 20 + 22);
  end.writeUInt32LE(END_64, 0);
  end.writeBigUInt64LE(44n, 4);
  end.writeUInt16LE(VERSION, 12);
  end.writeUInt16LE(VERSION, 14);
  end.writeBigUInt64LE(BigInt(count), 24);
  end.writeBigUInt64LE(BigInt(count), 32);
  end.writeBigUInt64LE(BigInt(length), 40);
  end.writeBigUInt64LE(BigInt(offset), 48);
  end.writeUInt32LE(LOCATOR_64, 56);
  end.writeBigUInt64LE(BigInt(offset + length), 64);
  end.writeUInt32LE(1, 72);
  end.writeUInt32LE(END, 76);
  end.writeUInt16LE(count, 84);
  end.writeUInt16LE(count, 86);
  end.writeUInt32LE(IN_EXTRA, 88);
  end.writeUInt32LE(IN_EXTRA, 92);
  return end;
}
