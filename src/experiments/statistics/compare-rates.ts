import { type Interval, logBernoulliMixture, type Trials } from './bernoulli.ts';
import { bisect, minimise } from './root.ts';

/**
 * Evidence against "rate(b) − rate(a) = difference": the product of both arms' mixtures, at the pair of rates with
 * that difference which it speaks least against. A product of independent martingales is one, so this needs no halving
 * of α and decides earlier than two separate confidence sequences.
 */
export function logRateEvidence(a: Trials, b: Trials, difference: number, tOpt: number): number {
  if (!(difference > -1 && difference < 1)) return Number.POSITIVE_INFINITY;
  const lowest = Math.max(0, -difference);
  const highest = Math.min(1, 1 - difference);
  const evidence = (p: number) =>
    logBernoulliMixture(a.successes, a.trials, p, tOpt) +
    logBernoulliMixture(b.successes, b.trials, p + difference, tOpt);
  // Each mixture falls up to its own rate and rises after it: the least of the sum lies between the two.
  const margin = 1e-9 * (highest - lowest);
  const inside = (p: number) => Math.min(Math.max(p, lowest + margin), highest - margin);
  const own = inside(rate(a));
  const other = inside(rate(b) - difference);
  return evidence(minimise(Math.min(own, other), Math.max(own, other), evidence, 1e-8));
}

/** A (1 − α) confidence sequence for rate(b) − rate(a). */
export function rateDifferenceSequence(a: Trials, b: Trials, alpha: number, tOpt: number): Interval {
  if (a.trials === 0 || b.trials === 0) return { low: -1, high: 1 };
  const threshold = Math.log(1 / alpha);
  const rejected = (difference: number) => logRateEvidence(a, b, difference, tOpt) > threshold;
  const middle = rate(b) - rate(a);
  return { low: bisect(-1, middle, rejected, 40), high: bisect(middle, 1, (d) => !rejected(d), 40) };
}

function rate({ successes, trials }: Trials): number {
  return trials === 0 ? 0.5 : successes / trials;
}
