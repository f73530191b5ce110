import type { BanditSpec, PolicyName } from '../../config/strategy-schema.ts';
import { epsilonGreedy, thompsonBeta, thompsonGaussian, ucb1 } from './context-free.ts';
import { type ContextualScratch, contextualScratch, linThompson, linUcb } from './contextual.ts';
import { withFloor } from './distribution.ts';
import { type LinearArm, linearArm } from './linear-arm.ts';
import type { ArmSums } from './statistics.ts';

/**
 * What the leader publishes and gateways decide with: either the distribution itself, or the matrices that give it per
 * request. JSON as it is.
 */
export interface PolicySnapshot {
  /** Grows with each; a decision names it. */
  version: number;
  /** Milliseconds since 1970, by the leader's clock; the reader judges staleness. */
  createdAt: number;
  policy: PolicyName;
  arms: string[];
  floor: number;
  /** Context-free policies: floored already. */
  pmf?: number[];
  /** Contextual policies. */
  linear?: { exploration: number; arms: { theta: number[]; inverse: number[] }[] };
}

type PolicySpec = Pick<
  BanditSpec,
  'policy' | 'arms' | 'context' | 'epsilon' | 'exploration' | 'regularisation' | 'floor'
> & {
  reward: Pick<BanditSpec['reward'], 'range'>;
};

/** Whether the distribution depends on the request. */
export function isContextual(policy: PolicyName): boolean {
  return policy === 'linUCB' || policy === 'linThompson';
}

/**
 * What a policy has learnt from the sums of its arms, in the order of `spec.arms`. Throws RangeError as linearArm does.
 * @param createdAt milliseconds since 1970
 */
export function makeSnapshot(
  spec: PolicySpec,
  arms: readonly ArmSums[],
  version: number,
  createdAt: number,
): PolicySnapshot {
  const { policy, floor } = spec;
  const common = { version, createdAt, policy, arms: spec.arms, floor };
  const dim = spec.context?.dim;
  if (!isContextual(policy) || dim === undefined) {
    return { ...common, pmf: Array.from(withFloor(contextFree(spec, arms), floor)) };
  }
  const fitted = arms.map((sums) => {
    const { theta, inverse } = linearArm(sums, dim, spec.regularisation);
    return { theta: Array.from(theta), inverse: Array.from(inverse) };
  });
  return { ...common, linear: { exploration: spec.exploration, arms: fitted } };
}

function contextFree(spec: PolicySpec, arms: readonly ArmSums[]): Float64Array {
  switch (spec.policy) {
    case 'epsilonGreedy':
      return epsilonGreedy(arms, spec.epsilon);
    case 'ucb1':
      return ucb1(arms, spec.exploration);
    case 'thompsonGaussian':
      return thompsonGaussian(arms, spec.reward.range);
    default:
      return thompsonBeta(arms);
  }
}

/** A snapshot made ready for deciding. */
export interface LoadedPolicy {
  snapshot: PolicySnapshot;
  /** The distribution of context-free policies; of contextual ones the last computed. */
  pmf: Float64Array;
  linear: LinearArm[] | undefined;
  scratch: ContextualScratch;
}

/** Copies a snapshot into memory for deciding. Without a distribution, arms begin as equally likely. */
export function loadPolicy(snapshot: PolicySnapshot): LoadedPolicy {
  const linear = snapshot.linear?.arms.map(({ theta, inverse }) => ({
    theta: Float64Array.from(theta),
    inverse: Float64Array.from(inverse),
  }));
  const count = snapshot.arms.length;
  return {
    snapshot,
    linear,
    pmf: snapshot.pmf === undefined ? new Float64Array(count).fill(1 / count) : Float64Array.from(snapshot.pmf),
    scratch: contextualScratch(count, linear?.[0]?.theta.length ?? 0),
  };
}

/** The floored distribution over the arms for a request. Overwritten by the next call. */
export function policyPmf(loaded: LoadedPolicy, x: Float64Array | undefined): Float64Array {
  const { linear, snapshot, scratch, pmf } = loaded;
  if (linear === undefined || x === undefined) return pmf;
  const exploration = snapshot.linear?.exploration ?? 1;
  if (snapshot.policy === 'linUCB') linUcb(linear, x, exploration, scratch, pmf);
  else linThompson(linear, x, exploration, scratch, pmf);
  return withFloor(pmf, snapshot.floor);
}
