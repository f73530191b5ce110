import { decompressZstd } from 'hyparquet-compressors';
import { little } from './little.ts';
import { tooLarge } from './output.ts';

const MAGIC = 0xfd2fb528;
const SKIPPED = 0x184d2a50;
const SINGLE_SEGMENT = 0x20;
const CHECKSUM = 0x04;
const BLOCK_BYTES = 128 * 1024;
/** What a decoder needs at most by default, says the format's own; its highest level uses it. */
const MAX_WINDOW_BYTES = 128 * 1024 * 1024;
/** The decoder moves its window once a block: a megabyte of empty blocks would keep it for hours. */
const MAX_MOVED_BYTES = 16 * 1024 ** 3;
/** Bytes of a dictionary's id and of the frame's size, by their flags. */
const ID_BYTES = [0, 1, 2, 4];
const SIZE_BYTES = [0, 2, 4, 8];

/** Zstandard frames. What they may come to is added up from the heads of their blocks first. Throws an Error. */
export function unpackZstd(input: Buffer, limit: number): Buffer {
  let most = 0;
  for (let at = 0; at < input.length; ) {
    const magic = little(input, at, 4);
    if ((magic & 0xfffffff0) >>> 0 === SKIPPED) {
      at += 8 + little(input, at + 4, 4);
      continue;
    }
    if (magic !== MAGIC) throw new RangeError('it is no Zstandard frame');
    const frame = measure(input, at + 4, limit);
    at = frame.end;
    most += frame.most;
    if (most > limit) throw tooLarge(limit);
  }
  const bytes = decompressZstd(input);
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}

/** The most bytes that a frame can hold, and where it ends. */
function measure(input: Buffer, start: number, limit: number): { most: number; end: number } {
  const flags = little(input, start, 1);
  let at = start + 1;
  let window = 0;
  if ((flags & SINGLE_SEGMENT) === 0) {
    const code = little(input, at++, 1);
    const base = 2 ** (10 + (code >> 3));
    window = base + (base / 8) * (code & 7);
    if (window > MAX_WINDOW_BYTES) throw new RangeError('its window is over 128 MiB');
  }
  at += ID_BYTES[flags & 3];
  const sizeBytes = SIZE_BYTES[flags >> 6] || (flags & SINGLE_SEGMENT ? 1 : 0);
  // Eight bytes are read as six: more than that is over any limit anyway.
  const size = (sizeBytes === 0 ? 0 : little(input, at, Math.min(sizeBytes, 6))) + (sizeBytes === 2 ? 256 : 0);
  if (size > limit || (sizeBytes === 8 && little(input, at + 6, 2) > 0)) throw tooLarge(limit);
  at += sizeBytes;
  let most = 0;
  let moved = 0;
  for (let last = false; !last; ) {
    const head = little(input, at, 3);
    last = (head & 1) === 1;
    const kind = (head >> 1) & 3;
    const bytes = head >> 3;
    // One byte again and again; packed ones; ones as they are.
    most += kind === 2 ? BLOCK_BYTES : bytes;
    at += 3 + (kind === 1 ? 1 : bytes);
    moved += window;
  }
  if (sizeBytes === 0 && moved > MAX_MOVED_BYTES) throw new RangeError('it has too many blocks for its window');
  at += flags & CHECKSUM ? 4 : 0;
  if (at > input.length) throw new RangeError('it ends too early');
  return { most: sizeBytes === 0 ? most : size, end: at };
}
