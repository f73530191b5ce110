/**
 * What a gateway thread and the log thread share: a ring of bytes that one writes and the other reads, and counters. No
 * message is sent per request, and neither ever waits for the other.
 *
 * A record in the ring starts at a multiple of 8 with two 32-bit words, [bytes, kind]. `bytes` counts the whole record
 * and is a multiple of 8. REST says that the rest of the ring up to its end is unused.
 */
export interface RingMemory {
  data: SharedArrayBuffer;
  /** Two 32-bit positions, an epoch, large bytes in flight; then the counters as 64-bit floats. */
  control: SharedArrayBuffer;
}

/** 32-bit words of `control`. Positions count units of 8 bytes. */
export const WRITTEN = 0;
export const READ = 1;
/** Raised by a log thread that starts: it knows nothing of what was defined before. */
export const EPOCH = 2;
/** Bytes of records that travel by message because they are too large for the ring. */
export const LARGE = 3;
const WORDS = 8;

/** Counters; each is written by one side only. */
export const SERVED = 0;
export const SAMPLED_OUT = 1;
export const DROPPED = 2;
export const HANDED = 3;
export const TAKEN = 4;
/** Handed over, but to a log thread that ended before it took them. */
export const LOST = 5;
export const COUNTERS = 8;

export const REST = 0xffffffff;

/** Kinds of records. */
export const REQUEST = 1;
export const TEXT = 2;
export const ORIGIN = 3;
export const TARGET = 4;
/** What was defined so far is forgotten; its word 2 is the epoch it begins. */
export const RESET = 5;

/** Flags of a request, in its second word from bit 16 on. */
export const HAS_TIMINGS = 1;
export const HAS_DECISION = 2;

/** Bytes of a request's fixed part: words 0..3, time and latency, lengths of four texts. */
export const FIXED_BYTES = 48;

/**
 * Words of a decision, 64-bit floats each: state, snapshot, propensity, override, bucket, the proposed variant's text
 * (−1: none), then how many there are of pmf, eligible, fallbacks, proposed pmf and context, which follow in this
 * order. A fallback takes two words, and texts are numbers.
 */
export const DECISION_WORDS = 11;

export function decisionWords(f64: Float64Array, at: number): number {
  return DECISION_WORDS + f64[at + 6] + f64[at + 7] + 2 * f64[at + 8] + f64[at + 9] + f64[at + 10];
}

/** Texts of an origin, in the order of its words and of the record's schema. */
export const ORIGIN_TEXTS = [
  'route',
  'variant',
  'assigned',
  'model',
  'version',
  'digest',
  'requestedModel',
  'tenant',
  'protocol',
  'role',
  'detour',
] as const;
/** In the last word of an origin. */
export const IS_SHADOW = 1;
export const IS_ANALYSED = 2;

export function allocateRing(bytes: number): RingMemory {
  return {
    data: new SharedArrayBuffer((bytes + 7) & ~7),
    control: new SharedArrayBuffer(WORDS * 4 + COUNTERS * 8),
  };
}

export function wordsOf(memory: RingMemory): Int32Array {
  return new Int32Array(memory.control, 0, WORDS);
}

export function countersOf(memory: RingMemory): Float64Array {
  return new Float64Array(memory.control, WORDS * 4, COUNTERS);
}

/** One buffer seen as bytes, words and floats. */
export interface Views {
  u8: Uint8Array;
  u32: Uint32Array;
  f64: Float64Array;
}

export function viewsOf(buffer: ArrayBufferLike): Views {
  return { u8: new Uint8Array(buffer), u32: new Uint32Array(buffer), f64: new Float64Array(buffer) };
}
