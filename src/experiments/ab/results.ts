import type { ExperimentSpec } from '../../config/strategy-schema.ts';
import { asymptoticDifference } from '../statistics/asymptotic.ts';
import type { Interval } from '../statistics/bernoulli.ts';
import { prepareArm, quantileRatioSequence } from '../statistics/compare-quantiles.ts';
import { rateDifferenceSequence } from '../statistics/compare-rates.ts';
import { histogramQuantile, lowerBound, RATIO } from '../statistics/latency-histogram.ts';
import { type Moments, mean, NO_MOMENTS, variance } from '../statistics/moments.ts';
import { msprtHalfWidth } from '../statistics/msprt.ts';

/** What one arm of an experiment did, as far as it is analysed. */
export interface ArmData {
  name: string;
  /** Ended by an answer or a failure: what error rates are of. */
  requests: number;
  errors: number;
  latency: ArrayLike<number>;
  rewards: Moments;
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
  /** Better in the metric's own sense: rewards up, errors and latencies down. */
  verdict: 'better' | 'worse' | 'undecided';
}

export interface Guardrail extends Omit<Effect, 'verdict'> {
  margin: number;
  verdict: 'held' | 'violated' | 'undecided';
}

/** mSPRT's mixture when no smallest effect is named: a tenth of control's standard deviation. */
const DEFAULT_TAU = 0.1;

/** Every arm against control, by intervals that hold at all looks at once. */
export function compareArms(
  spec: ExperimentSpec,
  arms: readonly ArmData[],
): { primary: Effect[]; guardrails: Guardrail[] } {
  const controlName = spec.control ?? Object.keys(spec.split)[0];
  const control = arms.find(({ name }) => name === controlName);
  const others = arms.filter((arm) => arm !== control);
  if (control === undefined) return { primary: [], guardrails: [] };
  // Every arm that is compared with control is one more chance to be wrong.
  const share = 1 / Math.max(1, others.length);
  const { metric, test, alpha, tune, mde } = spec.primary;
  return {
    primary: others.map((arm) => effectOf(control, arm, metric, test, alpha * share, tune, mde)),
    guardrails: others.flatMap((arm) =>
      spec.guardrails.map((guardrail) => guardrailOf(control, arm, guardrail, share, tune)),
    ),
  };
}

function guardrailOf(
  control: ArmData,
  arm: ArmData,
  { metric, nonInferiority, alpha }: ExperimentSpec['guardrails'][number],
  share: number,
  tune: number,
): Guardrail {
  const effect = effectOf(control, arm, metric, 'asymptoticCS', alpha * share, tune, undefined);
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

function effectOf(
  control: ArmData,
  arm: ArmData,
  metric: string,
  test: 'asymptoticCS' | 'mSPRT',
  alpha: number,
  tune: number,
  mde: number | undefined,
): Effect {
  if (metric === 'errors') {
    const trials = ({ errors, requests }: ArmData) => ({ successes: errors, trials: requests });
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
  const a = up ? control.rewards : latencyMoments(control.latency);
  const b = up ? arm.rewards : latencyMoments(arm.latency);
  const interval = test === 'mSPRT' ? msprtInterval(a, b, alpha, mde) : asymptoticDifference(a, b, alpha, tune);
  return shown(arm.name, metric, test, a.count + b.count, mean(b), mean(a), interval, up);
}

/** The test is for n pairs: with unequal arms, n is their harmonic mean, which has the difference's variance. */
function msprtInterval(a: Moments, b: Moments, alpha: number, mde: number | undefined): Interval {
  const nothing = { low: Number.NEGATIVE_INFINITY, high: Number.POSITIVE_INFINITY };
  if (a.count < 2 || b.count < 2) return nothing;
  const n = 2 / (1 / a.count + 1 / b.count);
  const pooled = (n * (variance(a) / a.count + variance(b) / b.count)) / 2;
  if (!(pooled > 0)) return nothing;
  const wished = mde === undefined ? 0 : Math.abs(mde * mean(a));
  const tau = wished > 0 ? wished : DEFAULT_TAU * Math.sqrt(pooled);
  const half = msprtHalfWidth(n, pooled, tau, alpha);
  const difference = mean(b) - mean(a);
  return { low: difference - half, high: difference + half };
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
