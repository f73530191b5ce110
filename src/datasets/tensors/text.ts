import { invalidArgument } from '../../shared/errors.ts';
import { decodeBytes, encodeBytes } from '../../tensor/bytes.ts';
import type { Tensor } from '../../tensor/tensor.ts';

/** Texts as BYTES elements of shape [n, 1]: for models that bring a tokeniser of their own. */
export function textsToBytes(name: string, texts: readonly string[]): Tensor {
  return { name, datatype: 'BYTES', shape: [texts.length, 1], data: encodeBytes(texts) };
}

export function bytesToTexts({ data }: Pick<Tensor, 'data'>): string[] {
  const decoder = new TextDecoder();
  return decodeBytes(data).map((bytes) => decoder.decode(bytes));
}

export interface HashSpec {
  /** Columns of the result. */
  buckets: number;
  /** Words that go together: 1 = each by itself, 2 = also pairs … */
  ngrams: number;
  lowercase: boolean;
  /** Another bit of the hash decides on the sign, so that collisions cancel out on average. */
  signed: boolean;
}

export const HASH_DEFAULTS: HashSpec = { buckets: 1024, ngrams: 1, lowercase: true, signed: false };

const WORD = /[\p{L}\p{N}_]+/gu;
const MAX_BUCKETS = 1 << 20;

/**
 * Counts of hashed words, FP32 [n, buckets]: no vocabulary, no tokeniser, the same everywhere. The hash is FNV-1a over
 * UTF-8, 32 bits, the words of an n-gram joined by a blank. Throws invalid_argument.
 */
export function hashTexts(name: string, texts: readonly string[], spec: HashSpec): Tensor {
  const { buckets, ngrams, lowercase, signed } = spec;
  if (!Number.isSafeInteger(buckets) || buckets < 1 || buckets > MAX_BUCKETS)
    throw invalidArgument(`buckets: ${buckets} is not allowed; give a whole number from 1 to ${MAX_BUCKETS}`);
  if (!Number.isSafeInteger(ngrams) || ngrams < 1 || ngrams > 5)
    throw invalidArgument(`ngrams: ${ngrams} is not allowed; give 1 to 5`);
  const counts = new Float32Array(texts.length * buckets);
  texts.forEach((text, row) => {
    const words = (lowercase ? text.toLowerCase() : text).match(WORD) ?? [];
    for (let length = 1; length <= ngrams; length++)
      for (let at = 0; at + length <= words.length; at++) {
        const hash = fnv1a(words.slice(at, at + length).join(' '));
        counts[row * buckets + (hash % buckets)] += signed && hash >>> 31 === 1 ? -1 : 1;
      }
  });
  return { name, datatype: 'FP32', shape: [texts.length, buckets], data: new Uint8Array(counts.buffer) };
}

export function fnv1a(text: string): number {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(text)) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}
