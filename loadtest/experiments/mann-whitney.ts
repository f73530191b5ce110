import { normalCdf } from '../../src/experiments/statistics/normal.ts';

export interface RankTest {
  /** U of the second sample: pairs in which its value is the larger, ties as a half. */
  u: number;
  /** One-sided: how likely the second sample ranks as high or higher by chance. */
  greater: number;
  twoSided: number;
}

/** Up to this many values in all the permutation distribution is counted out, ties included. */
const EXACT_UP_TO = 60;

/** Mann and Whitney's test that the values of `b` tend to be larger than those of `a`. */
export function mannWhitney(a: readonly number[], b: readonly number[]): RankTest {
  const groups = rankGroups(a, b);
  const n = a.length;
  const m = b.length;
  const rankSum = groups.reduce((sum, { rank, inB }) => sum + rank * inB, 0);
  const u = rankSum - (m * (m + 1)) / 2;
  if (n === 0 || m === 0) return { u, greater: 1, twoSided: 1 };
  return n + m <= EXACT_UP_TO ? exact(groups, u, n, m) : approximate(groups, u, n, m);
}

interface TieGroup {
  size: number;
  /** Their common rank: the mean of the places they share. */
  rank: number;
  inB: number;
}

function rankGroups(a: readonly number[], b: readonly number[]): TieGroup[] {
  const all = [...a.map((value) => ({ value, inB: 0 })), ...b.map((value) => ({ value, inB: 1 }))];
  all.sort((x, y) => x.value - y.value);
  const groups: TieGroup[] = [];
  for (let start = 0; start < all.length; ) {
    let end = start;
    let inB = 0;
    while (end < all.length && all[end].value === all[start].value) inB += all[end++].inB;
    groups.push({ size: end - start, rank: (start + 1 + end) / 2, inB });
    start = end;
  }
  return groups;
}

function approximate(groups: TieGroup[], u: number, n: number, m: number): RankTest {
  const total = n + m;
  const ties = groups.reduce((sum, { size }) => sum + (size ** 3 - size), 0);
  const sigma = Math.sqrt(((n * m) / 12) * (total + 1 - ties / (total * (total - 1))));
  if (sigma === 0) return { u, greater: 1, twoSided: 1 };
  const above = u - (n * m) / 2;
  return {
    u,
    greater: normalCdf(-(above - 0.5) / sigma),
    twoSided: Math.min(1, 2 * normalCdf(-(Math.abs(above) - 0.5) / sigma)),
  };
}

/** Counts, for every rank sum, the ways to choose which of the pooled values are b's. */
function exact(groups: TieGroup[], u: number, n: number, m: number): RankTest {
  const total = n + m;
  // Twice the rank sum, so that shared ranks stay whole.
  const width = total * (total + 1) + 1;
  let ways: Float64Array[] = Array.from({ length: m + 1 }, () => new Float64Array(0));
  ways[0] = Float64Array.of(1);
  for (const { size, rank } of groups) {
    const next: Float64Array[] = ways.map((row) => row.slice());
    for (let chosen = 0; chosen <= m; chosen++) {
      if (ways[chosen].length === 0) continue;
      let choices = 1;
      for (let take = 1; take <= size && chosen + take <= m; take++) {
        choices = (choices * (size - take + 1)) / take;
        const shift = 2 * rank * take;
        const target = grown(next[chosen + take], Math.min(width, ways[chosen].length + shift));
        ways[chosen].forEach((count, sum) => {
          target[sum + shift] += count * choices;
        });
        next[chosen + take] = target;
      }
    }
    ways = next;
  }
  const observed = Math.round(2 * (u + (m * (m + 1)) / 2));
  const centre = m * (total + 1);
  const distance = Math.abs(observed - centre);
  let all = 0;
  let high = 0;
  let far = 0;
  ways[m].forEach((count, sum) => {
    all += count;
    if (sum >= observed) high += count;
    if (Math.abs(sum - centre) >= distance) far += count;
  });
  return { u, greater: high / all, twoSided: far / all };
}

function grown(row: Float64Array, length: number): Float64Array {
  if (row.length >= length) return row;
  const larger = new Float64Array(length);
  larger.set(row);
  return larger;
}
