import { murmur3 } from './hash.ts';

/**
 * Sticky assignment: a unit is hashed into one of 10,000 buckets, and every bucket belongs to a slot (a variant, or the
 * control slice of a canary). Changing weights hands over as few buckets as possible, so as few users as possible see
 * another variant. The assignment is state: it is kept, shared and restored, not recomputed from the weights.
 */
export const BUCKETS = 10_000;

/** Hashed once per route; units are then hashed with it as the seed. */
export function saltSeed(salt: string): number {
  return murmur3(salt, 0);
}

/** Even to within 3·10⁻⁶ of a bucket: 2³² is not a multiple of 10,000. */
export function bucketOf(hash: number): number {
  return Math.floor((hash * BUCKETS) / 0x1_0000_0000);
}

/** Whole buckets for weights of any scale, by largest remainders; ties go to the earlier slot. */
export function bucketCounts(weights: readonly number[]): number[] {
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  if (!(total > 0)) throw new RangeError(`weights [${weights.join()}] do not add up to more than 0`);
  const exact = weights.map((weight) => (weight / total) * BUCKETS);
  // Products like 0.29 · 10,000 must not lose a bucket to rounding.
  const counts = exact.map((share) => Math.floor(share + 1e-7));
  const missing = BUCKETS - counts.reduce((sum, count) => sum + count, 0);
  const order = exact.map((share, slot) => ({ slot, rest: share - counts[slot] }));
  order.sort((a, b) => b.rest - a.rest || a.slot - b.slot);
  for (let i = 0; i < missing; i++) counts[order[i].slot]++;
  return counts;
}

/** The slot of each of the BUCKETS buckets, by weights of any scale. Throws RangeError where they add up to nothing. */
export function assign(weights: readonly number[]): Uint8Array {
  return reassign(new Uint8Array(BUCKETS), weights);
}

/**
 * The new assignment after weights change. Exactly Σ max(0, old − new) buckets move, which is the least possible. The
 * first slot gives from its upper end and the others from their lower one, so that a canary's steps forth and back
 * return the same users to where they were.
 */
export function reassign(old: Uint8Array, weights: readonly number[]): Uint8Array {
  const target = bucketCounts(weights);
  const surplus = new Int32Array(256);
  for (const slot of old) surplus[slot]++;
  for (let slot = 0; slot < target.length; slot++) surplus[slot] -= target[slot];
  const next = old.slice();
  const free: number[] = [];
  for (let bucket = BUCKETS - 1; bucket >= 0; bucket--) {
    if (old[bucket] !== 0 || surplus[0] <= 0) continue;
    surplus[0]--;
    free.push(bucket);
  }
  for (let bucket = 0; bucket < BUCKETS; bucket++) {
    const slot = old[bucket];
    if (slot === 0 || surplus[slot] <= 0) continue;
    surplus[slot]--;
    free.push(bucket);
  }
  free.sort((a, b) => a - b);
  let taken = 0;
  for (let slot = 0; slot < target.length; slot++) {
    for (; surplus[slot] < 0; surplus[slot]++) next[free[taken++]] = slot;
  }
  return next;
}

/** Runs of [slot, length]: an assignment as small JSON. */
export function encodeBuckets(buckets: Uint8Array): number[][] {
  const runs: number[][] = [];
  for (const slot of buckets) {
    const last = runs.at(-1);
    if (last !== undefined && last[0] === slot) last[1]++;
    else runs.push([slot, 1]);
  }
  return runs;
}

/** Undefined if the runs are not an assignment to `slots` slots. */
export function decodeBuckets(runs: readonly (readonly number[])[], slots: number): Uint8Array | undefined {
  const buckets = new Uint8Array(BUCKETS);
  let at = 0;
  for (const [slot, length] of runs) {
    const sound = Number.isInteger(slot) && slot >= 0 && slot < slots && Number.isInteger(length) && length > 0;
    if (!sound || at + length > BUCKETS) return undefined;
    buckets.fill(slot, at, at + length);
    at += length;
  }
  return at === BUCKETS ? buckets : undefined;
}
