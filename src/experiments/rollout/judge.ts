import { parseCondition } from '../../config/condition.ts';
import type { Metric } from '../../config/route-schema.ts';
import { bernoulliInterval, type Trials } from '../statistics/bernoulli.ts';
import {
  logQuantileEvidence,
  type PreparedArm,
  prepareArm,
  quantileRatioSequence,
} from '../statistics/compare-quantiles.ts';
import { logRateEvidence, rateDifferenceSequence } from '../statistics/compare-rates.ts';

/** What one side of a comparison has seen since the rollout's window began. Sums: they only grow, and merge. */
export interface ArmEvidence {
  requests: number;
  errors: number;
  /** A latency histogram. */
  latency: ArrayLike<number>;
}

export interface Evidence {
  control: ArmEvidence;
  candidate: ArmEvidence;
  shadow: { compared: number; mismatched: number };
  /** By metric name. */
  queries: Readonly<Record<string, Measurements>>;
}

/** Outcomes of a metric's queries so far. */
export interface Measurements {
  successes: number;
  failures: number;
  /** Queries that gave no number. */
  empty: number;
}

export type Verdict = 'pass' | 'fail' | 'inconclusive';

export interface Report {
  metric: string;
  verdict: Verdict;
  /** Interval of the difference (errorRate), of the ratio less 1 (latencyQuantile), of the rate (shadowMismatch). */
  low: number;
  high: number;
  margin: number;
  /** Requests of the smaller side. */
  requests: number;
  reason: string;
}

/**
 * Three-valued and always valid: fail once the interval's lower bound is above the margin, pass once its upper bound is
 * below, looked at as often as one likes. `share` is this metric's part of the rollout's α. No data is never a pass,
 * and failing needs no minimum of requests: that is what makes it fast.
 */
export function judge(metric: Metric, evidence: Evidence, share = 1): Report {
  if (metric.prometheus) return judgeQuery(metric, evidence.queries[metric.name]);
  const alpha = metric.alpha * share;
  switch (metric.test) {
    case 'latencyQuantile':
      return judgeQuantile(metric, evidence, alpha);
    case 'shadowMismatch':
      return judgeMismatch(metric, evidence, alpha);
    default:
      return judgeErrors(metric, evidence, alpha);
  }
}

/** The worst decides; everything must pass for a pass, and nothing judged is not a pass. */
export function combine(reports: readonly Report[]): Verdict {
  if (reports.some(({ verdict }) => verdict === 'fail')) return 'fail';
  return reports.length > 0 && reports.every(({ verdict }) => verdict === 'pass') ? 'pass' : 'inconclusive';
}

function judgeErrors(metric: Metric, { control, candidate }: Evidence, alpha: number): Report {
  const a: Trials = { successes: control.errors, trials: control.requests };
  const b: Trials = { successes: candidate.errors, trials: candidate.requests };
  const requests = Math.min(a.trials, b.trials);
  if (requests === 0) return undecided(metric, 0, 'no requests yet');
  const { low, high } = rateDifferenceSequence(a, b, alpha, metric.minRequests);
  return decided(metric, low, high, requests);
}

/** Only the verdict: what a judge that looks often needs, without searching for the interval's ends. */
export function errorVerdict(a: Trials, b: Trials, margin: number, alpha: number, tOpt: number): Verdict {
  if (a.trials === 0 || b.trials === 0) return 'inconclusive';
  if (logRateEvidence(a, b, margin, tOpt) <= Math.log(1 / alpha)) return 'inconclusive';
  return b.successes / b.trials - a.successes / a.trials > margin ? 'fail' : 'pass';
}

function judgeQuantile(metric: Metric, { control, candidate }: Evidence, alpha: number): Report {
  const test = { quantile: metric.quantile ?? 0.99, tOpt: metric.minRequests };
  const a = prepareArm(control.latency, test);
  const b = prepareArm(candidate.latency, test);
  const requests = Math.min(a.valley.count, b.valley.count);
  if (requests === 0) return undecided(metric, 0, 'no requests yet');
  const { low, high } = quantileRatioSequence(a, b, alpha, test);
  return decided(metric, low - 1, high - 1, requests);
}

export function quantileVerdict(
  a: PreparedArm,
  b: PreparedArm,
  margin: number,
  alpha: number,
  test: { quantile: number; tOpt: number },
): Verdict {
  if (a.valley.count === 0 || b.valley.count === 0) return 'inconclusive';
  if (logQuantileEvidence(a, b, 1 + margin, test) <= Math.log(1 / alpha)) return 'inconclusive';
  return b.bucket - a.bucket > Math.log(1 + margin) / Math.log(1.01) ? 'fail' : 'pass';
}

function judgeMismatch(metric: Metric, { shadow }: Evidence, alpha: number): Report {
  if (shadow.compared === 0) return undecided(metric, 0, 'nothing compared yet');
  const { low, high } = bernoulliInterval(shadow.mismatched, shadow.compared, alpha, metric.minRequests, alpha);
  return decided(metric, low, high, shadow.compared);
}

function decided(metric: Metric, low: number, high: number, requests: number): Report {
  const margin = metric.margin ?? 0;
  const common = { metric: metric.name, low, high, margin, requests };
  if (low > margin)
    return { ...common, verdict: 'fail', reason: `at least ${percent(low)} worse, ${percent(margin)} allowed` };
  if (high < margin && requests >= metric.minRequests) {
    return { ...common, verdict: 'pass', reason: `at most ${percent(high)} worse, ${percent(margin)} allowed` };
  }
  const reason =
    requests < metric.minRequests
      ? `${requests} of ${metric.minRequests} requests`
      : `between ${percent(low)} and ${percent(high)} worse, ${percent(margin)} allowed`;
  return { ...common, verdict: 'inconclusive', reason };
}

function undecided(metric: Metric, requests: number, reason: string): Report {
  const margin = metric.margin ?? 0;
  return {
    metric: metric.name,
    verdict: 'inconclusive',
    low: Number.NEGATIVE_INFINITY,
    high: Number.POSITIVE_INFINITY,
    margin,
    requests,
    reason,
  };
}

export const NO_MEASUREMENTS: Readonly<Measurements> = { successes: 0, failures: 0, empty: 0 };

/** Takes in a query's result; undefined or an empty list for one that failed or found nothing. */
export function measure(metric: Metric, before: Measurements, result: readonly number[] | undefined): Measurements {
  if (result === undefined || result.length === 0 || result.some(Number.isNaN))
    return { ...before, empty: before.empty + 1 };
  const success = parseCondition(metric.successCondition ?? 'false')(result);
  return success ? { ...before, successes: before.successes + 1 } : { ...before, failures: before.failures + 1 };
}

/** A metric that cannot be read decides nothing: neither a pass nor a rollback. */
function judgeQuery(metric: Metric, measurements: Measurements = NO_MEASUREMENTS): Report {
  const { successes, failures, empty } = measurements;
  const report = undecided(
    metric,
    successes + failures,
    `${successes} of ${metric.count} measurements, ${empty} without a result`,
  );
  if (failures > metric.failureLimit) {
    return {
      ...report,
      verdict: 'fail',
      reason: `${failures} measurements failed ${metric.successCondition}, ${metric.failureLimit} allowed`,
    };
  }
  return successes >= metric.count ? { ...report, verdict: 'pass' } : report;
}

function percent(value: number): string {
  return `${(100 * value).toPrecision(3)} %`;
}
