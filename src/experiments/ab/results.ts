import type { ExperimentSpec } from '../../config/strategy-schema.ts';
import { asymptoticDifference } from '../statistics/asymptotic.ts';
import type { Interval } from '../statistics/bernoulli.ts';
import { type Clusters, effectiveMoments } from '../statistics/clusters.ts';
import { prepareArm, quantileRatioSequence } from '../statistics/compare-quantiles.ts';
import { rateDifferenceSequence } from '../statistics/compare-rates.ts';
import { histogramQuantile, lowerBound, RATIO } from '../statistics/latency-histogram.ts';
import { type Moments, mean, NO_MOMENTS } from '../statistics/moments.ts';
import { asPairs, logMsprt, msprtHalfWidth } from '../statistics/msprt.ts';

/** What one arm of an experiment did, as far as it is analysed. */
export interface ArmData {
  name: string;
  /** Ended by an answer or a failure: what error rates are of. */
  requests: number;
  errors: number;
  latency: ArrayLike<number>;
  rewards: Moments;
  /** Of a metric's values, where assignment is by unit; undefined: all values are independent. */
  clusters?: (metric: string) => Clusters;
}

/** One metric of one arm against control's. Of quantiles the effect is the ratio minus 1, else the difference. */
export interface Effect {
  arm: string;
  metric: string;
  test: 'asymptoticCS' | 'mSPRT' | 'bernoulliCS' | 'quantileCS';
  /** Requests, or rewards. */
  samples: number;
  value: number | null;
  control: number | null;
  effect: number | null;
  interval: [number | null, number | null];
  /**
   * Better in the metric's own sense: rewards up, errors and latencies down. Equivalent: the whole interval lies within
   * ± the smallest difference worth finding.
   */
  verdict: 'better' | 'worse' | 'equivalent' | 'undecided';
  /** The smallest difference worth finding, in the effect's own scale. */
  mde?: number;
  /** About how many more samples make the interval as narrow as ± that. */
  samples_needed?: number;
  /** mSPRT: of the alternatives to "no difference", in logarithms. */
  log_likelihood_ratio?: number;
}

export interface Guardrail extends Omit<Effect, 'verdict'> {
  margin: number;
  verdict: 'held' | 'violated' | 'undecided';
}

/** mSPRT's mixture where no smallest effect is named: a tenth of control's standard deviation. */
const DEFAULT_TAU = 0.1;

/** The name of the arm that others are compared with: the first where none is named. */
export function controlOf({ control, split }: ExperimentSpec): string {
  return control ?? Object.keys(split)[0];
}

/**
 * Every arm against control, by intervals that hold at all looks at once.
 * @param scale the mean of control that mSPRT's mixture was fixed by; undefined: it is not fixed yet
 */
export function compareArms(
  spec: ExperimentSpec,
  arms: readonly ArmData[],
  scale?: number,
): { primary: Effect[]; guardrails: Guardrail[] } {
  const controlName = controlOf(spec);
  const control = arms.find(({ name }) => name === controlName);
  const others = arms.filter((arm) => arm !== control);
  if (control === undefined) return { primary: [], guardrails: [] };
  // Every arm that is compared with control is one more chance to be wrong.
  const share = 1 / Math.max(1, others.length);
  const { metric, alpha, tune, mde } = spec.primary;
  const test: Test =
    spec.primary.test === 'mSPRT'
      ? { kind: 'mSPRT', tau: mde === undefined ? 0 : mde * (scale ?? Number.NaN) }
      : ASYMPTOTIC;
  return {
    primary: others.map((arm) => {
      const effect = effectOf(control, arm, metric, test, alpha * share, tune);
      return mde === undefined ? effect : { ...effect, ...plan(effect, mde) };
    }),
    guardrails: others.flatMap((arm) =>
      spec.guardrails.map((guardrail) => guardrailOf(control, arm, guardrail, share, tune)),
    ),
  };
}

type Test = { kind: 'asymptoticCS' } | { kind: 'mSPRT'; tau: number };
const ASYMPTOTIC: Test = { kind: 'asymptoticCS' };

/** The size of control's mean of the primary metric, once it is of so many values; undefined before, and of other metrics. */
export function controlMean(spec: ExperimentSpec, arms: readonly ArmData[], values: number): number | undefined {
  const controlName = controlOf(spec);
  const control = arms.find(({ name }) => name === controlName);
  if (control === undefined) return undefined;
  const { metric } = spec.primary;
  if (metric !== 'reward' && metric !== 'latency.mean') return undefined;
  const moments = momentsOf(control, metric);
  return moments.count < values ? undefined : Math.abs(mean(moments));
}

/** What the smallest difference worth finding says of an effect: whether it is less, and what is missing to know. */
function plan({ effect, control, interval, samples, test, verdict }: Effect, relative: number): Partial<Effect> {
  // Of quantiles effects are relative already.
  const mde = test === 'quantileCS' ? relative : relative * Math.abs(control ?? Number.NaN);
  const [low, high] = interval;
  if (!(mde > 0) || low === null || high === null || effect === null) return {};
  const half = Math.max(high - effect, effect - low);
  return {
    mde,
    // Significant, and still too small to matter: the direction is not worth telling.
    verdict: low > -mde && high < mde ? 'equivalent' : verdict,
    // Half-widths shrink with the root of the samples, but for a slow logarithm.
    samples_needed: Math.max(0, Math.ceil(samples * ((half / mde) ** 2 - 1))),
  };
}

