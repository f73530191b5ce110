/**
 * What policies learn from: sums per arm. Each node counts its own rewards by epoch; these only grow, so publishing
 * them again is harmless, and several nodes' add up in any order. One leader folds finished epochs into the totals,
 * discounting what is older.
 */
export interface ArmSums {
  count: number;
  sum: number;
  sumSquares: number;
  /** Contextual policies: Σ x xᵀ, row by row, and Σ reward · x. */
  outer?: number[];
  weighted?: number[];
}

/** One node's rewards within one epoch. JSON as it is. */
export interface EpochSums {
  epoch: number;
  arms: ArmSums[];
}

/** All of one node's rewards that may not be in the totals yet. JSON as it is. */
export interface NodeEpochs {
  node: string;
  /** The node adds nothing to epochs before this one any more. */
  closed: number;
  epochs: EpochSums[];
}

/** Of totals that no epochs were counted by yet: they are as of now. */
export const NO_EPOCH = -1;

/** The leader's totals as of the beginning of `epoch`. JSON as it is. */
export interface Totals {
  epoch: number;
  arms: ArmSums[];
  /** By node, the epoch before which its sums are in. */
  folded: Record<string, number>;
  /** The same of nodes that are forgotten: of each of them no later one was in. */
  forgotten?: number;
}

/** Sums of no reward. @param dim length of contexts; 0: without one */
export function noSums(dim = 0): ArmSums {
  const sums: ArmSums = { count: 0, sum: 0, sumSquares: 0 };
  if (dim === 0) return sums;
  return { ...sums, outer: new Array<number>(dim * dim).fill(0), weighted: new Array<number>(dim).fill(0) };
}

/** An epoch without a reward, of so many arms. @param dim as of noSums */
export function noEpoch(epoch: number, arms: number, dim = 0): EpochSums {
  return { epoch, arms: Array.from({ length: arms }, () => noSums(dim)) };
}

/** Adds one matured reward, in place. `x` is the context that the decision was made with. */
export function addReward(sums: ArmSums, reward: number, x?: ArrayLike<number>): void {
  sums.count++;
  sums.sum += reward;
  sums.sumSquares += reward * reward;
  if (x === undefined || sums.outer === undefined || sums.weighted === undefined) return;
  const dim = sums.weighted.length;
  for (let i = 0; i < dim; i++) {
    if (x[i] === 0) continue;
    sums.weighted[i] += reward * x[i];
    for (let j = 0; j < dim; j++) sums.outer[i * dim + j] += x[i] * x[j];
  }
}

/** a + factor · b, of whichever shape either has. */
export function addSums(a: ArmSums, b: ArmSums, factor = 1): ArmSums {
  const result: ArmSums = {
    count: a.count + factor * b.count,
    sum: a.sum + factor * b.sum,
    sumSquares: a.sumSquares + factor * b.sumSquares,
  };
  const outer = addLists(a.outer, b.outer, factor);
  const weighted = addLists(a.weighted, b.weighted, factor);
  if (outer !== undefined) result.outer = outer;
  if (weighted !== undefined) result.weighted = weighted;
  return result;
}

function addLists(a: number[] | undefined, b: number[] | undefined, factor: number): number[] | undefined {
  if (b === undefined) return a;
  if (a === undefined) return b.map((value) => factor * value);
  return a.map((value, i) => value + factor * b[i]);
}

/**
 * The totals at the beginning of `epoch`: each node's sums of the epochs before `until(node)` folded in, `keep` times
 * less per epoch of age. What is folded already is passed over, and how late a node's sums arrive makes no difference.
 * Sums of another number of arms are of another bandit, and left out.
 */
export function fold(
  totals: Totals,
  nodes: readonly NodeEpochs[],
  epoch: number,
  keep: number,
  until: (node: NodeEpochs) => number,
): Totals {
  const aged = keep ** (epoch - totals.epoch);
  let arms = totals.arms.map((sums) => addSums(noSums(), sums, aged));
  const folded = { ...totals.folded };
  for (const node of nodes) {
    const from = foldedTo(totals, node.node);
    const end = until(node);
    for (const sums of node.epochs) {
      if (sums.epoch < from || sums.epoch >= end || sums.arms.length !== arms.length) continue;
      // A node whose clock is fast is not worth more for that.
      const age = keep ** Math.max(0, epoch - 1 - sums.epoch);
      arms = arms.map((arm, k) => addSums(arm, sums.arms[k], age));
    }
    folded[node.node] = Math.max(from, end);
  }
  return { ...totals, epoch, arms, folded };
}

/** The epoch before which a node's sums are in. Of one that is not known (any more) they may be: rather none than twice. */
export function foldedTo(totals: Totals | undefined, node: string): number {
  return totals?.folded[node] ?? totals?.forgotten ?? 0;
}

/** Without the nodes that nothing is told of any more, and of which nothing since `before` is in. */
export function forgetNodes(totals: Totals, told: readonly NodeEpochs[], before: number): Totals {
  const names = new Set(told.map(({ node }) => node));
  const isGone = ([node, epoch]: [string, number]): boolean => epoch <= before && !names.has(node);
  const all = Object.entries(totals.folded);
  const gone = all.filter(isGone).map(([, epoch]) => epoch);
  if (gone.length === 0) return totals;
  const folded = Object.fromEntries(all.filter((entry) => !isGone(entry)));
  return { ...totals, folded, forgotten: Math.max(totals.forgotten ?? 0, ...gone) };
}

/** Per-epoch factor of a half-life. */
export function keepPerEpoch(epochMs: number, halfLifeMs: number | undefined): number {
  return halfLifeMs === undefined ? 1 : 0.5 ** (epochMs / halfLifeMs);
}

/** A new version in an arm: its mean is kept as a first guess, worth at most `strength` rewards. */
export function replacedVersion(sums: ArmSums, strength: number): ArmSums {
  return addSums(noSums(), sums, sums.count > strength ? strength / sums.count : 1);
}
