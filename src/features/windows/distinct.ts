import { createHash } from 'node:crypto';

/**
 * The smallest hashes of a set, ascending, one more than the limit at most (a bottom-k sketch). Up to the limit it counts
 * exactly; beyond it estimates, with a standard error of about 1 / √limit. Neither order nor repetition changes it.
 */
export type DistinctSketch = number[];

const RANGE = 2 ** 48;

/** 48 bits; of 4,096 texts two have the same in one of 30 million cases. */
export function distinctHash(text: string): number {
  return createHash('sha256').update(text).digest().readUIntBE(0, 6);
}

export function addHash(sketch: DistinctSketch, hash: number, limit: number): void {
  let from = 0;
  let to = sketch.length;
  while (from < to) {
    const middle = (from + to) >>> 1;
    if (sketch[middle] < hash) from = middle + 1;
    else to = middle;
  }
  if (sketch[from] === hash || from > limit) return;
  sketch.splice(from, 0, hash);
  if (sketch.length > limit + 1) sketch.pop();
}

export function distinctCount(sketch: DistinctSketch, limit: number): number {
  if (sketch.length <= limit) return sketch.length;
  return Math.round((limit * RANGE) / (sketch[limit] + 1));
}
