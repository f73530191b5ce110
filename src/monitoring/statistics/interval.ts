import { uniformFloat64 } from 'pure-rand/distribution/uniformFloat64';
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus';

export interface Interval {
  low: number;
  high: number;
}

type Random = () => number;
type Effect = (reference: readonly number[], current: readonly number[]) => number;

export function seededRandom(seed: number): Random {
  const generator = xoroshiro128plus(seed);
  for (let i = 0; i < 16; i++) generator.next();
  return () => uniformFloat64(generator);
}

/** How often each bin comes in a sample of the same size, drawn with the sample's own shares. */
function resample(counts: readonly number[], random: Random): number[] {
  const total = counts.reduce((sum, count) => sum + count, 0);
  const ends: number[] = [];
  let end = 0;
  for (const count of counts) {
    end += count;
    ends.push(end);
  }
  const drawn = new Array<number>(counts.length).fill(0);
  for (let i = 0; i < total; i++) {
    const at = random() * total;
    let low = 0;
    let high = ends.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (ends[middle] > at) high = middle;
      else low = middle + 1;
    }
    drawn[low]++;
  }
  return drawn;
}

/**
 * 95 % interval of an effect by the bootstrap, both samples drawn anew. Distances of samples are larger than those of
 * what they were drawn from; the interval is the basic one, mirrored at the estimate, and so corrects for that.
 */
export function effectInterval(
  effect: Effect,
  reference: readonly number[],
  current: readonly number[],
  { draws = 200, seed = 1 } = {},
): Interval {
  const random = seededRandom(seed);
  const estimate = effect(reference, current);
  const found: number[] = [];
  for (let i = 0; i < draws; i++) found.push(effect(resample(reference, random), resample(current, random)));
  found.sort((a, b) => a - b);
  const at = (share: number): number => found[Math.min(draws - 1, Math.max(0, Math.round(share * (draws - 1))))];
  return { low: Math.max(0, 2 * estimate - at(0.975)), high: Math.max(0, 2 * estimate - at(0.025)) };
}
