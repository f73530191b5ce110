import type { RouteSpec } from '../../config/route-schema.ts';
import type { ExperimentSpec } from '../../config/strategy-schema.ts';
import { type ArmData, compareArms, controlMean, controlOf } from '../../experiments/ab/results.ts';
import { noClusters } from '../../experiments/statistics/clusters.ts';
import { addHistogram, newHistogram } from '../../experiments/statistics/latency-histogram.ts';
import { NO_MOMENTS } from '../../experiments/statistics/moments.ts';
import { msprtPValue } from '../../experiments/statistics/msprt.ts';
import {
  lookAtRatio,
  lookAtUnits,
  NO_RATIO_EVIDENCE,
  type Period,
  ratioPValue,
  sampleRatioTest,
} from '../../experiments/statistics/sample-ratio.ts';
import { type Contribution, clusterKey } from './contribution.ts';
import { isMeasured } from './experiment-versions.ts';
import { sliceOf } from './ledger.ts';
import type { Standing } from './standing.ts';

/**
 * One look at an experiment. Its shares first: counted are distinct units where they stick to a variant, since one busy
 * user is no evidence against the split, and requests elsewhere. With shares that are not as planned, what was measured
 * says nothing about the variants.
 */
export function lookAtExperiment(spec: RouteSpec, standing: Standing, data: Contribution): Standing {
  const experiment = spec.strategy.experiment;
  if (experiment === undefined || standing.invalid !== undefined) return standing;
  const weights = Object.values(experiment.split);
  const ratio = standing.ratio ?? { evidence: NO_RATIO_EVIDENCE, weights, from: weights.map(() => 0) };
  const seen = spec.unit === undefined ? lookAtRequests(spec, ratio, data) : lookAtSample(spec, ratio, data);
  const next = { ...standing, ratio: seen, ...compared(spec, standing, data) };
  const p = ratioPValue(seen.evidence);
  if (p >= experiment.srm.alpha || experiment.srm.onFail !== 'invalidate') return next;
  const counts = countsOf(spec, data).join(':');
  const what = spec.unit === undefined ? 'decisions' : `distinct units${data.units.level > 0 ? ' in the sample' : ''}`;
  const invalid = `sample ratio mismatch: ${counts} ${what} for planned shares ${shares(ratio.weights)}, p = ${p.toPrecision(2)}`;
  return { ...next, invalid, state: { ...next.state, version: next.state.version + 1, analysed: false } };
}

type Ratio = NonNullable<Standing['ratio']>;

/** Requests under the weights in force; a new period's begin at 0. */
function lookAtRequests(spec: RouteSpec, ratio: Ratio, data: Contribution): Ratio {
  const weights = Object.values(spec.strategy.experiment?.split ?? {});
  const changed = weights.join() !== ratio.weights.join();
  const evidence = lookAtRatio(ratio.evidence, currentPeriod(spec, ratio, data), changed);
  return changed ? { evidence, weights, from: countsOf(spec, data) } : { ...ratio, evidence };
}

function currentPeriod(spec: RouteSpec, ratio: Ratio | undefined, data: Contribution): Period {
  const counts = countsOf(spec, data).map((count, arm) => Math.max(0, count - (ratio?.from[arm] ?? 0)));
  return { counts, weights: ratio?.weights ?? Object.values(spec.strategy.experiment?.split ?? {}) };
}

function lookAtSample(spec: RouteSpec, ratio: Ratio, data: Contribution): Ratio {
  const weights = Object.values(spec.strategy.experiment?.split ?? {});
  return { ...ratio, weights, evidence: lookAtUnits(ratio.evidence, data.units.level, groupsOf(spec, data)) };
}

/** Values of control before mSPRT's mixture is fixed, for good: one that follows the data would not be valid. */
const FIXED_AFTER = 100;

/** What a look finds of the arms: guardrails that are violated, and mSPRT's mixture and p-values, which never rise. */
function compared(spec: RouteSpec, standing: Standing, data: Contribution): Pick<Standing, 'msprt' | 'violated'> {
  const experiment = spec.strategy.experiment as ExperimentSpec;
  const arms = armsOf(spec, standing, data);
  const scale = standing.msprt?.scale ?? controlMean(experiment, arms, FIXED_AFTER);
  const { primary, guardrails } = compareArms(experiment, arms, scale);
  const violated = guardrails.flatMap(({ arm, metric, verdict }) => (verdict === 'violated' ? `${arm} ${metric}` : []));
  if (experiment.primary.test !== 'mSPRT' || scale === undefined) return { violated };
  const msprt = standing.msprt ?? { scale, p: {} };
  const p = primary.map(({ arm, log_likelihood_ratio: log }) => [arm, msprtPValue(msprt.p[arm] ?? 1, log ?? 0)]);
  return { violated, msprt: { ...msprt, p: Object.fromEntries(p) } };
}

