import type { RouteSpec } from '../../config/route-schema.ts';
import type { BanditSpec } from '../../config/strategy-schema.ts';
import { restrict } from '../../routing/policies/distribution.ts';
import {
  isContextual,
  type LoadedPolicy,
  loadPolicy,
  makeSnapshot,
  policyPmf,
} from '../../routing/policies/snapshot.ts';
import { type ArmSums, addReward, addSums, keepPerEpoch, noSums } from '../../routing/policies/statistics.ts';

/** One logged decision as a policy sees it. */
export interface PolicyInput {
  time: number;
  /** Names of the variants that could be served; empty: all. */
  eligible: readonly string[];
  context: Float64Array | undefined;
  /** What the log then did and got. */
  variant: string;
  reward: number;
}

/** The policy that is evaluated. Decisions come in the order of their times. */
export interface TargetPolicy {
  readonly arms: readonly string[];
  /** Its distribution over the arms for this decision, before it learns from it. */
  distribution(input: PolicyInput): Float64Array;
}

/** A distribution that stays as it is. `weights` need not add up to 1. Throws RangeError. */
export function fixedPolicy(weights: Readonly<Record<string, number>>): TargetPolicy {
  const arms = Object.keys(weights);
  const pmf = Object.values(weights);
  if (!pmf.some((weight) => weight > 0) || pmf.some((weight) => !(weight >= 0)))
    throw new RangeError(`weights ${JSON.stringify(weights)}: none may be below 0, and one must be above`);
  return { arms, distribution: ({ eligible }) => restricted(arms, pmf, eligible) };
}

/** What a route's strategy would do. A canary is its end: the candidate gets everything. */
export function policyOf({ strategy }: RouteSpec): TargetPolicy {
  const { weighted, experiment, canary, bandit } = strategy;
  if (bandit !== undefined) return new LearningPolicy(bandit);
  if (canary !== undefined) return fixedPolicy({ [canary.stable]: 0, [canary.candidate]: 1 });
  return fixedPolicy(weighted ?? experiment?.split ?? {});
}

interface Waiting {
  due: number;
  arm: number;
  reward: number;
  context: Float64Array | undefined;
}

/**
 * A bandit as it would have learnt beside the log, in apprentice mode: a new snapshot each refresh, from the rewards
 * whose waiting time was over by then. It decides before it sees a decision's reward, so estimates stay unbiased.
 */
class LearningPolicy implements TargetPolicy {
  readonly arms: readonly string[];
  private readonly bandit: BanditSpec;
  private readonly keep: number;
  private sums: ArmSums[];
  private waiting: Waiting[] = [];
  private epoch = Number.NaN;
  private loaded: LoadedPolicy;

  constructor(bandit: BanditSpec) {
    this.bandit = bandit;
    this.arms = bandit.arms;
    this.keep = keepPerEpoch(bandit.refresh, bandit.discount?.halfLife);
    const dim = isContextual(bandit.policy) ? (bandit.context?.dim ?? 0) : 0;
    this.sums = bandit.arms.map(() => noSums(dim));
    this.loaded = loadPolicy(makeSnapshot(bandit, this.sums, 0, 0));
  }

  distribution({ time, eligible, context, variant, reward }: PolicyInput): Float64Array {
    const epoch = Math.floor(time / this.bandit.refresh);
    if (epoch !== this.epoch) this.refresh(epoch, time);
    const pmf = restricted(this.arms, policyPmf(this.loaded, context), eligible);
    const arm = this.arms.indexOf(variant);
    // Kept apart: the caller's vector may be written again.
    if (arm >= 0) this.waiting.push({ due: time + this.bandit.reward.wait, arm, reward, context: context?.slice() });
    return pmf;
  }

  private refresh(epoch: number, time: number): void {
    const passed = Number.isNaN(this.epoch) ? 0 : Math.max(0, epoch - this.epoch);
    if (this.keep < 1 && passed > 0) {
      const aged = this.keep ** passed;
      this.sums = this.sums.map((sums) => addSums(noSums(), sums, aged));
    }
    this.epoch = epoch;
    // In the order of their decisions, and all wait equally long.
    let ready = 0;
    for (; ready < this.waiting.length && this.waiting[ready].due <= time; ready++) {
      const { arm, reward, context } = this.waiting[ready];
      addReward(this.sums[arm], reward, context);
    }
    if (ready === 0 && passed === 0) return;
    this.waiting.splice(0, ready);
    this.loaded = loadPolicy(makeSnapshot(this.bandit, this.sums, epoch, time));
  }
}

/** Nobody eligible with a share: nothing is drawn, and the decision weighs nothing. */
function restricted(arms: readonly string[], pmf: ArrayLike<number>, eligible: readonly string[]): Float64Array {
  const out = new Float64Array(arms.length);
  if (!restrict(pmf, (k) => eligible.length === 0 || eligible.includes(arms[k]), out)) out.fill(0);
  return out;
}
