import type { RouteDocument } from '../../config/route-schema.ts';
import type { ExperimentSpec, RewardSpec } from '../../config/strategy-schema.ts';
import { addToCluster, type Clusters } from '../../experiments/statistics/clusters.ts';
import { NO_MOMENTS, withValue } from '../../experiments/statistics/moments.ts';
import type { LearningRecord } from '../../gateway/route-activity.ts';
import type { RouteState } from '../../routing/live-route.ts';
import { addReward, foldedTo, noEpoch } from '../../routing/policies/statistics.ts';
import { ERROR_TABLE } from '../../shared/errors.ts';
import { dimensionOf, epochOf } from './bandit-control.ts';
import { type Contribution, clusterKey, clustersIn, noContribution } from './contribution.ts';
import { clusteredMetrics, groupOf } from './experiment-control.ts';
import { isMeasured } from './experiment-versions.ts';
import { RewardJoin } from './reward-join.ts';
import { unjudgedState } from './stale-canary.ts';
import type { Standing } from './standing.ts';
import type { WaitingJournal } from './waiting-journal.ts';

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
  /** Why it could not be moved, as last told; '' = nothing stands in the way. */
  moveProblem: string;
  querying: boolean;
  /** Promoted by another gateway: threads get the state once the registry's aliases have been read since. */
  held: boolean;
  /** Percent that a canary's candidate gets here while nobody is there to judge it; undefined: what was decided. */
  unjudged: number | undefined;
  /** A canary's candidate is served by another version than its weight was decided for: it gets nothing. */
  unknown: boolean;
}

/** Epochs that are still told after they were folded, for a leader that has to go back to an earlier standing. */
const KEPT_EPOCHS = 10;

/**
 * @param node this gateway's name among those that count the route's traffic
 * @param journal where decisions that wait for rewards outlive the process
 */
export function newLive(
  document: RouteDocument,
  standing: Standing,
  node: string,
  journal?: (print: string) => WaitingJournal,
): LiveRoute {
  const { bandit } = document.spec.strategy;
  const rewards = rewardsOf(document);
  return {
    name: document.metadata.name,
    document,
    standing,
    own: nothingCounted(document, node),
    join:
      rewards === undefined
        ? undefined
        : new RewardJoin(rewards, bandit === undefined ? 0 : dimensionOf(bandit), undefined, journal?.(standing.print)),
    unsaved: true,
    stirred: false,
    lookedAt: 0,
    epoch: -1,
    moving: false,
    moveProblem: '',
    querying: false,
    held: false,
    unjudged: undefined,
    unknown: false,
  };
}

function nothingCounted({ spec }: RouteDocument, node: string): Contribution {
  const own = noContribution();
  if (spec.strategy.bandit !== undefined) own.epochs.push({ node, closed: 0, epochs: [] });
  return own;
}

/** What was counted so far is another gateway's, by name: this one counts anew. Decisions that wait for rewards go on. */
export function countUnder(live: LiveRoute, node: string): void {
  live.own = nothingCounted(live.document, node);
  live.join?.rename(node);
  noteLearnt(live);
}

/** Whose sums are put together: several gateways' of a route, as long as they have the same strategy. */
export function sumsName({ name, standing }: LiveRoute): string {
  return `${name}:${standing.print}`;
}

