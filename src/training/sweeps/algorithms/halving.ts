import type { Report } from './history.ts';
import type { Random } from './random-source.ts';

export interface HalvingSettings {
  /** Steps before the first rung. */
  minSteps: number;
  /** Steps of a whole trial; there is no rung at or behind it. */
  maxSteps: number;
  /** One of so many goes on at a rung, and the next rung is so many times farther. */
  reductionFactor: number;
}

export interface Climb {
  /** The value at each rung that the trial has reached, the first one first. */
  rungs: number[];
  stop: boolean;
}

/** The step of a rung. In bracket b the first b rungs are left out. */
export function rungStep({ minSteps, reductionFactor }: HalvingSettings, bracket: number, rung: number): number {
  return minSteps * reductionFactor ** (bracket + rung);
}

/**
 * Asynchronous successive halving (Li et al. 2020) where a trial cannot be set aside: at each rung it goes on if its
 * value is among the best 1/reductionFactor of those that got there before it, and stops otherwise.
 *
 * @param reports by step, the lowest first; lower values are better.
 * @param passed values at the rungs that the trial has passed. What was decided is not decided again.
 * @param others values at the rungs of the bracket's other trials.
 */
export function climb(
  reports: readonly Report[],
  passed: readonly number[],
  others: readonly (readonly number[])[],
  settings: HalvingSettings,
  bracket: number,
): Climb {
  const rungs = [...passed];
  for (;;) {
    const step = rungStep(settings, bracket, rungs.length);
    if (step >= settings.maxSteps) return { rungs, stop: false };
    const report = reports.find((one) => one.step >= step);
    if (report === undefined) return { rungs, stop: false };
    const rung = rungs.length;
    rungs.push(report.value);
    const values = others.flatMap((other) => (other.length > rung ? [other[rung]] : []));
    if (!goesOn(report.value, values, settings.reductionFactor)) return { rungs, stop: true };
  }
}

function goesOn(value: number, others: readonly number[], reductionFactor: number): boolean {
  if (Number.isNaN(value)) return false;
  const sorted = [...others.filter((other) => !Number.isNaN(other)), value].sort((a, b) => a - b);
  return value <= sorted[Math.max(1, Math.floor(sorted.length / reductionFactor)) - 1];
}

/** Hyperband's brackets: how many there are, from the boldest (0) to the one that stops nobody. */
export function bracketCount({ minSteps, maxSteps, reductionFactor }: HalvingSettings): number {
  return Math.floor(Math.log(maxSteps / minSteps) / Math.log(reductionFactor) + 1e-9) + 1;
}

/** The bracket of a new trial, by chance; bold ones get more trials, so that each has about as many steps to spend. */
export function chooseBracket(settings: HalvingSettings, random: Random): number {
  const count = bracketCount(settings);
  const trials = Array.from({ length: count }, (_, bracket) => {
    const s = count - 1 - bracket;
    return Math.ceil((count * settings.reductionFactor ** s) / (s + 1));
  });
  let left = random() * trials.reduce((a, b) => a + b);
  for (const [bracket, share] of trials.entries()) {
    left -= share;
    if (left < 0) return bracket;
  }
  return count - 1;
}
