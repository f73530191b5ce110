import assert from 'node:assert/strict';
import { test } from 'node:test';
import { asymptoticDifference, asymptoticHalfWidth, asymptoticInterval, asymptoticRho } from './asymptotic.ts';
import { bernoulliInterval, rateDifference } from './bernoulli.ts';
import { betaBest, betaExceeds, gaussianBest, gaussianExceeds } from './best-arm.ts';
import { betaCdf, chiSquareTail, digamma, gammaLower, logBeta, logGamma, trigamma } from './gamma.ts';
import { addMoments, mean, NO_MOMENTS, variance, withValue } from './moments.ts';
import { logMsprt, msprtHalfWidth, msprtPValue } from './msprt.ts';
import { normalCdf, normalQuantile } from './normal.ts';
import {
  logNormalMixture,
  logOneSidedNormalMixture,
  mixtureRho,
  normalMixtureBound,
  oneSidedNormalMixtureBound,
} from './normal-mixture.ts';
import { leastEvidence, type QuantileTest, quantileInterval, type Valley, valley } from './quantile.ts';
import { logRatioBayesFactor, lookAtRatio, NO_RATIO_EVIDENCE, ratioPValue, sampleRatioTest } from './sample-ratio.ts';

/** Equal in all digits the reference gives. */
function near(actual: number, expected: number, tolerance: number): void {
  assert.ok(Math.abs(actual - expected) <= tolerance, `${actual} is not ${expected} ± ${tolerance}`);
}

/**
 * confseq's test, of what the product counts as evidence. Always-valid two-sided p-value of "both arms have the same quantile": the least joint evidence over all places where
 * the common quantile could be. Both arrays sorted.
 */
function quantileTestPValue(a: ArrayLike<number>, b: ArrayLike<number>, test: QuantileTest): number {
  if (a.length === 0 || b.length === 0) return 1;
  const first = valley(a.length, test);
  const second = valley(b.length, test);
  const start = Math.min(at(a, first), at(b, second));
  const end = Math.max(at(a, first), at(b, second));
  let least = Number.POSITIVE_INFINITY;
  const evidenceAt = (x: number) => {
    const one = leastEvidence(countBelow(a, x), countUpTo(a, x), first, test);
    const two = leastEvidence(countBelow(b, x), countUpTo(b, x), second, test);
    least = Math.min(least, one + two);
  };
  for (const values of [a, b]) {
    for (let i = countBelow(values, start); i < values.length && values[i] <= end; i++) evidenceAt(values[i]);
  }
  return Math.min(1, Math.exp(-least));
}

/** The value at a valley. */
function at(sorted: ArrayLike<number>, { share, count }: Valley): number {
  return sorted[Math.min(Math.floor(share * count), count - 1)];
}

function countBelow(sorted: ArrayLike<number>, x: number): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (sorted[middle] < x) low = middle + 1;
    else high = middle;
  }
  return low;
}

function countUpTo(sorted: ArrayLike<number>, x: number): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (sorted[middle] <= x) low = middle + 1;
    else high = middle;
  }
  return low;
}

test('special functions agree with SciPy, far into the tails and for millions of counts', () => {
  const cases: [number, number][] = [
    [logGamma(0.5), 0.5723649429247001],
    [logGamma(3.7), 1.428072326665388],
    [logGamma(1e6), 12815504.569147611],
    [logBeta(2.5, 3.5), -3.3018352699620523],
    // ln 24 − Σ ln(1e6 + i): SciPy's own loses the last digits here.
    [logBeta(5, 1e6), -65.89950895945843],
    [logBeta(1e6, 2e6), -1909548.2909685448],
    [betaCdf(0.3, 2.5, 3.5), 0.29675298929566646],
    [betaCdf(0.01, 30, 2000), 0.025072720349620603],
    [betaCdf(0.333, 1e5, 2e5), 0.34940317176600605],
    [gammaLower(3, 2.5), 0.4561868841166704],
    [chiSquareTail(22.7744, 1), 1.8217633358461145e-6],
    [chiSquareTail(3.6, 1), 0.05777957112359715],
    [normalCdf(-8), 6.22096057427174e-16],
    [normalCdf(1.3), 0.9031995154143897],
    [normalQuantile(0.975), 1.959963984540054],
    [normalQuantile(1e-12), -7.034483825301131],
    [digamma(0.7), -1.220023553697935],
    [trigamma(2.3), 0.5425374586652585],
  ];
  for (const [actual, expected] of cases) near(actual, expected, 5e-11 * Math.abs(expected));
});

