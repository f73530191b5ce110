import { betaCdfOf, digamma, logBeta, trigamma } from './gamma.ts';
import { normalCdf, normalPdf } from './normal.ts';
import { type Continuous, probabilitiesOfBest } from './quadrature.ts';

export interface Beta {
  alpha: number;
  beta: number;
}

export interface Gaussian {
  mean: number;
  deviation: number;
}

/** Above it the sum's terms cost more than the quadrature. */
const MAX_TERMS = 2000;

/** P(B > A) for independent Beta arms: a finite sum where B's α is a whole number, the quadrature elsewhere. */
export function betaExceeds(b: Beta, a: Beta): number {
  if (!isShort(b)) return betaBest([a, b])[1];
  const base = logBeta(a.alpha, a.beta);
  let sum = 0;
  for (let i = 0; i < b.alpha; i++) {
    const log = logBeta(a.alpha + i, a.beta + b.beta) - Math.log(b.beta + i) - logBeta(1 + i, b.beta) - base;
    sum += Math.exp(log);
  }
  return sum;
}

function isShort({ alpha }: Beta): boolean {
  return Number.isInteger(alpha) && alpha <= MAX_TERMS;
}

/** P(B > A) for independent Gaussian arms. */
export function gaussianExceeds(b: Gaussian, a: Gaussian): number {
  return normalCdf((b.mean - a.mean) / Math.hypot(a.deviation, b.deviation));
}

/** P(arm is best) for each of two or more independent Gaussian arms; adds up to 1. */
export function gaussianBest(arms: readonly Gaussian[]): Float64Array {
  if (arms.length === 2) {
    const second = gaussianExceeds(arms[1], arms[0]);
    return Float64Array.of(1 - second, second);
  }
  return probabilitiesOfBest(
    arms.map(({ mean, deviation }) => ({
      mean,
      deviation,
      pdf: (x) => normalPdf((x - mean) / deviation) / deviation,
      cdf: (x) => normalCdf((x - mean) / deviation),
    })),
  );
}

/** Of two arms a finite sum, else integrated over log-odds: there the density is smooth, whatever the parameters. */
export function betaBest(arms: readonly Beta[]): Float64Array {
  if (arms.length === 2 && isShort(arms[1])) {
    const second = betaExceeds(arms[1], arms[0]);
    return Float64Array.of(1 - second, second);
  }
  return probabilitiesOfBest(arms.map(logOdds));
}

function logOdds({ alpha, beta }: Beta): Continuous {
  const base = logBeta(alpha, beta);
  const logShare = (t: number) => (t < 0 ? t - Math.log1p(Math.exp(t)) : -Math.log1p(Math.exp(-t)));
  return {
    mean: digamma(alpha) - digamma(beta),
    deviation: Math.sqrt(trigamma(alpha) + trigamma(beta)),
    pdf: (t) => Math.exp(alpha * logShare(t) + beta * logShare(-t) - base),
    cdf: (t) => betaCdfOf(1 / (1 + Math.exp(-t)), 1 / (1 + Math.exp(t)), alpha, beta),
  };
}
