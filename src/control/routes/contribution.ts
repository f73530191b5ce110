import {
  addClusters,
  type Clusters,
  decodeClusters,
  encodeClusters,
  noClusters,
} from '../../experiments/statistics/clusters.ts';
import { addMoments, type Moments, NO_MOMENTS } from '../../experiments/statistics/moments.ts';
import { type EncodedUnits, UnitSample } from '../../experiments/statistics/unit-sample.ts';
import { foldedTo, type NodeEpochs, type Totals } from '../../routing/policies/statistics.ts';
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
  /** Experiments whose units stick: values by cluster, by {@link clusterKey}. */
  clusters: Map<string, Clusters>;
  /** Experiments whose units stick: distinct units, by the weights they were first seen under and their arm. */
  units: UnitSample;
  /** Decisions and rewards by what became of them. */
  feedback: Map<string, number>;
  /** Of its waiting decisions, the first that is not in the sums (RewardJoin.learnt). */
  learnt: number;
}

/** JSON as it is. */
export interface EncodedContribution {
  sums: EncodedSums;
  epochs: NodeEpochs[];
  rewards: [string, Moments][];
  /** Absent in what an earlier version of the program has kept. */
  clusters?: [string, string][];
  units?: EncodedUnits;
  feedback: [string, number][];
  learnt?: number;
}

export function noContribution(): Contribution {
  return {
    sums: noRouteSums(),
    epochs: [],
    rewards: new Map(),
    clusters: new Map(),
    units: new UnitSample(),
    feedback: new Map(),
    learnt: 0,
  };
}

/** Where the values of a metric in an arm are summed up by cluster. */
export function clusterKey(metric: string, arm: string): string {
  return `${metric} ${arm}`;
}

/** The sums of a key, made where there are none yet. */
export function clustersIn(all: Map<string, Clusters>, key: string): Clusters {
  let clusters = all.get(key);
  if (clusters === undefined) {
    clusters = noClusters();
    all.set(key, clusters);
  }
  return clusters;
}

export function merge(parts: readonly Contribution[]): Contribution {
  const all = noContribution();
  for (const part of parts) {
    addSums(all.sums, part.sums);
    for (const node of part.epochs) addNode(all.epochs, node);
    for (const [name, moments] of part.rewards)
      all.rewards.set(name, addMoments(all.rewards.get(name) ?? NO_MOMENTS, moments));
    for (const [key, clusters] of part.clusters) addClusters(clustersIn(all.clusters, key), clusters);
    all.units.merge(part.units);
    // Parts of one gateway from before and after a restart; of several, nobody asks for it.
    all.learnt = Math.max(all.learnt, part.learnt);
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
    const from = foldedTo(totals, node.node);
    return { ...node, epochs: node.epochs.filter(({ epoch }) => epoch >= from) };
  });
  return { ...part, epochs };
}

export function encodeContribution(part: Contribution): EncodedContribution {
  return {
    sums: encodeSums(part.sums),
    epochs: part.epochs,
    rewards: [...part.rewards],
    clusters: [...part.clusters].map(([key, clusters]) => [key, encodeClusters(clusters)]),
    units: part.units.encode(),
    feedback: [...part.feedback],
    learnt: part.learnt,
  };
}

export function decodeContribution(part: EncodedContribution): Contribution {
  return {
    sums: decodeSums(part.sums),
    epochs: part.epochs,
    rewards: new Map(part.rewards),
    clusters: new Map((part.clusters ?? []).map(([key, text]) => [key, decodeClusters(text)])),
    units: UnitSample.decode(part.units ?? { level: 0, groups: [] }),
    feedback: new Map(part.feedback),
    learnt: part.learnt ?? 0,
  };
}
