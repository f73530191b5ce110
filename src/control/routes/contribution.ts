import { addMoments, type Moments, NO_MOMENTS } from '../../experiments/statistics/moments.ts';
import { BUCKETS } from '../../routing/buckets.ts';
import type { EpochSums } from '../../routing/policies/statistics.ts';
import { addSums, decodeSums, type EncodedSums, encodeSums, noRouteSums, type RouteSums } from './ledger.ts';

/**
 * What one gateway knows of a route's traffic. All of it only grows, so that publishing it again is harmless, and
 * several gateways' (or one's from before and after a restart) are put together in any order.
 */
export interface Contribution {
  sums: RouteSums;
  /** Bandits: matured rewards of epochs that are not folded into the totals yet. */
  epochs: EpochSums[];
  /** Experiments: matured rewards by variant. */
  rewards: Map<string, Moments>;
  /** Experiments: buckets that were seen, by variant. */
  seen: Map<string, Uint8Array>;
  /** Decisions and rewards by what became of them. */
  feedback: Map<string, number>;
}

/** JSON as it is. */
export interface EncodedContribution {
  sums: EncodedSums;
  epochs: EpochSums[];
  rewards: [string, Moments][];
  /** Bits, in base64. */
  seen: [string, string][];
  feedback: [string, number][];
}

export function noContribution(): Contribution {
  return { sums: noRouteSums(), epochs: [], rewards: new Map(), seen: new Map(), feedback: new Map() };
}

export function merge(parts: readonly Contribution[]): Contribution {
  const all = noContribution();
  for (const part of parts) {
    addSums(all.sums, part.sums);
    all.epochs.push(...part.epochs);
    for (const [name, moments] of part.rewards)
      all.rewards.set(name, addMoments(all.rewards.get(name) ?? NO_MOMENTS, moments));
    for (const [name, buckets] of part.seen) {
      const into = all.seen.get(name) ?? new Uint8Array(BUCKETS);
      for (let i = 0; i < BUCKETS; i++) into[i] |= buckets[i];
      all.seen.set(name, into);
    }
    for (const [name, count] of part.feedback) all.feedback.set(name, (all.feedback.get(name) ?? 0) + count);
  }
  return all;
}

export function encodeContribution(part: Contribution): EncodedContribution {
  return {
    sums: encodeSums(part.sums),
    epochs: part.epochs,
    rewards: [...part.rewards],
    seen: [...part.seen].map(([name, buckets]) => [name, toBits(buckets)]),
    feedback: [...part.feedback],
  };
}

export function decodeContribution(part: EncodedContribution): Contribution {
  return {
    sums: decodeSums(part.sums),
    epochs: part.epochs,
    rewards: new Map(part.rewards),
    seen: new Map(part.seen.map(([name, bits]) => [name, fromBits(bits)])),
    feedback: new Map(part.feedback),
  };
}

function toBits(buckets: Uint8Array): string {
  const bytes = new Uint8Array(Math.ceil(BUCKETS / 8));
  for (let i = 0; i < BUCKETS; i++) if (buckets[i] !== 0) bytes[i >> 3] |= 1 << (i & 7);
  return Buffer.from(bytes).toString('base64');
}

function fromBits(text: string): Uint8Array {
  const bytes = Buffer.from(text, 'base64');
  const buckets = new Uint8Array(BUCKETS);
  for (let i = 0; i < BUCKETS; i++) buckets[i] = ((bytes[i >> 3] ?? 0) >> (i & 7)) & 1;
  return buckets;
}
