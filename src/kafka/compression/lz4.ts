import { little } from './little.ts';
import { Output } from './output.ts';

const MAGIC = 0x184d2204;
/** Frames that hold nothing of ours: sixteen magic numbers, then a length. */
const SKIPPED = 0x184d2a50;
/** Of the frame's flags. */
const BLOCK_CHECKSUMS = 0x10;
const CONTENT_SIZE = 0x08;
const CONTENT_CHECKSUM = 0x04;
const DICTIONARY = 0x01;
const STORED = 0x80000000;

/**
 * LZ4 frames, whose blocks may go back into the ones before. Checksums are left alone: Kafka's batches have their own, and
 * clients of old wrote wrong ones. Throws a RangeError.
 */
export function unpackLz4(input: Buffer, limit: number): Buffer {
  const output = new Output(4 * input.length, limit);
  for (let at = 0; at < input.length; ) {
    const magic = little(input, at, 4);
    if ((magic & 0xfffffff0) >>> 0 === SKIPPED) at += 8 + little(input, at + 4, 4);
    else if (magic === MAGIC) at = unpackFrame(input, at + 4, output);
    else throw new RangeError('it is no LZ4 frame');
  }
  return output.bytes();
}

/** Returns where the frame ends. */
function unpackFrame(input: Buffer, start: number, output: Output): number {
  const flags = input[start];
  if (flags >> 6 !== 1) throw new RangeError('its LZ4 frame has an unknown version');
  if (flags & DICTIONARY) throw new RangeError('it needs a dictionary');
  let at = start + 3 + (flags & CONTENT_SIZE ? 8 : 0);
  for (;;) {
    const head = little(input, at, 4);
    at += 4;
    if (head === 0) break;
    const end = at + (head & ~STORED);
    if (end > input.length) throw new RangeError('it ends too early');
    if (head >= STORED) output.append(input, at, end);
    else unpackBlock(input.subarray(at, end), output);
    at = end + (flags & BLOCK_CHECKSUMS ? 4 : 0);
  }
  return at + (flags & CONTENT_CHECKSUM ? 4 : 0);
}

/** Literals and what they are followed by, in turn; the last has literals only. */
function unpackBlock(input: Buffer, output: Output): void {
  let at = 0;
  const longer = (count: number): number => {
    let sum = count;
    if (count < 15) return sum;
    for (;;) {
      if (at >= input.length) throw new RangeError('it ends too early');
      const byte = input[at++];
      sum += byte;
      if (byte < 255) return sum;
    }
  };
  while (at < input.length) {
    const token = input[at++];
    const literals = longer(token >> 4);
    output.append(input, at, at + literals);
    at += literals;
    if (at === input.length) return;
    if (at + 2 > input.length) throw new RangeError('it ends too early');
    const distance = input.readUInt16LE(at);
    at += 2;
    output.repeat(distance, longer(token & 15) + 4);
  }
}
