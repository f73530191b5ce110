import { SwitchyardError } from '../shared/errors.ts';

export const BLOCK = 512;
const MAX_PAX_BYTES = 64 * 1024;
const MAX_ENTRIES = 100_000;

/** A regular file in an archive: where its bytes lie. */
export interface TarFile {
  name: string;
  offset: number;
  size: number;
}

/** The header of a regular file, as every tar reads it. The same name and size give the same bytes: no time, no owner. */
export function tarHeader(name: string, size: number): Buffer {
  const header = Buffer.alloc(BLOCK);
  header.write(name, 0, 100, 'utf8');
  header.write('0000644\0', 100);
  header.write('0000000\0', 108);
  header.write('0000000\0', 116);
  if (size < 8 ** 11) header.write(`${size.toString(8).padStart(11, '0')}\0`, 124);
  else {
    // Beyond 8 GiB: base 256, marked by the highest bit.
    header[124] = 0x80;
    header.writeBigUInt64BE(BigInt(size), 128);
  }
  header.write('00000000000\0', 136);
  header.write('        ', 148);
  header.write('0', 156);
  header.write('ustar\x0000', 257);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return header;
}

/** Zeros behind `size` bytes, up to the next block. */
export function tarPadding(size: number): Buffer {
  return Buffer.alloc((BLOCK - (size % BLOCK)) % BLOCK);
}

/** Reads bytes of the archive at an offset. */
type ReadAt = (offset: number, length: number) => Promise<Buffer>;

/**
 * The regular files of an uncompressed archive of `size` bytes; folders are passed over. Throws invalid_argument for
 * links, devices and everything else that is no plain file, for names that lead elsewhere or occur twice, and for sizes
 * beyond the end.
 */
export async function tarFiles(size: number, readAt: ReadAt): Promise<Map<string, TarFile>> {
  const files = new Map<string, TarFile>();
  let offset = 0;
  let pax: { path?: string; size?: number } = {};
  for (let entries = 0; offset + BLOCK <= size; entries++) {
    if (entries > MAX_ENTRIES) throw refused(`it has more than ${MAX_ENTRIES} entries`);
    const header = await readAt(offset, BLOCK);
    offset += BLOCK;
    if (header.every((byte) => byte === 0)) return files;
    checkSum(header);
    const type = String.fromCharCode(header[156]);
    const length = pax.size ?? number(header.subarray(124, 136));
    const name = pax.path ?? nameOf(header);
    const shown = JSON.stringify(name.slice(0, 200));
    if (!Number.isSafeInteger(length) || length < 0 || offset + length > size) throw refused(`${shown} is cut short`);
    const next = offset + length + ((BLOCK - (length % BLOCK)) % BLOCK);
    if (type === 'x') {
      if (length > MAX_PAX_BYTES) throw refused('an extended header is too long');
      pax = readPax(await readAt(offset, length));
      offset = next;
      continue;
    }
    pax = {};
    const plain = checkName(name);
    if (type === '0' || type === '\0') {
      if (files.has(plain)) throw refused(`${shown} occurs twice`);
      files.set(plain, { name: plain, offset, size: length });
    } else if (type !== '5') {
      throw refused(
        `${shown} is ${KINDS[type] ?? `an entry of type ${JSON.stringify(type)}`}; only plain files are taken`,
      );
    }
    offset = next;
  }
  throw refused('its end is missing');
}

const KINDS: Readonly<Record<string, string>> = {
  '1': 'a hard link',
  '2': 'a symbolic link',
  '3': 'a character device',
  '4': 'a block device',
  '6': 'a pipe',
};

function checkSum(header: Buffer): void {
  const copy = Buffer.from(header);
  copy.fill(0x20, 148, 156);
  if (copy.reduce((total, byte) => total + byte, 0) !== number(header.subarray(148, 156)))
    throw refused('a header is damaged');
}

function number(field: Buffer): number {
  if (field[0] === 0x80) return Number(field.subarray(4).readBigUInt64BE());
  const text = field
    .toString('latin1')
    .replace(/[\0 ]+$/, '')
    .trim();
  return /^[0-7]*$/.test(text) ? Number.parseInt(text || '0', 8) : Number.NaN;
}

function nameOf(header: Buffer): string {
  const text = (from: number, to: number): string => header.toString('utf8', from, to).replace(/\0.*$/s, '');
  const prefix = header.toString('latin1', 257, 262) === 'ustar' ? text(345, 500) : '';
  return prefix === '' ? text(0, 100) : `${prefix}/${text(0, 100)}`;
}

/** Records "<length> <key>=<value>\n". */
function readPax(bytes: Buffer): { path?: string; size?: number } {
  const found: { path?: string; size?: number } = {};
  let at = 0;
  while (at < bytes.length) {
    const space = bytes.indexOf(0x20, at);
    const length = space < 0 ? Number.NaN : Number(bytes.toString('latin1', at, space));
    if (!Number.isInteger(length) || length < 5 || at + length > bytes.length)
      throw refused('an extended header is damaged');
    const record = bytes.toString('utf8', space + 1, at + length - 1);
    const equals = record.indexOf('=');
    const value = record.slice(equals + 1);
    if (record.slice(0, equals) === 'path') found.path = value;
    if (record.slice(0, equals) === 'size') found.size = /^\d{1,16}$/.test(value) ? Number(value) : Number.NaN;
    at += length;
  }
  return found;
}

function checkName(name: string): string {
  const plain = name.replace(/^(\.\/)+/, '').replace(/\/$/, '');
  const parts = plain.split('/');
  if (plain === '' || plain === '.') return '.';
  if (/[\\\0-\x1f]|^[A-Za-z]:/.test(plain) || parts.some((part) => part === '' || part === '.' || part === '..'))
    throw refused(`the name ${JSON.stringify(name.slice(0, 200))} leads elsewhere`);
  return plain;
}

function refused(problem: string): SwitchyardError {
  return new SwitchyardError('invalid_argument', `the archive is refused: ${problem}`);
}
