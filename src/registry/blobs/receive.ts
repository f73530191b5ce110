import { SwitchyardError } from '../../shared/errors.ts';
import type { Digest } from './digest.ts';
import type { StagedBlob, StagedFile } from './staged-file.ts';
import type { Staging } from './staging.ts';

export interface ReceiveLimits {
  /** Most bytes the upload may have. */
  maxBytes: number;
  /** Bytes the sender declared; undefined: it declared none. */
  declared?: number | undefined;
  /** Digest the sender promised. */
  expected?: Digest | undefined;
}

/** Bytes arriving in order. */
export type ByteSource = AsyncIterable<Uint8Array>;

export function tooLarge(maxBytes: number): SwitchyardError {
  return new SwitchyardError(
    'payload_too_large',
    `the upload has more than ${maxBytes} bytes; send less, or raise registry.artifacts.maxBytes`,
  );
}

/** Appends a source to a staged file. Throws payload_too_large before anything beyond `maxBytes` is kept. */
export async function append(file: StagedFile, source: ByteSource, maxBytes: number): Promise<void> {
  try {
    for await (const chunk of source) {
      if (file.size + chunk.byteLength > maxBytes) throw tooLarge(maxBytes);
      const full = file.write(chunk);
      if (full !== undefined) await full;
    }
  } catch (error) {
    throw isBrokenConnection(error)
      ? new SwitchyardError('cancelled', `the connection broke after ${file.size} bytes`, { cause: error })
      : error;
  }
}

function isBrokenConnection(error: unknown): boolean {
  return ['ECONNRESET', 'EPIPE', 'ERR_STREAM_PREMATURE_CLOSE'].includes((error as NodeJS.ErrnoException).code ?? '');
}

/** Throws invalid_argument unless a staged blob is what its sender said. */
export function checkReceived(staged: Pick<StagedBlob, 'digest' | 'size'>, limits: ReceiveLimits): void {
  if (limits.declared !== undefined && limits.declared !== staged.size) {
    throw new SwitchyardError(
      'invalid_argument',
      `${staged.size} bytes came, but ${limits.declared} were declared; nothing was stored, send the upload again`,
    );
  }
  if (limits.expected !== undefined && limits.expected !== staged.digest) {
    throw new SwitchyardError(
      'invalid_argument',
      `the bytes that came have the digest ${staged.digest}, not ${limits.expected}; nothing was stored, send the upload again`,
    );
  }
}

/** Stages a whole upload: complete, durable and as promised, or not there at all. */
export async function receive(staging: Staging, source: ByteSource, limits: ReceiveLimits): Promise<StagedBlob> {
  if (limits.declared !== undefined && limits.declared > limits.maxBytes) throw tooLarge(limits.maxBytes);
  const file = await staging.create();
  try {
    await append(file, source, limits.maxBytes);
    const staged = await file.finish();
    checkReceived(staged, limits);
    return staged;
  } catch (error) {
    await file.discard();
    throw error;
  }
}
