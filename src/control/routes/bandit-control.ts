import type { RouteSpec } from '../../config/route-schema.ts';
import type { BanditSpec } from '../../config/strategy-schema.ts';
import { bernoulliInterval } from '../../experiments/statistics/bernoulli.ts';
import { isContextual, makeSnapshot } from '../../routing/policies/snapshot.ts';
import {
  type ArmSums,
  fold,
  forgetNodes,
  keepPerEpoch,
  NO_EPOCH,
  type NodeEpochs,
  noSums,
  replacedVersion,
  type Totals,
} from '../../routing/policies/statistics.ts';
import type { Contribution } from './contribution.ts';
import type { Standing } from './standing.ts';

/** A gateway that is gone leaves its last epoch open; nothing is added to one of so long ago. */
const ABANDONED_MS = 1_800_000;
/** What is known of a node's folded epochs is kept so long after it was last told of. */
const FORGOTTEN_MS = 4 * ABANDONED_MS;
/** Decisions at which the interval of an apprentice's agreement is tuned to be tightest. */
const AGREEMENT_TUNED_TO = 1000;

export function epochOf(bandit: BanditSpec, now: number): number {
  return Math.floor(now / bandit.refresh);
}

export function dimensionOf(bandit: BanditSpec): number {
  return isContextual(bandit.policy) ? (bandit.context?.dim ?? 0) : 0;
}

/**
 * What a bandit learns once per refresh: epochs that are over are folded into the totals, arms whose version was
 * replaced trust their past less, and everybody decides by a new snapshot from then on.
 */
export function learnBandit(
  spec: RouteSpec,
  standing: Standing,
  data: Contribution,
  versions: Record<string, string>,
  now: number,
): Standing {
  const bandit = spec.strategy.bandit as BanditSpec;
  const epoch = epochOf(bandit, now);
  const keep = keepPerEpoch(bandit.refresh, bandit.discount?.halfLife);
  const before = totalsOf(standing, bandit, epoch);
  const replaced = bandit.arms.map((arm) => {
    const known = standing.versions?.[arm];
    if (known === undefined || known === '' || versions[arm] === '') return false;
    const { model } = spec.variants[arm];
    // Another model's version is another one, though it has the same number.
    return known !== versions[arm] || (standing.models?.[arm] ?? model) !== model;
  });
  const abandoned = epoch - Math.ceil(ABANDONED_MS / bandit.refresh);
  // What comes after the one that was left open is not told yet: it counts should the gateway be back.
  let totals = fold(before, data.epochs, Math.max(before.epoch, epoch), keep, ({ closed }) =>
    closed < abandoned ? closed + 1 : closed,
  );
  const forgotten = epoch - Math.ceil(FORGOTTEN_MS / bandit.refresh);
  totals = forgetNodes(totals, data.epochs, forgotten);
  if (replaced.includes(true)) {
    const arms = totals.arms.map((sums, k) => (replaced[k] ? replacedVersion(sums, bandit.priorStrength) : sums));
    totals = { ...totals, arms };
  }
  const current = currentSums(totals, data.epochs, epoch, keep);
  const version = (standing.state.policy?.version ?? 0) + 1;
  const state = {
    ...standing.state,
    version: standing.state.version + 1,
    policy: makeSnapshot(bandit, current, version, now),
  };
  const known = Object.fromEntries(bandit.arms.map((arm) => [arm, versions[arm] || (standing.versions?.[arm] ?? '')]));
  const models = Object.fromEntries(
    bandit.arms.map((arm) => {
      const { model } = spec.variants[arm];
      return [arm, versions[arm] === '' ? (standing.models?.[arm] ?? model) : model];
    }),
  );
  return { ...standing, totals, versions: known, models, state };
}

/** Totals that fit the bandit as it is now; new ones otherwise. */
function totalsOf({ totals }: Standing, bandit: BanditSpec, epoch: number): Totals {
  const dim = dimensionOf(bandit);
  const fits =
    totals !== undefined &&
    totals.arms.length === bandit.arms.length &&
    totals.arms.every(({ weighted }) => (weighted?.length ?? 0) === dim);
  if (!fits) return { epoch, arms: bandit.arms.map(() => noSums(dim)), folded: {} };
  return totals.epoch !== NO_EPOCH && totals.epoch <= epoch + 1 ? totals : { ...totals, epoch };
}

/** Everything learnt so far, the running epoch included. */
function currentSums(totals: Totals, nodes: readonly NodeEpochs[], epoch: number, keep: number): ArmSums[] {
  return fold(totals, nodes, Math.max(totals.epoch, epoch + 1), keep, () => Number.POSITIVE_INFINITY).arms;
}

/** What the API shows. */
export function banditState(spec: RouteSpec, standing: Standing, data: Contribution, now: number): object | undefined {
  const bandit = spec.strategy.bandit;
  if (bandit === undefined) return undefined;
  const epoch = epochOf(bandit, now);
  const keep = keepPerEpoch(bandit.refresh, bandit.discount?.halfLife);
  const sums = currentSums(totalsOf(standing, bandit, epoch), data.epochs, epoch, keep);
  const { policy } = standing.state;
  const { agreed = 0, disagreed = 0, ...feedback } = Object.fromEntries(data.feedback);
  return {
    policy: bandit.policy,
    mode: bandit.mode,
    snapshot: policy?.version ?? null,
    created_at: policy?.createdAt ?? null,
    arms: bandit.arms.map((name, k) => ({
      name,
      probability: policy?.pmf?.[k] ?? null,
      rewards: sums[k].count,
      mean: sums[k].count === 0 ? null : sums[k].sum / sums[k].count,
      version: standing.versions?.[name] ?? '',
    })),
    ...(bandit.mode === 'apprentice' ? { apprentice: agreement(agreed, disagreed) } : {}),
    feedback,
  };
}

/** How often an apprentice would have served what was served, with its 95 % interval, valid at all looks at once. */
function agreement(agreed: number, disagreed: number): object {
  const decisions = agreed + disagreed;
  const { low, high } = bernoulliInterval(agreed, decisions, 0.05, AGREEMENT_TUNED_TO);
  return { decisions, agreement: decisions === 0 ? null : agreed / decisions, low, high };
}
