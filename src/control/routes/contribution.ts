import { addMoments, type Moments, NO_MOMENTS } from '../../experiments/statistics/moments.ts';
import { BUCKETS } from '../../routing/buckets.ts';
import type { NodeEpochs, Totals } from '../../routing/policies/statistics.ts';
import { addSums, decodeSums, type EncodedSums, encodeSums, noRouteSums, type RouteSums } from './ledger.ts';

/**
 * What one gateway knows of a route's traffic. All of it only grows, so that publishing it again is harmless, and
 * several gateways' (or one's from before and after a restart) are put together in any order.
 */
export interface Contribution {
  sums: RouteSums;
  /** Bandits: matured rewards, a node's own or those of several. */
  epochs: NodeEpochs[];
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
  epochs: NodeEpochs[];
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
    for (const node of part.epochs) addNode(all.epochs, node);
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

/** A node that was restarted under its name goes on with what it had. */
function addNode(nodes: NodeEpochs[], { node, closed, epochs }: NodeEpochs): void {
  const at = nodes.findIndex((known) => known.node === node);
  if (at < 0) nodes.push({ node, closed, epochs });
  else {
    const known = nodes[at];
    nodes[at] = { node, closed: Math.max(known.closed, closed), epochs: [...known.epochs, ...epochs] };
  }
}

/** Without the epochs that are in the totals. */
export function withoutFolded(part: Contribution, totals: Totals | undefined): Contribution {
  const epochs = part.epochs.map((node) => {
    const from = totals?.folded[node.node] ?? 0;
    return { ...node, epochs: node.epochs.filter(({ epoch }) => epoch >= from) };
  });
  return { ...part, epochs };
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
