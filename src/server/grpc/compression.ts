import { deflate, gunzip, gzip, inflate, type ZlibOptions } from 'node:zlib';
import { FRAME_PREFIX, frameMessage } from '../../protocol/grpc/wire-writer.ts';
import { SwitchyardError } from '../../shared/errors.ts';

export type Encoding = 'identity' | 'gzip' | 'deflate';

/** Output a compressed message may always have, and beyond it the times its own size it may grow. */
const FREE_BYTES = 1 << 20;
const MAX_RATIO = 256;

/** The value of a grpc-encoding header. Throws unsupported for encodings this server has not. */
export function parseEncoding(header: string | undefined): Encoding {
  if (header === undefined || header === 'identity') return 'identity';
  if (header === 'gzip' || header === 'deflate') return header;
  throw new SwitchyardError(
    'unsupported',
    `grpc-encoding '${header.slice(0, 64)}' is not supported; use identity, gzip or deflate`,
  );
}

/**
 * Decompresses one message off this thread. Refuses output over `limit` bytes, or over 256 times its input once past
 * 1 MiB, while decompressing, so that a bomb costs no more memory than that.
 */
export function decompress(encoding: Encoding, message: Buffer, limit: number): Promise<Buffer> {
  if (encoding === 'identity') {
    return Promise.reject(
      new SwitchyardError('internal', 'a message is flagged compressed, but the call has no grpc-encoding'),
    );
  }
  const cap = Math.min(limit, Math.max(FREE_BYTES, message.length * MAX_RATIO));
  const options: ZlibOptions = { maxOutputLength: cap };
  return new Promise((resolve, reject) => {
    const done = (error: Error | null, result: Buffer): void => {
      if (error === null) resolve(result);
      else if ((error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE') {
        reject(
          new SwitchyardError(
            'payload_too_large',
            `a ${encoding} message of ${message.length} bytes unpacks to more than the ${cap} bytes allowed for it`,
          ),
        );
      } else reject(new SwitchyardError('invalid_argument', `a message is not valid ${encoding}: ${error.message}`));
    };
    if (encoding === 'gzip') gunzip(message, options, done);
    else inflate(message, options, done);
  });
}

/** Turns an uncompressed frame into a compressed one. */
export function compressFrame(encoding: 'gzip' | 'deflate', frame: Buffer): Promise<Buffer> {
  const message = frame.subarray(FRAME_PREFIX);
  return new Promise((resolve, reject) => {
    const done = (error: Error | null, result: Buffer): void => {
      if (error !== null) reject(error);
      else {
        const packed = frameMessage(result);
        packed[0] = 1;
        resolve(packed);
      }
    };
    if (encoding === 'gzip') gzip(message, { level: 1 }, done);
    else deflate(message, { level: 1 }, done);
  });
}
