import { little } from './little.ts';
import { Output, tooLarge } from './output.ts';

/** Before blocks as snappy-java frames them; then two versions of four bytes each, which nobody has ever changed. */
const FRAMED = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0x00]);
const FRAME_HEAD_BYTES = 16;

/** Snappy as Kafka's clients write it: one block (librdkafka), or blocks in a frame (Java). Throws a RangeError. */
export function unpackSnappy(input: Buffer, limit: number): Buffer {
  const output = new Output(4 * input.length, limit);
  if (!input.subarray(0, FRAMED.length).equals(FRAMED)) {
    unpackBlock(input, output, limit);
    return output.bytes();
  }
  for (let at = FRAME_HEAD_BYTES; at < input.length; ) {
    if (at + 4 > input.length) throw new RangeError('it ends too early');
    const end = at + 4 + input.readUInt32BE(at);
    if (end > input.length) throw new RangeError('it ends too early');
    unpackBlock(input.subarray(at + 4, end), output, limit);
    at = end;
  }
  return output.bytes();
}

function unpackBlock(input: Buffer, output: Output, limit: number): void {
  let at = 0;
  let length = 0;
  for (let shift = 0; ; shift += 7) {
    if (at >= input.length || shift > 28) throw new RangeError('its length is not whole');
    const byte = input[at++];
    length += (byte & 127) * 2 ** shift;
    if (byte < 128) break;
  }
  const end = output.size + length;
  if (end > limit) throw tooLarge(limit);
  while (at < input.length) {
    const tag = input[at++];
    if ((tag & 3) === 0) {
      const code = tag >> 2;
      const extra = code < 60 ? 0 : code - 59;
      const count = (extra === 0 ? code : little(input, at, extra)) + 1;
      output.append(input, at + extra, at + extra + count);
      at += extra + count;
    } else if ((tag & 3) === 1) {
      output.repeat(((tag >> 5) << 8) | little(input, at, 1), 4 + ((tag >> 2) & 7));
      at += 1;
    } else {
      const width = (tag & 3) === 2 ? 2 : 4;
      output.repeat(little(input, at, width), (tag >> 2) + 1);
      at += width;
    }
    if (output.size > end) break;
  }
  if (output.size !== end) throw new RangeError('it is not as long as it says');
}
