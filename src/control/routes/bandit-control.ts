import type { RouteSpec } from '../../config/route-schema.ts';
import type { BanditSpec } from '../../config/strategy-schema.ts';
import { isContextual, makeSnapshot } from '../../routing/policies/snapshot.ts';
import {
  type ArmSums,
  type EpochSums,
  fold,
  keepPerEpoch,
  noSums,
  replacedVersion,
  type Totals,
} from '../../routing/policies/statistics.ts';
import type { Contribution } from './contribution.ts';
import type { Standing } from './standing.ts';

/** Finished epochs whose sums may still be on their way from another gateway, and so are not folded for good yet. */
const LAG = 2;

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
    return known !== undefined && known !== '' && versions[arm] !== '' && known !== versions[arm];
  });
  const until = Math.max(before.epoch, replaced.includes(true) ? epoch : epoch - LAG);
  let totals = fold(before, data.epochs, until, keep);
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
  return { ...standing, totals, versions: known, state };
}

/** Totals that fit the bandit as it is now; new ones otherwise. */
function totalsOf({ totals }: Standing, bandit: BanditSpec, epoch: number): Totals {
  const dim = dimensionOf(bandit);
  const fits =
    totals !== undefined &&
    totals.arms.length === bandit.arms.length &&
    totals.arms.every(({ weighted }) => (weighted?.length ?? 0) === dim);
  if (fits && totals.epoch <= epoch + 1) return totals;
  return { epoch: epoch - LAG, arms: fits ? totals.arms : bandit.arms.map(() => noSums(dim)) };
}

/** Everything learnt so far, the running epoch included. */
function currentSums(totals: Totals, epochs: readonly EpochSums[], epoch: number, keep: number): ArmSums[] {
  return fold(totals, epochs, Math.max(totals.epoch, epoch + 1), keep).arms;
}

/** What the API shows. */
export function banditState(spec: RouteSpec, standing: Standing, data: Contribution, now: number): object | undefined {
  const bandit = spec.strategy.bandit;
  if (bandit === undefined) return undefined;
  const epoch = epochOf(bandit, now);
  const keep = keepPerEpoch(bandit.refresh, bandit.discount?.halfLife);
  const sums = currentSums(totalsOf(standing, bandit, epoch), data.epochs, epoch, keep);
  const { policy } = standing.state;
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
    feedback: Object.fromEntries(data.feedback),
  };
}
