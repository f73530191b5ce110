import { uniformFloat64 } from 'pure-rand/distribution/uniformFloat64';
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus';
import type { Weighted } from './samples.ts';

/** Of 95 %, unless it says otherwise. */
export interface Interval {
  low: number;
  high: number;
}

type Random = () => number;
type Effect = (reference: readonly number[], current: readonly number[]) => number;
type SampleEffect = (reference: Weighted, current: Weighted) => number;

export interface Drawing {
  draws?: number;
  seed?: number;
}

const DRAWS = 200;
const Z = 1.959963984540054;

/** Uniform numbers in [0, 1), the same for the same seed. */
export function seededRandom(seed: number): Random {
  const generator = xoroshiro128plus(seed);
  for (let i = 0; i < 16; i++) generator.next();
  return () => uniformFloat64(generator);
}

/** Above it a Poisson number is drawn from the normal distribution of the same mean and variance. */
const NORMAL_ABOVE = 30;

/** Poisson numbers; the work for one does not grow with its mean. */
function poissonSource(random: Random): (mean: number) => number {
  let spare = Number.NaN;
  const normal = (): number => {
    if (!Number.isNaN(spare)) {
      const kept = spare;
      spare = Number.NaN;
      return kept;
    }
    const radius = Math.sqrt(-2 * Math.log(1 - random()));
    const angle = 2 * Math.PI * random();
    spare = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  };
  return (mean) => {
    if (mean <= 0) return 0;
    if (mean > NORMAL_ABOVE) return Math.max(0, Math.round(mean + Math.sqrt(mean) * normal()));
    const end = Math.exp(-mean);
    let count = 0;
    for (let product = random(); product > end; product *= random()) count++;
    return count;
  };
}

/**
 * 95 % interval of PSI or of the Jensen–Shannon distance, both sides drawn anew by the Poisson bootstrap: every bin's count
 * is a Poisson number around what was counted. Given their sum such counts are multinomial, which is the ordinary
 * bootstrap, and the effects depend on shares alone (Hanley and MacGibbon, Computer Methods and Programs in Biomedicine 83,
 * 2006; Chamandy, Muralidharan, Najmi and Naidu, Estimating Uncertainty for Massive Data Streams, 2012). So it costs as
 * much for ten million rows as for a thousand, and needs nothing but the merged counts.
 *
 * The interval is the normal one with the bootstrap's bias and deviation (Davison and Hinkley, Bootstrap Methods and their
 * Application, 1997, 5.2.1), on the scale of the root, where both are nearly normal. Near nothing they are not: what χ²
 * gives to chance (`chance`) may be nothing, and the interval begins there.
 */
export function effectInterval(
  effect: Effect,
  reference: readonly number[],
  current: readonly number[],
  { root, chance }: { root: boolean; chance: boolean },
  { draws = DRAWS, seed = 1 }: Drawing = {},
): Interval {
  const poisson = poissonSource(seededRandom(seed));
  const scaled = (value: number): number => (root ? Math.sqrt(value) : value);
  const back = (value: number): number => (root ? Math.max(0, value) ** 2 : Math.max(0, value));
  const replicates = Array.from({ length: draws }, () => scaled(effect(reference.map(poisson), current.map(poisson))));
  const mean = replicates.reduce((sum, value) => sum + value, 0) / draws;
  const deviation = Math.sqrt(replicates.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (draws - 1));
  const estimate = scaled(effect(reference, current));
  const middle = Math.max(0, 2 * estimate - mean);
  return { low: chance ? 0 : back(middle - Z * deviation), high: back(middle + Z * deviation) };
}

/**
 * The same of a distance that is a norm of the difference of both sides, as L∞, D and Wasserstein's are: it is wrong by no
 * more than the norm of the difference's own error, whose 95 % quantile is drawn. So, but for what a sketch is not sure of, they hold the truth in at
 * least 95 %, also where nothing changed, and also where the largest difference is another one in each sample, which
 * intervals of the largest one itself do not (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, 7.4).
 * @param error norm of one draw's error
 */
function normInterval(estimate: number, error: () => number, draws: number): Interval {
  const errors = Array.from({ length: draws }, error).sort((a, b) => a - b);
  const most = errors[Math.min(draws - 1, Math.ceil(0.95 * draws) - 1)];
  return { low: Math.max(0, estimate - most), high: estimate + most };
}

