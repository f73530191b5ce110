import type { Interval } from './bernoulli.ts';
import { BUCKETS, RATIO } from './latency-histogram.ts';
import { leastEvidence, type QuantileTest, type Valley, valley } from './quantile.ts';

/** A histogram prepared for comparison: values below each bucket's lower bound, and where its quantile may be. */
export interface PreparedArm {
  /** BUCKETS + 1 long. */
  below: Float64Array;
  valley: Valley;
  /** The bucket that holds the valley. */
  bucket: number;
}

/** @param histogram as of latency-histogram.ts; one that is shorter ends in empty buckets */
export function prepareArm(histogram: ArrayLike<number>, test: QuantileTest): PreparedArm {
  const below = new Float64Array(BUCKETS + 1);
  for (let i = 0; i < BUCKETS; i++) below[i + 1] = below[i] + (histogram[i] ?? 0);
  const lowest = valley(below[BUCKETS], test);
  let bucket = 0;
  while (bucket < BUCKETS - 1 && below[bucket + 1] <= lowest.share * lowest.count) bucket++;
  return { below, valley: lowest, bucket };
}

/**
 * Evidence against "quantile(b) = ratio · quantile(a)": the product of both arms' mixtures at the thresholds it speaks
 * least against. Where inside a bucket a threshold lies is unknown: the least over the bucket counts, so buckets can
 * only weaken the evidence, never invent it.
 */
export function logQuantileEvidence(a: PreparedArm, b: PreparedArm, ratio: number, test: QuantileTest): number {
  const shift = Math.log(ratio) / Math.log(RATIO);
  const other = Math.round(b.bucket - shift);
  const first = Math.max(0, Math.min(a.bucket, other) - 1);
  const last = Math.min(BUCKETS - 1, Math.max(a.bucket, other) + 1);
  let least = Number.POSITIVE_INFINITY;
  for (let i = first; i <= last; i++) {
    const one = leastEvidence(a.below[i], a.below[i + 1], a.valley, test);
    const low = clamp(Math.floor(i + shift + 1e-9));
    const high = clamp(Math.ceil(i + 1 + shift - 1e-9));
    const two = leastEvidence(b.below[low], b.below[high], b.valley, test);
    least = Math.min(least, one + two);
  }
  return least;
}

/** A (1 − α) confidence sequence for quantile(b) / quantile(a), in steps of a bucket. */
export function quantileRatioSequence(a: PreparedArm, b: PreparedArm, alpha: number, test: QuantileTest): Interval {
  const threshold = Math.log(1 / alpha);
  const middle = b.bucket - a.bucket;
  const rejected = (shift: number) => logQuantileEvidence(a, b, RATIO ** shift, test) > threshold;
  const edge = (direction: -1 | 1) => {
    let inside = 0;
    let outside = 1;
    // Doubling, then halving: the evidence grows with the distance.
    while (outside < BUCKETS && !rejected(middle + direction * outside)) {
      inside = outside;
      outside *= 2;
    }
    if (outside >= BUCKETS) return direction === 1 ? Number.POSITIVE_INFINITY : 0;
    while (outside - inside > 1) {
      const between = (inside + outside) >> 1;
      if (rejected(middle + direction * between)) outside = between;
      else inside = between;
    }
    return RATIO ** (middle + direction * outside);
  };
  return { low: edge(-1), high: edge(1) };
}

function clamp(bucket: number): number {
  return Math.min(Math.max(bucket, 0), BUCKETS);
}