/** What threads go by. */
export function servedState({ document, standing, unjudged, unknown }: LiveRoute): RouteState {
  const weight = unknown ? 0 : unjudged;
  return weight === undefined ? standing.state : unjudgedState(document.spec, standing, weight);
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

/**
 * Takes in one decision, if it may be learnt from. Experiments count it for the arm it was assigned to, whoever
 * answered. A bandit learns the default reward of an arm that failed, though another variant answered after it: that
 * one's reward says nothing of the arm. Of a decision that was detoured otherwise it learns nothing.
 */
export function learnFrom(live: LiveRoute, record: LearningRecord): void {
  if (live.join === undefined || !record.analysed || record.status === 'cancelled') return;
  if (record.proposed !== undefined) count(live, record.proposed.variant === record.assigned ? 'agreed' : 'disagreed');
  const { experiment } = live.document.spec.strategy;
  if (experiment !== undefined) {
    const measured = isMeasured(live.standing, record.assigned, record.assignedVersion);
    countUnit(live, experiment, record, measured);
    if (!measured) {
      count(live, 'otherVersion');
      return;
    }
  }
  const detoured = experiment === undefined && record.assigned !== record.served;
  if (detoured && !record.failedOver) {
    count(live, 'detoured');
    return;
  }
  const arm = armNames(live.document).indexOf(record.assigned);
  if (arm >= 0)
    live.join.decided(record.id, record.time, {
      arm,
      context: record.features,
      failed: detoured,
      bucket: record.bucket,
      tenant: record.tenant,
      version: record.assignedVersion,
    });
}

/**
 * Notes which unit it was, and what it says of the metrics that are compared by cluster.
 *
 * @param measured false: of a version that is not compared. Its unit counts, or shares would look other than planned
 */
function countUnit(live: LiveRoute, experiment: ExperimentSpec, record: LearningRecord, measured: boolean): void {
  if (live.document.spec.unit === undefined || record.bucket < 0) return;
  live.stirred = true;
  if (record.unitHash >= 0)
    live.own.units.add(groupOf(Object.values(experiment.split), record.assigned), record.unitHash);
  if (!measured) return;
  for (const metric of clusteredMetrics(experiment)) {
    const value = clusteredValue(metric, record);
    if (value !== undefined) addToCluster(clustersOf(live, metric, record.assigned), record.bucket, value);
  }
}

/** Rewards come later. */
function clusteredValue(metric: string, record: LearningRecord): number | undefined {
  if (metric === 'latency.mean') return record.status === 'ok' ? record.latencyMs : undefined;
  if (metric !== 'errors') return undefined;
  if (record.failedOver) return 1;
  if (record.assigned !== record.served || record.status === 'overloaded') return undefined;
  if (record.status === 'ok') return 0;
  return ERROR_TABLE[record.status].http >= 500 ? 1 : undefined;
}

function clustersOf(live: LiveRoute, metric: string, arm: string): Clusters {
  return clustersIn(live.own.clusters, clusterKey(metric, arm));
}

/**
 * Learns what has waited long enough. A bandit learns nothing of a version that an arm had before: what was learnt of it
 * is a first guess by now, and its late rewards would pass for the new one's.
 *
 * @param served the versions that arms are served by now
 */
export function mature(live: LiveRoute, now: number, served: Readonly<Record<string, string>>): void {
  const { join, document, own } = live;
  if (join === undefined) return;
  const { bandit } = document.spec.strategy;
  const arms = armNames(document);
  const [node] = own.epochs;
  // A clock that is set back does not open an epoch again.
  const epoch = bandit === undefined ? 0 : Math.max(node.closed, epochOf(bandit, now));
  join.mature(now, ({ arm, context, bucket = -1, version = '' }, reward) => {
    live.stirred = true;
    if (bandit !== undefined && version !== served[arms[arm]] && !isMeasured(live.standing, arms[arm], version)) {
      count(live, 'otherVersion');
      return;
    }
    count(live, 'matured');
    if (bandit === undefined) {
      own.rewards.set(arms[arm], withValue(own.rewards.get(arms[arm]) ?? NO_MOMENTS, reward));
      if (document.spec.unit !== undefined && bucket >= 0)
        addToCluster(clustersOf(live, 'reward', arms[arm]), bucket, reward);
      return;
    }
    let sums = node.epochs.at(-1);
    if (sums === undefined || sums.epoch !== epoch) {
      sums = noEpoch(epoch, arms.length, dimensionOf(bandit));
      node.epochs.push(sums);
    }
    addReward(sums.arms[arm], reward, context);
  });
  if (bandit !== undefined) {
    node.closed = epoch;
    const kept = foldedTo(live.standing.totals, node.node) - KEPT_EPOCHS;
    if (node.epochs.length > 0 && node.epochs[0].epoch < kept)
      node.epochs = node.epochs.filter((sums) => sums.epoch >= kept);
  }
  if (join.lost > 0) own.feedback.set('lost', join.lost);
  noteLearnt(live);
}

function noteLearnt({ join, own }: LiveRoute): void {
  if (join !== undefined && join.owners.size === 0) own.learnt = join.learnt;
}

export function count(live: LiveRoute, what: string): void {
  live.own.feedback.set(what, (live.own.feedback.get(what) ?? 0) + 1);
}
