import { promisify } from 'node:util';
import { unzip } from 'node:zlib';
import { unpackLz4 } from './lz4.ts';
import { MAX_UNPACKED_BYTES } from './output.ts';
import { packerOf } from './pack.ts';
import { unpackSnappy } from './snappy.ts';
import { unpackZstd } from './zstd.ts';

/** What kafkajs asks of a codec. */
interface Codec {
  compress(encoder: { buffer: Buffer }): Promise<Buffer>;
  decompress(packed: Buffer): Promise<Buffer>;
}

/**
 * Registers what producers in other languages pack their batches with: kafkajs itself knows gzip alone, gives up at the
 * others, and unpacks whatever it is given.
 */
export function registerCodecs({
  CompressionCodecs: codecs,
  CompressionTypes: types,
}: Pick<typeof import('kafkajs'), 'CompressionCodecs' | 'CompressionTypes'>): void {
  const maxOutputLength = MAX_UNPACKED_BYTES;
  const unpackGzip = (packed: Buffer) => promisify(unzip)(packed, { maxOutputLength });
  codecs[types.GZIP] = () => codec('gzip', types.GZIP, unpackGzip);
  codecs[types.Snappy] = () => codec('Snappy', types.Snappy, unpackSnappy);
  codecs[types.LZ4] = () => codec('LZ4', types.LZ4, unpackLz4);
  codecs[types.ZSTD] = () => codec('Zstandard', types.ZSTD, unpackZstd);
}

function codec(name: string, type: number, unpack: (packed: Buffer, limit: number) => Buffer | Promise<Buffer>): Codec {
  const pack = packerOf(type);
  return {
    compress: async ({ buffer }) => {
      if (pack === undefined) throw new Error(`${name} cannot be written`);
      return pack(buffer);
    },
    async decompress(packed) {
      try {
        return await unpack(packed, MAX_UNPACKED_BYTES);
      } catch (error) {
        const { message } = error as Error;
        throw new Error(`a batch of records in ${name} cannot be unpacked: ${message}`, { cause: error });
      }
    },
  };
}
