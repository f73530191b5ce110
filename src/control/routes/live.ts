import type { RouteDocument } from '../../config/route-schema.ts';
import type { RewardSpec } from '../../config/strategy-schema.ts';
import { NO_MOMENTS, withValue } from '../../experiments/statistics/moments.ts';
import type { LearningRecord } from '../../gateway/route-activity.ts';
import { BUCKETS } from '../../routing/buckets.ts';
import { addReward, noEpoch } from '../../routing/policies/statistics.ts';
import { dimensionOf, epochOf } from './bandit-control.ts';
import { type Contribution, noContribution } from './contribution.ts';
import { seenKey } from './experiment-control.ts';
import { RewardJoin } from './reward-join.ts';
import type { Standing } from './standing.ts';

/** A route while it runs: what it is, where it stands, and what this gateway has seen of it. */
export interface LiveRoute {
  name: string;
  document: RouteDocument;
  standing: Standing;
  own: Contribution;
  /** Bandits and experiments: decisions that wait for their rewards. */
  join: RewardJoin | undefined;
  /** The standing, or what was counted, is not in the database yet. */
  unsaved: boolean;
  /** What was counted since the last look. */
  stirred: boolean;
  lookedAt: number;
  epoch: number;
  /** An alias is being moved. */
  moving: boolean;
  /** Why it could not be moved, as last told. */
  moveProblem: string;
  querying: boolean;
}

export function newLive(document: RouteDocument, standing: Standing): LiveRoute {
  const { bandit } = document.spec.strategy;
  const rewards = rewardsOf(document);
  return {
    name: document.metadata.name,
    document,
    standing,
    own: noContribution(),
    join: rewards === undefined ? undefined : new RewardJoin(rewards, bandit === undefined ? 0 : dimensionOf(bandit)),
    unsaved: true,
    stirred: false,
    lookedAt: 0,
    epoch: -1,
    moving: false,
    moveProblem: '',
    querying: false,
  };
}

/** Whether somebody decides on what the route's traffic did. */
export function isControlled({ spec }: RouteDocument): boolean {
  return spec.strategy.weighted === undefined;
}

/** How rewards of its decisions are waited for; undefined: nothing learns from them. */
export function rewardsOf({ spec }: RouteDocument): RewardSpec | undefined {
  return (spec.strategy.bandit ?? spec.strategy.experiment)?.reward;
}

function armNames({ spec }: RouteDocument): string[] {
  return spec.strategy.bandit?.arms ?? Object.keys(spec.strategy.experiment?.split ?? {});
}

/** Takes in one decision, if it may be learnt from: another variant's answer says nothing of the assigned one. */
export function learnFrom(live: LiveRoute, record: LearningRecord): void {
  if (live.join === undefined || !record.analysed || record.status === 'cancelled') return;
  const { experiment } = live.document.spec.strategy;
  if (experiment !== undefined && record.bucket >= 0) {
    const key = seenKey(Object.values(experiment.split), record.assigned);
    let seen = live.own.seen.get(key);
    if (seen === undefined) {
      seen = new Uint8Array(BUCKETS);
      live.own.seen.set(key, seen);
    }
    seen[record.bucket] = 1;
    live.stirred = true;
  }
  if (record.assigned !== record.served) {
    count(live, 'detoured');
    return;
  }
  const arm = armNames(live.document).indexOf(record.assigned);
  if (arm >= 0) live.join.decided(record.id, record.time, { arm, context: record.context });
}

/** Learns what has waited long enough. */
export function mature(live: LiveRoute, now: number): void {
  const { join, document, own } = live;
  if (join === undefined) return;
  const { bandit } = document.spec.strategy;
  const arms = armNames(document);
  join.mature(now, ({ arm, context }, reward) => {
    live.stirred = true;
    count(live, 'matured');
    if (bandit === undefined) {
      own.rewards.set(arms[arm], withValue(own.rewards.get(arms[arm]) ?? NO_MOMENTS, reward));
      return;
    }
    const epoch = epochOf(bandit, now);
    let sums = own.epochs.at(-1);
    if (sums === undefined || sums.epoch !== epoch) {
      sums = noEpoch(epoch, arms.length, dimensionOf(bandit));
      own.epochs.push(sums);
    }
    addReward(sums.arms[arm], reward, context);
  });
  const folded = live.standing.totals?.epoch ?? 0;
  if (own.epochs.length > 0 && own.epochs[0].epoch < folded)
    own.epochs = own.epochs.filter(({ epoch }) => epoch >= folded);
  if (join.lost > 0) own.feedback.set('lost', join.lost);
}

export function count(live: LiveRoute, what: string): void {
  live.own.feedback.set(what, (live.own.feedback.get(what) ?? 0) + 1);
}
