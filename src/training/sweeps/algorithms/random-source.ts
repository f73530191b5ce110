import { createHash } from 'node:crypto';
import { uniformFloat64 } from 'pure-rand/distribution/uniformFloat64';
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus';

/** Uniform in [0, 1). */
export type Random = () => number;

/**
 * A source of its own for each trial of a sweep: what a trial is asked to try depends on the seed, its number and the
 * trials before it, and not on what the process drew meanwhile. So a restarted server goes on as the first would have.
 */
export function randomOf(seed: number, trial: number): Random {
  const digest = createHash('sha256').update(`${seed}/${trial}`).digest();
  const generator = xoroshiro128plus(digest.readInt32LE(0));
  // The low bits of a seed and of its neighbour are told apart after some steps.
  for (let i = 0; i < 16; i++) generator.next();
  return () => uniformFloat64(generator);
}

/** Index drawn with these weights, which sum to about 1. */
export function pick(weights: Float64Array, random: Random): number {
  let left = random();
  for (let i = 0; i < weights.length - 1; i++) {
    left -= weights[i];
    if (left < 0) return i;
  }
  return weights.length - 1;
}
