import { bucketOf, encodeHistogram, newHistogram } from './latency-histogram.ts';

/** Latencies that are kept one by one before a whole histogram is worth its memory. */
const FEW = 256;

/**
 * A histogram that costs little while it holds little: traffic spread over thousands of slices leaves one or two
 * latencies in each between two reports, and an array of all buckets for each would cost more than answering does.
 */
export class LatencyTally {
  private few: number[] = [];
  private many: Float64Array | undefined;

  /** Counts one latency. */
  record(milliseconds: number): void {
    const bucket = bucketOf(milliseconds);
    if (this.many !== undefined) {
      this.many[bucket]++;
      return;
    }
    this.few.push(bucket);
    if (this.few.length < FEW) return;
    this.many = newHistogram();
    for (const each of this.few) this.many[each]++;
    this.few = [];
  }

  /** Forgets all of them. */
  clear(): void {
    this.few.length = 0;
    this.many = undefined;
  }

  /** As encodeHistogram. */
  encode(): number[][] {
    if (this.many !== undefined) return encodeHistogram(this.many);
    const runs: number[][] = [];
    let last = Number.NEGATIVE_INFINITY;
    for (const bucket of this.few.sort((a, b) => a - b)) {
      const run = runs.at(-1);
      if (run !== undefined && bucket === last) run[run.length - 1]++;
      else if (run !== undefined && bucket === last + 1) run.push(1);
      else runs.push([bucket, 1]);
      last = bucket;
    }
    return runs;
  }
}
