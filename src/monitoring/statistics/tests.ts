import { chiSquareTail } from '../../experiments/statistics/gamma.ts';
import { normalCdf } from '../../experiments/statistics/normal.ts';

/** Below it a count is too small for χ²'s approximation. */
export const LEAST_EXPECTED = 5;

export interface ChiSquare {
  statistic: number;
  degrees: number;
  pValue: number;
}

/**
 * Were both counts drawn from one distribution? Pearson's test of homogeneity over the bins that one of both has. With
 * `pool`, bins that would be expected fewer than 5 times in either are taken together first.
 */
export function chiSquareTwoSample(reference: readonly number[], current: readonly number[], pool = false): ChiSquare {
  let pairs = reference.map((count, i): [number, number] => [count, current[i]]).filter(([a, b]) => a + b > 0);
  const n = sum(reference);
  const m = sum(current);
  if (n === 0 || m === 0) return { statistic: 0, degrees: 0, pValue: 1 };
  if (pool) pairs = pooled(pairs, Math.min(n, m) / (n + m));
  let statistic = 0;
  for (const [a, b] of pairs) {
    const share = (a + b) / (n + m);
    statistic += (a - n * share) ** 2 / (n * share) + (b - m * share) ** 2 / (m * share);
  }
  const degrees = pairs.length - 1;
  return { statistic, degrees, pValue: degrees < 1 ? 1 : chiSquareTail(statistic, degrees) };
}

/** @param smaller share of the smaller sample in both: what a bin's total is multiplied with to be expected there */
function pooled(pairs: [number, number][], smaller: number): [number, number][] {
  const sorted = [...pairs].sort((x, y) => x[0] + x[1] - (y[0] + y[1]));
  const rare: [number, number] = [0, 0];
  const enough = (pair: [number, number]): boolean => (pair[0] + pair[1]) * smaller >= LEAST_EXPECTED;
  while (sorted.length > 0 && (!enough(sorted[0]) || (rare[0] + rare[1] > 0 && !enough(rare)))) {
    const [a, b] = sorted.shift() as [number, number];
    rare[0] += a;
    rare[1] += b;
  }
  return rare[0] + rare[1] > 0 ? [...sorted, rare] : sorted;
}

/** Two proportions, two-sided, with the pooled variance. */
export function proportionTest(
  reference: { hits: number; total: number },
  current: { hits: number; total: number },
): { z: number; pValue: number } {
  const p = (reference.hits + current.hits) / (reference.total + current.total);
  const error = Math.sqrt(p * (1 - p) * (1 / reference.total + 1 / current.total));
  const difference = current.hits / current.total - reference.hits / reference.total;
  if (!(error > 0)) return { z: 0, pValue: 1 };
  const z = difference / error;
  return { z, pValue: 2 * normalCdf(-Math.abs(z)) };
}

/** Kolmogorov's limit of P(D > d) for samples of n and m. */
export function kolmogorovTail(d: number, n: number, m: number): number {
  const lambda = Math.sqrt((n * m) / (n + m)) * d;
  if (lambda < 0.2) return 1;
  if (lambda < 1) {
    // The other series of the same function, which converges where the alternating one does not.
    let low = 0;
    for (let k = 1; k <= 20; k++) low += Math.exp(-((2 * k - 1) ** 2 * Math.PI ** 2) / (8 * lambda * lambda));
    return Math.max(0, 1 - (Math.sqrt(2 * Math.PI) / lambda) * low);
  }
  let tail = 0;
  for (let k = 1; k <= 100; k++) {
    const term = Math.exp(-2 * k * k * lambda * lambda);
    tail += k % 2 === 1 ? term : -term;
    if (term < 1e-18) break;
  }
  return Math.min(1, Math.max(0, 2 * tail));
}

function sum(counts: readonly number[]): number {
  let total = 0;
  for (const count of counts) total += count;
  return total;
}