function guardrailOf(
  control: ArmData,
  arm: ArmData,
  { metric, nonInferiority, alpha }: ExperimentSpec['guardrails'][number],
  share: number,
  tune: number,
): Guardrail {
  const effect = effectOf(control, arm, metric, ASYMPTOTIC, alpha * share, tune);
  const up = metric === 'reward';
  // Errors: an absolute difference; quantiles: relative already; the rest relative to control's mean.
  const scale = metric === 'errors' || effect.test === 'quantileCS' ? 1 : Math.abs(effect.control ?? Number.NaN);
  const margin = nonInferiority * scale;
  const [low, high] = effect.interval;
  const worst = up ? low : high;
  const best = up ? high : low;
  const beyond = (edge: number | null): boolean | undefined =>
    edge === null || Number.isNaN(margin) ? undefined : up ? edge < -margin : edge > margin;
  const verdict = beyond(best) === true ? 'violated' : beyond(worst) === false ? 'held' : 'undecided';
  return { ...effect, margin: nonInferiority, verdict };
}

function effectOf(control: ArmData, arm: ArmData, metric: string, test: Test, alpha: number, tune: number): Effect {
  if (metric === 'errors') {
    const trials = (arm: ArmData) => {
      const { count, sum } = effective(arm, metric, momentsOf(arm, metric));
      return { successes: sum, trials: count };
    };
    const interval = rateDifferenceSequence(trials(control), trials(arm), alpha, tune);
    const rate = ({ errors, requests }: ArmData) => (requests === 0 ? Number.NaN : errors / requests);
    const samples = control.requests + arm.requests;
    return shown(arm.name, metric, 'bernoulliCS', samples, rate(arm), rate(control), interval, false);
  }
  const quantile = /^latency\.p(.+)$/.exec(metric)?.[1];
  if (quantile !== undefined) {
    const q = Number(quantile) / 100;
    const one = { quantile: q, tOpt: tune };
    const first = prepareArm(control.latency, one);
    const second = prepareArm(arm.latency, one);
    const samples = first.valley.count + second.valley.count;
    const ratio =
      first.valley.count === 0 || second.valley.count === 0
        ? { low: 0, high: Number.POSITIVE_INFINITY }
        : quantileRatioSequence(first, second, alpha, one);
    const effect = shown(
      arm.name,
      metric,
      'quantileCS',
      samples,
      histogramQuantile(arm.latency, q),
      histogramQuantile(control.latency, q),
      { low: ratio.low - 1, high: ratio.high - 1 },
      false,
    );
    const { value, control: base } = effect;
    return { ...effect, effect: value === null || base === null ? null : value / base - 1 };
  }
  const up = metric === 'reward';
  const a = momentsOf(control, metric);
  const b = momentsOf(arm, metric);
  const [first, second] = [effective(control, metric, a), effective(arm, metric, b)];
  const samples = a.count + b.count;
  if (test.kind === 'asymptoticCS') {
    const interval = asymptoticDifference(first, second, alpha, tune);
    return shown(arm.name, metric, test.kind, samples, mean(b), mean(a), interval, up);
  }
  const { interval, log } = msprt(first, second, alpha, test.tau);
  const effect = shown(arm.name, metric, test.kind, samples, mean(b), mean(a), interval, up);
  return { ...effect, log_likelihood_ratio: log };
}

/** All values, as if each stood for itself. */
function momentsOf({ requests, errors, rewards, latency }: ArmData, metric: string): Moments {
  if (metric === 'errors') return { count: requests, sum: errors, sumSquares: errors };
  return metric === 'reward' ? rewards : latencyMoments(latency);
}

/** As many independent values as they are worth. */
function effective({ clusters }: ArmData, metric: string, moments: Moments): Moments {
  return clusters === undefined ? moments : effectiveMoments(moments, clusters(metric));
}

/** @param tau of the mixture; 0: by the standard deviation, NaN: nothing is said yet */
function msprt(a: Moments, b: Moments, alpha: number, tau: number): { interval: Interval; log: number } {
  const nothing = { interval: { low: Number.NEGATIVE_INFINITY, high: Number.POSITIVE_INFINITY }, log: 0 };
  if (a.count < 2 || b.count < 2 || Number.isNaN(tau)) return nothing;
  const { n, variance: pooled } = asPairs(a, b);
  if (!(pooled > 0)) return nothing;
  const spread = tau > 0 ? tau : DEFAULT_TAU * Math.sqrt(pooled);
  const half = msprtHalfWidth(n, pooled, spread, alpha);
  const difference = mean(b) - mean(a);
  return {
    interval: { low: difference - half, high: difference + half },
    log: logMsprt(n, difference, pooled, spread),
  };
}

/** Of a histogram's buckets, each by its middle: within half a bucket's ratio. */
function latencyMoments(histogram: ArrayLike<number>): Moments {
  const moments = { ...NO_MOMENTS };
  for (let i = 0; i < histogram.length; i++) {
    if (histogram[i] === 0) continue;
    const middle = lowerBound(i) * Math.sqrt(RATIO);
    moments.count += histogram[i];
    moments.sum += histogram[i] * middle;
    moments.sumSquares += histogram[i] * middle * middle;
  }
  return moments;
}

function shown(
  arm: string,
  metric: string,
  test: Effect['test'],
  samples: number,
  value: number,
  control: number,
  { low, high }: Interval,
  up: boolean,
): Effect {
  const verdict = low > 0 ? (up ? 'better' : 'worse') : high < 0 ? (up ? 'worse' : 'better') : 'undecided';
  return {
    arm,
    metric,
    test,
    samples,
    value: finite(value),
    control: finite(control),
    effect: finite(value - control),
    interval: [finite(low), finite(high)],
    verdict,
  };
}

/** JSON has no infinity: null is "not known". */
function finite(value: number): number | null {
  return Number.isFinite(value) ? value : null;
}
