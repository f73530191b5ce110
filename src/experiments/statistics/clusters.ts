import { type Moments, variance } from './moments.ts';

/** Buckets of units are put together into so many clusters. */
export const CLUSTERS = 500;
/** With values of fewer clusters their spread is not known well enough to say anything. */
const LEAST_CLUSTERS = 20;

/**
 * Counts and sums of values by cluster of units. A unit's values resemble one another, but clusters are independent:
 * what the spread of their sums shows is what the mean really varies by. Adds up over gateways.
 */
export interface Clusters {
  counts: Float64Array;
  sums: Float64Array;
}

/** CLUSTERS clusters without a value. */
export function noClusters(): Clusters {
  return { counts: new Float64Array(CLUSTERS), sums: new Float64Array(CLUSTERS) };
}

/** Counts one value, in place. @param bucket of the unit, a whole number from 0 on */
export function addToCluster({ counts, sums }: Clusters, bucket: number, value: number): void {
  counts[bucket % CLUSTERS]++;
  sums[bucket % CLUSTERS] += value;
}

/** Adds those of another gateway, in place. */
export function addClusters(into: Clusters, other: Clusters): void {
  for (let i = 0; i < CLUSTERS; i++) {
    into.counts[i] += other.counts[i];
    into.sums[i] += other.sums[i];
  }
}

/**
 * Cluster-robust variance of the mean Σ sums / Σ counts, by linearisation (Deng et al. 2018): that of a ratio of two
 * means over m clusters. Undefined: too few clusters.
 */
export function clusteredVariance({ counts, sums }: Clusters): number | undefined {
  let m = 0;
  let n = 0;
  let sum = 0;
  for (let i = 0; i < counts.length; i++) {
    if (counts[i] === 0) continue;
    m++;
    n += counts[i];
    sum += sums[i];
  }
  if (m < LEAST_CLUSTERS) return undefined;
  let squares = 0;
  for (let i = 0; i < counts.length; i++) squares += (sums[i] - (sum / n) * counts[i]) ** 2;
  return ((m / (m - 1)) * squares) / (n * n);
}

/**
 * The moments of as many independent values as these are worth: the same mean and spread, and a count divided by the
 * design effect, which is never taken below 1. Without enough clusters they are worth nothing.
 */
export function effectiveMoments(moments: Moments, clusters: Clusters): Moments {
  const robust = clusteredVariance(clusters);
  const n = clusters.counts.reduce((total, count) => total + count, 0);
  if (robust === undefined) return { count: 0, sum: 0, sumSquares: 0 };
  const plain = variance(moments) / n;
  const worth = robust > plain && plain > 0 ? plain / robust : 1;
  const { count, sum, sumSquares } = moments;
  return { count: count * worth, sum: sum * worth, sumSquares: sumSquares * worth };
}

/** Base64 of counts, then sums. */
export function encodeClusters({ counts, sums }: Clusters): string {
  return Buffer.from(Float64Array.of(...counts, ...sums).buffer).toString('base64');
}

/** As `encodeClusters` wrote them. Clusters whose sums the text does not reach stay empty. */
export function decodeClusters(text: string): Clusters {
  const bytes = Buffer.from(text, 'base64');
  const clusters = noClusters();
  for (let i = 0; i < CLUSTERS && (CLUSTERS + i + 1) * 8 <= bytes.length; i++) {
    clusters.counts[i] = bytes.readDoubleLE(i * 8);
    clusters.sums[i] = bytes.readDoubleLE((CLUSTERS + i) * 8);
  }
  return clusters;
}
