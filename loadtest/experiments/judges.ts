import { errorVerdict, quantileVerdict } from '../../src/experiments/rollout/judge.ts';
import { prepareArm } from '../../src/experiments/statistics/compare-quantiles.ts';
import { newHistogram, record } from '../../src/experiments/statistics/latency-histogram.ts';
import { normalQuantile } from '../../src/experiments/statistics/normal.ts';
import { type Pair, p99, SETTING, STABLE_P99 } from './stream.ts';

/** Sees one pair of looks after the other; true: roll back. */
export type Judge = (pair: Pair) => boolean;

export interface JudgeKind {
  name: string;
  rule: string;
  start(): Judge;
}

/** Switchyard's: α shared by two metrics, looked at after every look. */
export function switchyard(errorMargin: number, latencyMargin: number, alpha = 0.05): JudgeKind {
  return {
    name: `Switchyard, margins ${100 * errorMargin} % and ${100 * latencyMargin} %`,
    rule: `errors and p99 against the control slice, always-valid, α = ${alpha} for both together`,
    start() {
      const test = { quantile: 0.99, tOpt: 5000 };
      const a = { successes: 0, trials: 0 };
      const b = { successes: 0, trials: 0 };
      const [slow, fast] = [newHistogram(), newHistogram()];
      return ({ control, candidate }) => {
        a.successes += control.errors;
        b.successes += candidate.errors;
        a.trials += control.latencies.length;
        b.trials += candidate.latencies.length;
        for (const latency of control.latencies) record(slow, latency);
        for (const latency of candidate.latencies) record(fast, latency);
        if (errorVerdict(a, b, errorMargin, alpha / 2, 2000) === 'fail') return true;
        return (
          quantileVerdict(prepareArm(slow, test), prepareArm(fast, test), latencyMargin, alpha / 2, test) === 'fail'
        );
      };
    },
  };
}

/**
 * Argo Rollouts' analysis as its documentation shows it: a query over the last five minutes of the canary alone, every
 * five minutes, a fixed condition, and failureLimit 3 (the fourth failed measurement ends the rollout). A look is a
 * minute here. `success` and `latency` are the conditions' thresholds.
 */
export function argoRollouts(success: number, latency: number): JudgeKind {
  const every = 5;
  const failureLimit = 3;
  return {
    name: `Argo Rollouts, success ≥ ${success}, p99 ≤ ${latency} × stable's`,
    rule: `canary alone, ${every}-look windows, failureLimit ${failureLimit} per metric`,
    start() {
      let looks: Pair['candidate'][] = [];
      const failures = { success: 0, latency: 0 };
      return ({ candidate }) => {
        looks.push(candidate);
        if (looks.length < every) return false;
        const errors = looks.reduce((sum, look) => sum + look.errors, 0);
        const window = {
          errors,
          latencies: Float64Array.from(looks.flatMap(({ latencies }) => Array.from(latencies))),
        };
        looks = [];
        if (1 - errors / (every * SETTING.perLook) < success) failures.success++;
        if (p99(window) > latency * STABLE_P99) failures.latency++;
        return failures.success > failureLimit || failures.latency > failureLimit;
      };
    },
  };
}

/**
 * Kayenta's judge by its documentation: one value per minute and metric, Mann–Whitney at 98 % confidence, "High" if
 * the interval of the shift lies above a tolerance of a quarter of the estimated shift; the score is the share of
 * metrics that pass, and below `marginal` the canary ends. Judged every `every` minutes over all minutes so far.
 */
export function kayenta(every: number, marginal = 75): JudgeKind {
  return {
    name: `Kayenta, every ${every} looks`,
    rule: `Mann–Whitney at 98 % on per-look values since the start, tolerance 0.25, marginal score ${marginal}`,
    start() {
      const series: { control: number[]; candidate: number[] }[] = [
        { control: [], candidate: [] },
        { control: [], candidate: [] },
      ];
      return ({ control, candidate }) => {
        series[0].control.push(control.errors / SETTING.perLook);
        series[0].candidate.push(candidate.errors / SETTING.perLook);
        series[1].control.push(p99(control));
        series[1].candidate.push(p99(candidate));
        if (series[0].control.length % every !== 0) return false;
        const passed = series.filter((metric) => !isHigh(metric.control, metric.candidate)).length;
        return (100 * passed) / series.length < marginal;
      };
    },
  };
}

const TOLERANCE = 0.25;
const Z = normalQuantile(0.99);

/** Hodges and Lehmann's shift, and its interval by the order statistics of all differences. */
function isHigh(control: readonly number[], candidate: readonly number[]): boolean {
  const [n, m] = [control.length, candidate.length];
  const differences = new Float64Array(n * m);
  for (let i = 0; i < n; i++) for (let j = 0; j < m; j++) differences[i * m + j] = candidate[j] - control[i];
  differences.sort();
  const estimate = differences[Math.floor((n * m) / 2)];
  const rank = Math.floor((n * m) / 2 - Z * Math.sqrt((n * m * (n + m + 1)) / 12));
  if (rank < 0) return false;
  return differences[rank] > TOLERANCE * Math.abs(estimate) && differences[rank] > 0;
}