/** Results as of now, as the API shows them. */
export function experimentResults(spec: RouteSpec, standing: Standing, data: Contribution): object | undefined {
  const experiment = spec.strategy.experiment;
  if (experiment === undefined) return undefined;
  const arms = armsOf(spec, standing, data);
  const counts = countsOf(spec, data);
  const { primary, guardrails } = compareArms(experiment, arms, standing.msprt?.scale);
  const verdict =
    standing.invalid !== undefined
      ? 'invalid'
      : guardrails.some(({ verdict }) => verdict === 'violated')
        ? 'guardrail violated'
        : primary.every(({ verdict }) => verdict === 'undecided')
          ? 'undecided'
          : 'decided';
  return {
    verdict,
    ...(standing.invalid === undefined ? {} : { invalid: standing.invalid }),
    control: controlOf(experiment),
    arms: arms.map(({ name, requests, errors, rewards }, i) => ({
      name,
      version: standing.versions?.[name] ?? '',
      counted: counts[i],
      requests,
      errors,
      rewards: rewards.count,
      reward_mean: rewards.count === 0 ? null : rewards.sum / rewards.count,
    })),
    primary: primary.map((effect) => {
      const p = standing.msprt?.p[effect.arm];
      return p === undefined ? effect : { ...effect, p_value: p };
    }),
    guardrails,
    sample_ratio: {
      counts,
      p_value: ratioPValue(standing.ratio?.evidence ?? NO_RATIO_EVIDENCE),
      // Of the counts as they are: for who looks once.
      chi_square: sampleRatioTest(
        spec.unit === undefined ? [currentPeriod(spec, standing.ratio, data)] : groupsOf(spec, data),
      ).chiSquare,
      alpha: experiment.srm.alpha,
      counted: spec.unit === undefined ? 'requests' : 'units',
      // Of units, one in so many is counted.
      sampled: spec.unit === undefined ? 1 : 2 ** data.units.level,
    },
    history: standing.history ?? [],
  };
}

/** Metrics whose intervals know that a unit's values resemble one another. */
export function clusteredMetrics({ primary, guardrails }: ExperimentSpec): Set<string> {
  return new Set([primary.metric, ...guardrails.map(({ metric }) => metric)].filter((metric) => CLUSTERED.has(metric)));
}

const CLUSTERED = new Set(['reward', 'latency.mean', 'errors']);

/** Where a unit is counted that was seen in a variant. */
export function groupOf(weights: readonly number[], variant: string): string {
  return `${weights.join(':')} ${variant}`;
}

/** Distinct units by arm, for each set of weights there was. */
function groupsOf(spec: RouteSpec, data: Contribution): Period[] {
  const arms = Object.keys(spec.strategy.experiment?.split ?? {});
  const periods = new Map<string, Period & { counts: number[] }>();
  for (const [group, count] of data.units.counts()) {
    const end = group.indexOf(' ');
    const key = group.slice(0, end);
    const arm = arms.indexOf(group.slice(end + 1));
    const weights = key.split(':').map(Number);
    if (arm < 0 || weights.length !== arms.length) continue;
    const period = periods.get(key) ?? { counts: arms.map(() => 0), weights };
    period.counts[arm] += count;
    periods.set(key, period);
  }
  return [...periods.values()];
}

function countsOf(spec: RouteSpec, data: Contribution): number[] {
  const split = spec.strategy.experiment?.split ?? {};
  if (spec.unit === undefined)
    return Object.keys(split).map(
      (name) => sliceOf(data.sums, (slice) => slice.assigned === name && slice.analysed)?.requests ?? 0,
    );
  const groups = groupsOf(spec, data);
  return Object.keys(split).map((_, arm) => groups.reduce((sum, { counts }) => sum + counts[arm], 0));
}

function armsOf(spec: RouteSpec, standing: Standing, data: Contribution): ArmData[] {
  const { split } = spec.strategy.experiment as ExperimentSpec;
  return Object.keys(split).map((name) => {
    const arm = armData(name, data, (version) => isMeasured(standing, name, version));
    if (spec.unit === undefined) return arm;
    return { ...arm, clusters: (metric) => data.clusters.get(clusterKey(metric, name)) ?? noClusters() };
  });
}

/**
 * An arm is what was assigned to it, whoever answered (intention to treat): latencies are as clients waited, a failed
 * first attempt included. A failure of the arm's variant is its error though another variant answered after it, so that
 * no fallback hides a failing arm. What was detoured because the variant was ejected says nothing of its error rate.
 */
function armData(name: string, data: Contribution, measured: (version: string) => boolean): ArmData {
  const latency = newHistogram();
  const arm: ArmData = { name, requests: 0, errors: 0, latency, rewards: data.rewards.get(name) ?? NO_MOMENTS };
  for (const slice of data.sums.slices.values()) {
    if (slice.assigned !== name || slice.role !== 'arm' || !slice.analysed) continue;
    if (!measured(slice.variant === name ? slice.version : slice.assignedVersion)) continue;
    addHistogram(latency, slice.latency);
    if (slice.variant !== name) {
      arm.requests += slice.fallbacks;
      arm.errors += slice.fallbacks;
      continue;
    }
    arm.requests += slice.requests - slice.sheds - slice.cancelled - slice.clientErrors;
    arm.errors += slice.errors;
  }
  return arm;
}

function shares(weights: readonly number[]): string {
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return weights.map((weight) => `${Math.round((weight / total) * 1000) / 10}%`).join(':');
}
