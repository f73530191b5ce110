/**
 * Sums of doubles without rounding: a list of doubles that do not overlap and add up to the sum exactly (Shewchuk's
 * expansions). So a sum does not depend on the order of its terms, nor on how they were grouped.
 */
export type ExactSum = number[];

/** Larger terms could overflow when they are squared. */
export const MAX_TERM = 1e100;
const SPLITTER = 2 ** 27 + 1;

/** Adds a finite term of at most MAX_TERM squared. */
export function addTerm(sum: ExactSum, term: number): void {
  let carried = term;
  let kept = 0;
  for (let i = 0; i < sum.length; i++) {
    const [large, small] = Math.abs(carried) < Math.abs(sum[i]) ? [sum[i], carried] : [carried, sum[i]];
    carried = large + small;
    const rest = small - (carried - large);
    if (rest !== 0) sum[kept++] = rest;
  }
  sum.length = kept;
  if (carried !== 0) sum.push(carried);
}

/** Adds an integer of any width, or a double. */
export function addNumber(sum: ExactSum, value: number | bigint): void {
  const near = Number(value);
  addTerm(sum, near);
  if (typeof value === 'bigint') addTerm(sum, Number(value - BigInt(near)));
}

/** The sum of integers, with all its digits. */
export function wideSum(sum: ExactSum): bigint {
  return sum.reduce((total, term) => total + BigInt(term), 0n);
}

/** Adds a × b: the rounded product, and what the rounding lost. */
export function addProduct(sum: ExactSum, a: number, b: number): void {
  const product = a * b;
  const [aHigh, aLow] = split(a);
  const [bHigh, bLow] = split(b);
  addTerm(sum, aLow * bLow - (product - aHigh * bHigh - aLow * bHigh - aHigh * bLow));
  addTerm(sum, product);
}

/** Two halves of a double's digits (Veltkamp). */
function split(value: number): [number, number] {
  const scaled = SPLITTER * value;
  const high = scaled - (scaled - value);
  return [high, value - high];
}

export function addSum(sum: ExactSum, other: ExactSum): void {
  for (const term of other) addTerm(sum, term);
}

/** The double nearest to the sum; ties go to even. */
export function roundedSum(sum: ExactSum): number {
  let next = sum.length;
  if (next === 0) return 0;
  let total = sum[--next];
  let rest = 0;
  while (next > 0 && rest === 0) {
    const before = total;
    const term = sum[--next];
    total = before + term;
    rest = term - (total - before);
  }
  // Half-way between two doubles: what is left below decides.
  if (next > 0 && rest !== 0 && Math.sign(rest) === Math.sign(sum[next - 1])) {
    const twice = 2 * rest;
    const up = total + twice;
    if (up - total === twice) return up;
  }
  return total;
}

/** The one list of its kind for a sum, whatever terms it came of: each item is what is left, rounded. */
function canonical(sum: ExactSum): ExactSum {
  const left = [...sum];
  const items: ExactSum = [];
  while (left.length > 0) {
    const item = roundedSum(left);
    items.push(item);
    addTerm(left, -item);
  }
  return items;
}

/** Standard deviation of the population of `count` ≥ 1 values, from their sum and the sum of their squares. */
export function deviationOf(count: number, sum: ExactSum, squares: ExactSum): number {
  const spread: ExactSum = [];
  for (const term of canonical(squares)) addProduct(spread, count, term);
  const terms = canonical(sum);
  for (const a of terms) for (const b of terms) addProduct(spread, -a, b);
  return Math.sqrt(Math.max(0, roundedSum(spread))) / count;
}