test('Bernoulli confidence sequences are those of confseq', () => {
  const many = bernoulliInterval(700, 1000, 0.05, 100);
  near(many.low, 0.651629, 1e-6);
  near(many.high, 0.745949, 1e-6);
  const few = bernoulliInterval(5, 50, 0.05, 50);
  near(few.low, 0.013021, 1e-6);
  near(few.high, 0.269264, 1e-6);
  assert.deepEqual(bernoulliInterval(0, 0, 0.05, 100), { low: 0, high: 1 });
  assert.equal(bernoulliInterval(0, 10, 0.05, 100).low, 0);
  assert.equal(bernoulliInterval(10, 10, 0.05, 100).high, 1);
  const { low, high } = rateDifference({ successes: 10, trials: 1000 }, { successes: 60, trials: 1000 }, 0.05, 1000);
  assert.ok(low > 0 && low < 0.05 && high > 0.05, `${low} ${high}`);
});

test('quantile p-values are those of confseq', () => {
  const arm = (shift: number) => Array.from({ length: 1000 }, (_, i) => i + 1 + shift);
  const p = (shift: number, quantile: number) => quantileTestPValue(arm(0), arm(shift), { quantile, tOpt: 100 });
  near(p(70, 0.5), 0.814704, 5e-7);
  near(p(85, 0.5), 0.0838055, 5e-8);
  near(p(100, 0.5), 0.0054947, 5e-8);
  near(p(55, 0.9), 0.0340463, 5e-8);
  assert.equal(p(0, 0.5), 1);
  const interval = quantileInterval(arm(0), 0.05, { quantile: 0.5, tOpt: 1000 });
  assert.ok(interval.low > 420 && interval.low < 500 && interval.high > 500 && interval.high < 580);
  assert.equal(
    quantileInterval(arm(0).slice(0, 20), 0.05, { quantile: 0.99, tOpt: 1000 }).high,
    Number.POSITIVE_INFINITY,
  );
});

test('normal mixtures are those of confseq', () => {
  const rho = mixtureRho(100);
  near(rho, 12.60056, 5e-6);
  near(logNormalMixture(10, 100, rho), -0.6510052, 5e-8);
  near(normalMixtureBound(100, 0.05, rho), 30.35209, 5e-6);
  const oneSided = mixtureRho(100, 0.1);
  near(logOneSidedNormalMixture(10, 100, oneSided), -0.06502391, 1e-7);
  near(oneSidedNormalMixtureBound(100, 0.05, oneSided), 27.66071, 1e-5);
});

test('asymptotic confidence sequence', () => {
  const rho = asymptoticRho(0.05, 5000);
  near(rho, 0.0398400668, 5e-11);
  near(asymptoticHalfWidth(1000, 1, rho, 0.05), 0.1063755, 5e-8);
  near(asymptoticHalfWidth(5000, 1, rho, 0.05), 0.0429243, 5e-8);
  near(asymptoticHalfWidth(20000, 1, rho, 0.05), 0.022112, 5e-8);
  const arm = (sum: number) => ({ count: 5000, sum, sumSquares: sum });
  const { low, high } = asymptoticDifference(arm(500), arm(700), 0.05, 10_000);
  near((low + high) / 2, 0.04, 1e-12);
  assert.ok(low > 0);
  assert.equal(
    asymptoticDifference(arm(500), { count: 1, sum: 1, sumSquares: 1 }, 0.05, 10).high,
    Number.POSITIVE_INFINITY,
  );
});

test('mSPRT: the p-value reaches α where the interval leaves 0, and never rises', () => {
  const half = msprtHalfWidth(500, 2, 0.1, 0.05);
  near(Math.exp(-logMsprt(500, half, 2, 0.1)), 0.05, 1e-12);
  // √(V/(V+nτ²))·exp(n²τ²Δ²/(2V(V+nτ²))) with V = 2, n = 100, τ = .5, Δ = .4
  near(logMsprt(100, 0.4, 1, 0.5), 0.5 * Math.log(2 / 27) + 400 / 108, 1e-12);
  const once = msprtPValue(1, logMsprt(500, 2 * half, 2, 0.1));
  assert.equal(msprtPValue(once, logMsprt(600, 0, 2, 0.1)), once);
});

