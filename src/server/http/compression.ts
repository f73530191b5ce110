import zlib from 'node:zlib';
import { SwitchyardError } from '../../shared/errors.ts';

export type Encoding = 'gzip' | 'deflate';

/** Output up to it is decompressed whatever the ratio: constant tensors compress a thousandfold without ill will. */
const ALWAYS_ALLOWED = 1 << 20;
const MAX_RATIO = 100;
/** Below it, compressing costs more than it saves even when the client insists. */
const MIN_EXPLICIT = 1024;
/** Inputs up to it are decompressed on the spot: a thread-pool round trip costs more. */
const INLINE = 4096;

/** Most bytes a compressed body of `compressed` bytes may become. */
export function outputLimit(compressed: number, maxBodyBytes: number): number {
  return Math.min(maxBodyBytes, Math.max(ALWAYS_ALLOWED, compressed * MAX_RATIO));
}

/**
 * The Content-Encoding of a request. '' for none.
 * Throws unsupported for anything but one layer of gzip or deflate (zlib).
 */
export function requestEncoding(header: string): Encoding | '' {
  switch (header.toLowerCase()) {
    case '':
    case 'identity':
      return '';
    case 'gzip':
    case 'x-gzip':
      return 'gzip';
    case 'deflate':
      return 'deflate';
    default:
      throw new SwitchyardError(
        'unsupported',
        `Content-Encoding ${JSON.stringify(header.slice(0, 80))} is not supported; use gzip, deflate or none, once`,
      );
  }
}

/**
 * Decompresses a request body, which it may keep until `done` is called. `done` gets bytes of its own, or the error:
 * invalid_argument for a corrupt body, payload_too_large for one that grows past its limit.
 */
export function decompress(
  encoding: Encoding,
  body: Uint8Array,
  maxBodyBytes: number,
  done: (error: SwitchyardError | undefined, body: Uint8Array) => void,
): void {
  const limit = outputLimit(body.byteLength, maxBodyBytes);
  const options = { maxOutputLength: limit };
  if (body.byteLength <= INLINE && limit <= ALWAYS_ALLOWED) {
    let output: Uint8Array;
    try {
      output = encoding === 'gzip' ? zlib.gunzipSync(body, options) : zlib.inflateSync(body, options);
    } catch (error) {
      done(decompressionError(encoding, error as NodeJS.ErrnoException, limit), body);
      return;
    }
    done(undefined, output);
    return;
  }
  const finish = (error: NodeJS.ErrnoException | null, output: Buffer): void => {
    if (error === null) done(undefined, output);
    else done(decompressionError(encoding, error, limit), body);
  };
  if (encoding === 'gzip') zlib.gunzip(body, options, finish);
  else zlib.inflate(body, options, finish);
}

function decompressionError(encoding: Encoding, error: NodeJS.ErrnoException, limit: number): SwitchyardError {
  if (error.code === 'ERR_BUFFER_TOO_LARGE') {
    return new SwitchyardError(
      'payload_too_large',
      `the ${encoding} body decompresses to more than ${limit} bytes, the most allowed for its compressed size`,
    );
  }
  return new SwitchyardError('invalid_argument', `the body is not valid ${encoding} data`);
}

/**
 * How to compress an answer. A client that names one coding asks for it, and gets it for anything worthwhile; a list
 * is the default of its HTTP library, and only large JSON is compressed for it, since tensors shrink little.
 */
export function responseEncoding(accept: string, bytes: number, binary: boolean, jsonFrom: number): Encoding | '' {
  if (accept === '' || bytes < MIN_EXPLICIT) return '';
  const codings = accept.toLowerCase().split(',');
  const first = codings[0].trim();
  if (codings.length === 1 && (first === 'gzip' || first === 'deflate')) return first;
  if (binary || bytes < jsonFrom) return '';
  let deflate = false;
  for (const coding of codings) {
    const [name, ...parameters] = coding.split(';').map((part) => part.trim());
    if (parameters.some((parameter) => /^q=0(\.0*)?$/.test(parameter))) continue;
    if (name === 'gzip') return 'gzip';
    if (name === 'deflate') deflate = true;
  }
  return deflate ? 'deflate' : '';
}

/** Compresses off this thread. `body` must stay as it is until `done`; on failure `done` gets undefined. */
export function compress(encoding: Encoding, body: Uint8Array, done: (output: Uint8Array | undefined) => void): void {
  // Level 1: network bytes are cheaper than the CPU the next request needs.
  const options = { level: 1 };
  const finish = (error: Error | null, output: Buffer): void => done(error === null ? output : undefined);
  if (encoding === 'gzip') zlib.gzip(body, options, finish);
  else zlib.deflate(body, options, finish);
}
