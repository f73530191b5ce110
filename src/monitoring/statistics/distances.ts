/**
 * How far two distributions over the same bins are apart. All take counts and are exact; none depends on the order in
 * which counts were summed, so that sums of several servers or windows can be compared as one.
 */

/** Stands for the share of an empty bin in PSI, which has no value for it: evidently's figure. */
export const EMPTY_SHARE = 1e-4;

function shares(counts: readonly number[]): number[] {
  let total = 0;
  for (const count of counts) total += count;
  return counts.map((count) => (total === 0 ? 0 : count / total));
}

/** Population stability index, Σ (q − p) ln(q / p) over the bins that one of both has. */
export function psi(reference: readonly number[], current: readonly number[]): number {
  const p = shares(reference);
  const q = shares(current);
  let sum = 0;
  for (let i = 0; i < p.length; i++) {
    if (p[i] === 0 && q[i] === 0) continue;
    const expected = p[i] || EMPTY_SHARE;
    const actual = q[i] || EMPTY_SHARE;
    sum += (actual - expected) * Math.log(actual / expected);
  }
  return sum;
}

/** Jensen–Shannon distance with logarithms of base 2: 0 = the same, 1 = nothing in common. */
export function jensenShannon(reference: readonly number[], current: readonly number[]): number {
  const p = shares(reference);
  const q = shares(current);
  let sum = 0;
  for (let i = 0; i < p.length; i++) {
    const middle = (p[i] + q[i]) / 2;
    if (p[i] > 0) sum += (p[i] / 2) * Math.log2(p[i] / middle);
    if (q[i] > 0) sum += (q[i] / 2) * Math.log2(q[i] / middle);
  }
  return Math.sqrt(Math.max(0, sum));
}

/** The largest difference of one bin's share. */
export function lInfinity(reference: readonly number[], current: readonly number[]): number {
  const p = shares(reference);
  const q = shares(current);
  return Math.max(0, ...p.map((share, i) => Math.abs(share - q[i])));
}