test('sample ratio, once and sequentially', () => {
  const weights = [50, 50];
  const small = sampleRatioTest([{ counts: [50300, 49700], weights }]);
  near(small.chiSquare, 3.6, 1e-9);
  near(small.pValue, 0.05778, 5e-6);
  const large = sampleRatioTest([{ counts: [821588, 815482], weights }]);
  near(large.chiSquare, 22.7744, 5e-5);
  near(large.pValue, 1.82e-6, 5e-9);
  near(logRatioBayesFactor([50700, 49300], weights), 7.71044, 5e-6);
  assert.deepEqual(sampleRatioTest([]), { chiSquare: 0, pValue: 1 });
  assert.equal(sampleRatioTest([{ counts: [10, 1], weights: [1, 0] }]).pValue, 0);
});

test('sample ratio with changing weights compares with the sum of the periods', () => {
  const periods = [
    { counts: [950, 50], weights: [95, 5] },
    { counts: [500, 500], weights: [50, 50] },
  ];
  near(sampleRatioTest(periods).chiSquare, 0, 1e-12);
  assert.ok(sampleRatioTest([{ counts: [1450, 550], weights: [50, 50] }]).pValue < 1e-3);
  let evidence = lookAtRatio(NO_RATIO_EVIDENCE, periods[0], true);
  evidence = lookAtRatio(evidence, periods[1]);
  assert.equal(ratioPValue(evidence), 1);
  const broken = lookAtRatio(evidence, { counts: [7000, 3000], weights: [50, 50] });
  assert.ok(ratioPValue(broken) < 1e-6);
  assert.equal(ratioPValue(lookAtRatio(broken, { counts: [500, 500], weights: [50, 50] })), ratioPValue(broken));
});

test('which arm is best', () => {
  near(betaExceeds({ alpha: 16, beta: 86 }, { alpha: 11, beta: 91 }), 0.85328379, 5e-9);
  const [a, b] = betaBest([
    { alpha: 11, beta: 91 },
    { alpha: 16, beta: 86 },
  ]);
  near(b, 0.85328379, 5e-9);
  near(a + b, 1, 1e-12);
  const three = gaussianBest([
    { mean: 0.1, deviation: 0.01 },
    { mean: 0.11, deviation: 0.02 },
    { mean: 0.09, deviation: 0.03 },
  ]);
  near(three[0], 0.2235239, 5e-8);
  near(three[1], 0.545077, 5e-8);
  near(three[2], 0.2313991, 5e-8);
  const pair = gaussianBest([
    { mean: 1, deviation: 3 },
    { mean: 2, deviation: 4 },
  ]);
  near(pair[1], normalCdf(0.2), 1e-15);
  near(gaussianExceeds({ mean: 2, deviation: 4 }, { mean: 1, deviation: 3 }), pair[1], 0);
});

test('best of very different, very certain and barely known arms', () => {
  const unknown = betaBest([
    { alpha: 1, beta: 1 },
    { alpha: 1, beta: 1 },
    { alpha: 1, beta: 1 },
  ]);
  for (const p of unknown) near(p, 1 / 3, 1e-9);
  // A known rate of about 0.3 beats a uniform one with probability 0.3.
  near(
    betaBest([
      { alpha: 3e6, beta: 7e6 },
      { alpha: 1, beta: 1 },
    ])[0],
    0.3,
    1e-6,
  );
  near(
    betaBest([
      { alpha: 0.5, beta: 0.5 },
      { alpha: 0.5, beta: 0.5 },
    ])[0],
    0.5,
    1e-9,
  );
  assert.ok(
    betaBest([
      { alpha: 1e5, beta: 1e5 },
      { alpha: 1.1e5, beta: 1e5 },
    ])[0] < 1e-12,
  );
});

test('moments add up, and carry an asymptotic interval', () => {
  const values = Array.from({ length: 400 }, (_, i) => (i * 37) % 101);
  const half = (list: number[]) => list.reduce(withValue, NO_MOMENTS);
  const all = addMoments(half(values.slice(0, 100)), half(values.slice(100)));
  const average = values.reduce((a, b) => a + b) / 400;
  near(mean(all), average, 1e-12);
  near(variance(all), values.reduce((sum, v) => sum + (v - average) ** 2, 0) / 400, 1e-9);
  const { low, high } = asymptoticInterval(all, 0.05, 400);
  near((low + high) / 2, average, 1e-9);
  near((high - low) / 2, asymptoticHalfWidth(400, Math.sqrt(variance(all)), asymptoticRho(0.05, 400), 0.05), 1e-9);
  assert.equal(asymptoticInterval(withValue(NO_MOMENTS, 1), 0.05, 400).high, Number.POSITIVE_INFINITY);
});
