import {
  DECISION_WORDS,
  decisionWords,
  FIXED_BYTES,
  HAS_DECISION,
  HAS_TIMINGS,
  type Views,
} from '../handover/memory.ts';
import { longBytes } from './avro-writer.ts';

/** How the parts of a request lie behind one another in the ring, and what decides how its record is laid out. */
export const TIMING_WORDS = 5;
/** Among the words of a decision. */
export const BUCKET = 4;
const MOST_LONG_BYTES = 10;

/** Where a request's decision begins, if it has one: a 64-bit float of the ring. */
function decisionAt({ u32 }: Views, base: number): number {
  const flags = u32[(base >> 2) + 1] >>> 16;
  return ((base + FIXED_BYTES) >> 3) + ((flags & HAS_TIMINGS) === 0 ? 0 : TIMING_WORDS);
}

/** What requests that share a template have in common at least: the bytes in the ring, and those that the bucket takes. */
export function layoutOf(views: Views, base: number): number {
  const { u32, f64 } = views;
  const word = base >> 2;
  const decided = ((u32[word + 1] >>> 16) & HAS_DECISION) !== 0;
  return u32[word] * MOST_LONG_BYTES + (decided ? longBytes(f64[decisionAt(views, base) + BUCKET]) : 0);
}

/** Distances of the words that say how a decision is laid out and what it has that is no float and not the bucket. */
export function decisionKeys(views: Views, base: number): number[] {
  const { u32, f64 } = views;
  const word = base >> 2;
  if (((u32[word + 1] >>> 16) & HAS_DECISION) === 0) return [];
  const at = decisionAt(views, base);
  const [pmf, eligible, fallbacks] = [f64[at + 6], f64[at + 7], f64[at + 8]];
  const texts = at + DECISION_WORDS + pmf;
  const floats = [
    at,
    at + 1,
    at + 3,
    ...range(at + 5, at + DECISION_WORDS),
    ...range(texts, texts + eligible + 2 * fallbacks),
  ];
  return floats.flatMap((float) => [2 * float - word, 2 * float + 1 - word]);
}

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, i) => from + i);
}

/** The byte at which a request's first tensor begins. */
export function firstTensor(views: Views, base: number): number {
  const { u32, f64 } = views;
  const word = base >> 2;
  const flags = u32[word + 1] >>> 16;
  let at = decisionAt(views, base);
  if ((flags & HAS_DECISION) !== 0) at += decisionWords(f64, at);
  return ((at << 3) + u32[word + 8] + u32[word + 9] + u32[word + 10] + u32[word + 11] + 7) & ~7;
}

export function nextTensor(u32: Uint32Array, byte: number): number {
  const at = byte >> 2;
  return (byte + 16 + 8 * (u32[at + 1] >>> 8) + u32[at + 2] + 7) & ~7;
}

/** Distances of the words that say what tensors a request has. */
export function tensorKeys(views: Views, base: number): number[] {
  const { u32 } = views;
  const word = base >> 2;
  const counts = u32[word + 3];
  const words: number[] = [];
  let byte = firstTensor(views, base);
  for (let i = (counts & 0xffff) + (counts >>> 16); i > 0; i--) {
    const at = byte >> 2;
    const rank = u32[at + 1] >>> 8;
    words.push(at - word, at + 1 - word, at + 2 - word);
    for (let d = 0; d < 2 * rank; d++) words.push(at + 4 + d - word);
    byte = nextTensor(u32, byte);
  }
  return words;
}
