import { constants, gzipSync } from 'node:zlib';
import { snappyCompress } from 'hyparquet-writer/src/snappy.js';

/** What batches can be written with, and kafkajs's numbers for it. */
export const COMPRESSION = { none: 0, gzip: 1, snappy: 2, lz4: 3, zstd: 4 } as const;

/** An LZ4 frame of blocks of 64 KiB, each for itself, as Kafka's own producer writes it; the last byte is the head's checksum. */
const LZ4_HEAD = Buffer.from([0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82]);
const LZ4_BLOCK_BYTES = 64 * 1024;
/** Before each block that the library makes: how long it is unpacked. */
const LZ4_SIZE_BYTES = 4;
const LZ4_STORED = 0x80000000;
/** Faster than the format's usual 3, and on records of JSON no larger. */
const ZSTD_LEVEL = 1;

/** Packs on this thread: one that has been told to give way does so. Undefined: none of these numbers. */
export function packerOf(compression: number): ((bytes: Buffer) => Buffer | Promise<Buffer>) | undefined {
  switch (compression) {
    case COMPRESSION.gzip:
      return (bytes) => gzipSync(bytes, { level: constants.Z_BEST_SPEED });
    case COMPRESSION.snappy:
      return (bytes) => bufferOf(snappyCompress(bytes));
    case COMPRESSION.lz4:
      return packLz4;
    case COMPRESSION.zstd:
      return packZstd;
    default:
      return undefined;
  }
}

async function packZstd(bytes: Buffer): Promise<Buffer> {
  const { default: Zstd } = await import('numcodecs/zstd');
  return bufferOf(await Zstd.fromConfig({ id: 'zstd', level: ZSTD_LEVEL }).encode(bytes));
}

async function packLz4(bytes: Buffer): Promise<Buffer> {
  const { default: Lz4 } = await import('numcodecs/lz4');
  const codec = Lz4.fromConfig({ id: 'lz4' });
  const parts: Buffer[] = [LZ4_HEAD];
  for (let at = 0; at < bytes.length; at += LZ4_BLOCK_BYTES) {
    const block = bytes.subarray(at, at + LZ4_BLOCK_BYTES);
    const packed = bufferOf(await codec.encode(block)).subarray(LZ4_SIZE_BYTES);
    const smaller = packed.length < block.length;
    const head = Buffer.alloc(4);
    head.writeUInt32LE(smaller ? packed.length : (LZ4_STORED | block.length) >>> 0);
    parts.push(head, smaller ? packed : block);
  }
  return Buffer.concat([...parts, Buffer.alloc(4)]);
}

function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}
