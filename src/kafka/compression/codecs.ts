import { promisify } from 'node:util';
import { gzip, unzip } from 'node:zlib';
import { unpackLz4 } from './lz4.ts';
import { MAX_UNPACKED_BYTES } from './output.ts';
import { unpackSnappy } from './snappy.ts';
import { unpackZstd } from './zstd.ts';

/** What kafkajs asks of a codec. */
interface Codec {
  compress(encoder: { buffer: Buffer }): Promise<Buffer>;
  decompress(packed: Buffer): Promise<Buffer>;
}

/**
 * Registers what producers in other languages pack their batches with: kafkajs itself knows gzip alone, gives up at the
 * others, and unpacks whatever it is given. Only gzip is written.
 */
export function registerCodecs({
  CompressionCodecs: codecs,
  CompressionTypes: types,
}: Pick<typeof import('kafkajs'), 'CompressionCodecs' | 'CompressionTypes'>): void {
  const maxOutputLength = MAX_UNPACKED_BYTES;
  const unpackGzip = (packed: Buffer) => promisify(unzip)(packed, { maxOutputLength });
  codecs[types.GZIP] = () => codec('gzip', unpackGzip, (encoder) => promisify(gzip)(encoder.buffer));
  codecs[types.Snappy] = () => codec('Snappy', unpackSnappy);
  codecs[types.LZ4] = () => codec('LZ4', unpackLz4);
  codecs[types.ZSTD] = () => codec('Zstandard', unpackZstd);
}

function codec(
  name: string,
  unpack: (packed: Buffer, limit: number) => Buffer | Promise<Buffer>,
  compress: Codec['compress'] = () => Promise.reject(new Error(`${name} is read, not written; write gzip`)),
): Codec {
  return {
    compress,
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