/** Of L∞ over counts, drawn as effectInterval's are. */
export function largestInterval(
  effect: Effect,
  reference: readonly number[],
  current: readonly number[],
  { draws = DRAWS, seed = 1 }: Drawing = {},
): Interval {
  const poisson = poissonSource(seededRandom(seed));
  const [p, q] = [sharesOf(reference), sharesOf(current)];
  const error = (): number => {
    const [before, now] = [sharesOf(reference.map(poisson)), sharesOf(current.map(poisson))];
    // (p* − q*) − (p − q) as the difference of two sums, each of which has a whole of 2.
    const one = before.map((share, i) => share + q[i]);
    const other = now.map((share, i) => share + p[i]);
    return 2 * effect(one, other);
  };
  return normInterval(effect(reference, current), error, draws);
}

function sharesOf(counts: readonly number[]): number[] {
  const total = counts.reduce((sum, count) => sum + count, 0);
  return counts.map((count) => (total === 0 ? 0 : count / total));
}

/** σ of one rank of a KLL sketch: datasketches' fitted bound holds for 99 % of ranks, which is 2.576 σ. */
export function rankDeviation(k: number): number {
  return 2.296 / k ** 0.9723 / 2.576;
}

/**
 * Of a distance of quantile sketches' samples: every value that a sketch keeps stands for a Poisson number of rows about
 * its weight. A sketch does not know its ranks exactly. An error of σ in a rank is what the median has in a sample of
 * 1 / 4σ² rows: sampling and sketching together are drawn as a sample of 1 / (1/n + 4σ²).
 * @param deviations σ of one rank, of each sketch; 0: nothing was left out
 * @param unit what the distance is divided by
 */
export function sampleInterval(
  effect: SampleEffect,
  reference: Weighted,
  current: Weighted,
  deviations: readonly [number, number],
  unit = 1,
  { draws = DRAWS, seed = 1 }: Drawing = {},
): Interval {
  const poisson = poissonSource(seededRandom(seed));
  const sides = [reference, current].map(({ values, weights }, i) => {
    const own = Array.from(values, (_, at) => weights?.[at] ?? 1);
    const total = own.reduce((sum, weight) => sum + weight, 0);
    return { own, shares: own.map((weight) => weight / total), shrink: 1 / (1 + 4 * deviations[i] ** 2 * total) };
  });
  // Both samples as one: values in order, each with its place in its own sample.
  const places = sides.flatMap(({ own }, side) => own.map((_, at) => ({ side, at })));
  const placed = ({ side, at }: { side: number; at: number }): number => (side === 0 ? reference : current).values[at];
  places.sort((x, y) => placed(x) - placed(y));
  const values = Float64Array.from(places, placed);
  const redraw = ({ own, shrink }: (typeof sides)[number]): number[] =>
    sharesOf(own.map((weight) => poisson(weight * shrink)));
  const error = (): number => {
    const drawn = sides.map(redraw);
    // (F* − G*) − (F − G) as the difference of two sums, each of which has a whole of 2.
    const one = places.map(({ side, at }) => (side === 0 ? drawn[0][at] : sides[1].shares[at]));
    const other = places.map(({ side, at }) => (side === 1 ? drawn[1][at] : sides[0].shares[at]));
    return (2 * effect({ values, weights: one }, { values, weights: other })) / unit;
  };
  return normInterval(effect(reference, current) / unit, error, draws);
}

/** Wilson's interval of a share (Journal of the American Statistical Association 22, 1927). */
export function shareInterval(hits: number, total: number): Interval {
  const share = hits / total;
  const square = (Z * Z) / total;
  const middle = (share + square / 2) / (1 + square);
  const half = (Z / (1 + square)) * Math.sqrt((share * (1 - share)) / total + square / (4 * total));
  return { low: Math.max(0, middle - half), high: Math.min(1, middle + half) };
}

/** Of a mean by its central limit; figures that cannot be negative. */
export function meanInterval(mean: number, meanSquare: number, total: number): Interval {
  const half = Z * Math.sqrt(Math.max(0, meanSquare - mean * mean) / total);
  return { low: Math.max(0, mean - half), high: mean + half };
}
