import type { RouteSpec } from '../../config/route-schema.ts';
import { type ArmData, compareArms } from '../../experiments/ab/results.ts';
import { addHistogram, newHistogram } from '../../experiments/statistics/latency-histogram.ts';
import { NO_MOMENTS } from '../../experiments/statistics/moments.ts';
import { lookAtRatio, NO_RATIO_EVIDENCE, ratioPValue } from '../../experiments/statistics/sample-ratio.ts';
import type { Contribution } from './contribution.ts';
import { sliceOf } from './ledger.ts';
import type { Standing } from './standing.ts';

/**
 * One look at an experiment's shares. Counts are of buckets where users stick to a variant, since one busy user is no
 * evidence against the split, and of requests elsewhere. With shares that are not as planned, what was measured says
 * nothing about the variants.
 */
export function lookAtExperiment(spec: RouteSpec, standing: Standing, data: Contribution): Standing {
  const experiment = spec.strategy.experiment;
  if (experiment === undefined || standing.invalid !== undefined) return standing;
  const weights = Object.values(experiment.split);
  const counts = countsOf(spec, data);
  const ratio = standing.ratio ?? { evidence: NO_RATIO_EVIDENCE, weights, from: weights.map(() => 0) };
  const changed = weights.join() !== ratio.weights.join();
  // Buckets are told apart by the weights they were seen under: a new period's begin at 0.
  const counted = changed && spec.unit !== undefined ? countsOf(spec, data, ratio.weights) : counts;
  const period = { counts: counted.map((count, arm) => Math.max(0, count - ratio.from[arm])), weights: ratio.weights };
  const evidence = lookAtRatio(ratio.evidence, period, changed);
  const next = {
    ...standing,
    ratio: changed
      ? { evidence, weights, from: spec.unit === undefined ? counts : weights.map(() => 0) }
      : { ...ratio, evidence },
  };
  const p = ratioPValue(evidence);
  if (p >= experiment.srm.alpha || experiment.srm.onFail !== 'invalidate') return next;
  const planned = shares(ratio.weights);
  const invalid = `sample ratio mismatch: ${counts.join(':')} decisions for planned shares ${planned}, p = ${p.toPrecision(2)}`;
  return { ...next, invalid, state: { ...next.state, version: next.state.version + 1, analysed: false } };
}

/** Results as of now, as the API shows them. */
export function experimentResults(spec: RouteSpec, standing: Standing, data: Contribution): object | undefined {
  const experiment = spec.strategy.experiment;
  if (experiment === undefined) return undefined;
  const names = Object.keys(experiment.split);
  const arms = names.map((name) => armData(name, data));
  const counts = countsOf(spec, data);
  const { primary, guardrails } = compareArms(experiment, arms);
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
    control: experiment.control ?? names[0],
    arms: arms.map(({ name, requests, errors, rewards }, i) => ({
      name,
      counted: counts[i],
      requests,
      errors,
      rewards: rewards.count,
      reward_mean: rewards.count === 0 ? null : rewards.sum / rewards.count,
    })),
    primary,
    guardrails,
    sample_ratio: {
      counts,
      p_value: ratioPValue(standing.ratio?.evidence ?? NO_RATIO_EVIDENCE),
      alpha: experiment.srm.alpha,
      counted: spec.unit === undefined ? 'requests' : 'buckets of units',
    },
  };
}

/** Where a bucket is noted that was seen in a variant. */
export function seenKey(weights: readonly number[], variant: string): string {
  return `${weights.join(':')} ${variant}`;
}

function countsOf(spec: RouteSpec, data: Contribution, under?: readonly number[]): number[] {
  const split = spec.strategy.experiment?.split ?? {};
  const weights = under ?? Object.values(split);
  return Object.keys(split).map((name) => {
    if (spec.unit === undefined)
      return sliceOf(data.sums, (slice) => slice.assigned === name && slice.analysed)?.requests ?? 0;
    let seen = 0;
    for (const bucket of data.seen.get(seenKey(weights, name)) ?? []) seen += bucket;
    return seen;
  });
}

/**
 * An arm is what was assigned to it, whoever answered (intention to treat): latencies are as clients waited, a failed
 * first attempt included. A failure of the arm's variant is its error though another variant answered after it, so that
 * no fallback hides a failing arm. What was detoured because the variant was ejected says nothing of its error rate.
 */
function armData(name: string, data: Contribution): ArmData {
  const latency = newHistogram();
  const arm: ArmData = { name, requests: 0, errors: 0, latency, rewards: data.rewards.get(name) ?? NO_MOMENTS };
  for (const slice of data.sums.slices.values()) {
    if (slice.assigned !== name || slice.role !== 'arm' || !slice.analysed) continue;
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
