import { logNormalCdf, normalCdf, normalQuantile } from '../../../experiments/statistics/normal.ts';
import { pick, type Random } from './random-source.ts';
import {
  bounds,
  type ChoiceDimension,
  type Dimension,
  fromAxis,
  type NumberDimension,
  type Params,
  toAxis,
} from './space.ts';

const LOG_SQRT_TWO_PI = 0.9189385332046727;

/** Gaussians cut at the bounds, one per observation and a wide one, the prior, as the last. */
interface NumberKernels {
  dimension: NumberDimension;
  low: number;
  high: number;
  mu: Float64Array;
  sigma: Float64Array;
  /** Log of each Gaussian's mass inside the bounds. */
  logMass: Float64Array;
}

/** Probabilities of the choices, a row per kernel. */
interface ChoiceKernels {
  dimension: ChoiceDimension;
  rows: Float64Array[];
}

type Kernels = NumberKernels | ChoiceKernels;

/** A mixture with one kernel per observed point and the prior; within a kernel the dimensions are independent. */
export interface Density {
  weights: Float64Array;
  dimensions: readonly Kernels[];
}

/**
 * The density of the observed points, oldest first. Old ones weigh less once there are more than 25. `priorWeight` is
 * the prior's, in observations.
 */
export function densityOf(space: readonly Dimension[], points: readonly Params[], priorWeight = 1): Density {
  const weights = points.length === 0 ? Float64Array.of(1) : Float64Array.of(...ramp(points.length), priorWeight);
  const sum = weights.reduce((a, b) => a + b);
  return {
    weights: weights.map((weight) => weight / sum),
    dimensions: space.map((dimension) => {
      const places = points.map((point) => toAxis(dimension, point[dimension.name]));
      return dimension.kind === 'choice'
        ? choiceKernels(dimension, places, priorWeight)
        : numberKernels(dimension, places);
    }),
  };
}

/** The last 25 weigh 1; before them weights rise evenly from 1/n to 1. */
function ramp(n: number): number[] {
  const old = Math.max(0, n - 25);
  return Array.from({ length: n }, (_, i) => (i >= old ? 1 : 1 / n + ((1 - 1 / n) * i) / Math.max(1, old - 1)));
}

function choiceKernels(dimension: ChoiceDimension, places: readonly number[], priorWeight: number): ChoiceKernels {
  const count = dimension.choices.length;
  if (places.length === 0) return { dimension, rows: [new Float64Array(count).fill(1 / count)] };
  const kernels = places.length + 1;
  const base = priorWeight / kernels;
  const rows = Array.from({ length: kernels }, (_, i) => {
    const row = new Float64Array(count).fill(base);
    if (i < places.length) row[places[i]] += 1;
    const sum = row.reduce((a, b) => a + b);
    return sum === 0 ? new Float64Array(count).fill(1 / count) : row.map((weight) => weight / sum);
  });
  return { dimension, rows };
}

/** Each Gaussian is as wide as the larger gap to its neighbours, within limits that narrow as points come in. */
function numberKernels(dimension: NumberDimension, places: readonly number[]): NumberKernels {
  const { low, high } = bounds(dimension);
  const range = high - low;
  const order = places.map((_, i) => i).sort((a, b) => places[a] - places[b]);
  const narrowest = range / Math.min(100, places.length + 2);
  const mu = Float64Array.of(...places, 0.5 * (low + high));
  const sigma = new Float64Array(places.length + 1).fill(range);
  for (const [rank, i] of order.entries()) {
    const below = rank === 0 ? low : places[order[rank - 1]];
    const above = rank === order.length - 1 ? high : places[order[rank + 1]];
    let gap = Math.max(places[i] - below, above - places[i]);
    // The bounds themselves are no neighbours where there are others.
    if (order.length > 1 && rank === 0) gap = above - places[i];
    if (order.length > 1 && rank === order.length - 1) gap = places[i] - below;
    sigma[i] = Math.min(range, Math.max(narrowest, gap));
  }
  const logMass = mu.map((center, i) => logMassBetween((low - center) / sigma[i], (high - center) / sigma[i]));
  return { dimension, low, high, mu, sigma, logMass };
}

/** ln(Φ(b) − Φ(a)) for a < b, exact far out on either side. */
export function logMassBetween(a: number, b: number): number {
  if (a > 0) return logMassBetween(-b, -a);
  if (b > 0) return Math.log(normalCdf(b) - normalCdf(a));
  const upper = logNormalCdf(b);
  return upper + Math.log1p(-Math.exp(logNormalCdf(a) - upper));
}

/** A point drawn from the density. */
export function drawPoint({ weights, dimensions }: Density, random: Random): Params {
  const kernel = pick(weights, random);
  return Object.fromEntries(
    dimensions.map((kernels) => [
      kernels.dimension.name,
      fromAxis(kernels.dimension, drawPlace(kernels, kernel, random)),
    ]),
  );
}

function drawPlace(kernels: Kernels, kernel: number, random: Random): number {
  if ('rows' in kernels) return pick(kernels.rows[kernel], random);
  const { low, high, mu, sigma } = kernels;
  const from = normalCdf((low - mu[kernel]) / sigma[kernel]);
  const to = normalCdf((high - mu[kernel]) / sigma[kernel]);
  const z = normalQuantile(from + (to - from) * random());
  return Math.min(high, Math.max(low, mu[kernel] + sigma[kernel] * z));
}

/** Log density at a point; of numbers with a step, log probability. */
export function logDensity({ weights, dimensions }: Density, point: Params): number {
  const logs = weights.map((weight) => Math.log(weight));
  for (const kernels of dimensions) {
    const add = logKernels(kernels, point);
    for (let i = 0; i < logs.length; i++) logs[i] += add(i);
  }
  const max = logs.reduce((a, b) => Math.max(a, b));
  if (max === Number.NEGATIVE_INFINITY) return max;
  return max + Math.log(logs.reduce((sum, log) => sum + Math.exp(log - max), 0));
}

function logKernels(kernels: Kernels, point: Params): (kernel: number) => number {
  const value = point[kernels.dimension.name];
  const place = toAxis(kernels.dimension, value);
  if ('rows' in kernels) return (i) => Math.log(kernels.rows[i][place]);
  const { dimension, mu, sigma, logMass } = kernels;
  if (dimension.step === undefined) {
    return (i) => -0.5 * ((place - mu[i]) / sigma[i]) ** 2 - Math.log(sigma[i]) - LOG_SQRT_TWO_PI - logMass[i];
  }
  const half = dimension.step / 2;
  const [left, right] = [(value as number) - half, (value as number) + half];
  const [from, to] = dimension.log ? [Math.log(left), Math.log(right)] : [left, right];
  return (i) => logMassBetween((from - mu[i]) / sigma[i], (to - mu[i]) / sigma[i]) - logMass[i];
}
