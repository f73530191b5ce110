import { seededRandom, shuffled } from '../tables/random.ts';
import type { Cell } from '../tables/table.ts';

/** Features by column, all of one length. */
export type Features = readonly (readonly Cell[])[];

/** A figure with its 95 % interval, which says how much of it is chance of the sampling. */
export interface Estimate {
  mean: number;
  low: number;
  high: number;
}

export interface FeatureAttribution extends Estimate {
  feature: string;
  /** Shapley values only: the mean of the signed values, which tells the direction. */
  signed?: Estimate;
}

/**
 * Permutation importance: how much a score falls when one feature's values are dealt out anew, so that they say nothing
 * any more. One estimate per feature, of `repeats` deals.
 *
 * @param score more is better
 */
export async function permutationImportance(
  features: Features,
  names: readonly string[],
  score: (features: Features) => Promise<number>,
  { repeats, seed }: { repeats: number; seed: number },
): Promise<FeatureAttribution[]> {
  const random = seededRandom(seed);
  const whole = await score(features);
  const found: FeatureAttribution[] = [];
  for (const [j, feature] of names.entries()) {
    const falls: number[] = [];
    for (let i = 0; i < repeats; i++) {
      const dealt = shuffled(features[j], random);
      falls.push(whole - (await score(features.map((column, k) => (k === j ? dealt : column)))));
    }
    found.push({ feature, ...estimate(falls) });
  }
  return found;
}

export interface ShapleyOptions {
  /** Rows to explain, drawn from the features. */
  rows: number;
  /** Orders of features per row. */
  samples: number;
  seed: number;
}

/** Values in one call of the model. */
const BATCH_ROWS = 4096;

/**
 * Shapley values by sampling orders of features (Štrumbelj and Kononenko, 2014): a feature's share in what the model says
 * of a row is the change when its value takes the place of another row's, averaged over orders and over other rows.
 * Features' figures are the mean of the absolute values over the rows explained.
 *
 * @param predict for each row the value to explain, say the probability of the class that the row was given
 * @param explained places of rows; default: drawn
 */
export async function shapleyValues(
  features: Features,
  names: readonly string[],
  predict: (features: Features, explained: readonly number[]) => Promise<ArrayLike<number>>,
  { rows, samples, seed }: ShapleyOptions,
  explained?: readonly number[],
): Promise<{ attributions: FeatureAttribution[]; rows: number[]; values: number[][] }> {
  const random = seededRandom(seed);
  const n = features[0]?.length ?? 0;
  const all = Array.from({ length: n }, (_, i) => i);
  const chosen = [...(explained ?? shuffled(all, random).slice(0, rows))].sort((a, b) => a - b);
  const d = names.length;
  const values: number[][] = [];
  for (const row of chosen) {
    const sums = new Float64Array(d);
    const perBatch = Math.max(1, Math.floor(BATCH_ROWS / (d + 1)));
    for (let from = 0; from < samples; from += perBatch) {
      const count = Math.min(perBatch, samples - from);
      const walks = Array.from({ length: count }, () => ({
        order: shuffled(
          names.map((_, j) => j),
          random,
        ),
        other: Math.floor(random() * n),
      }));
      const made = await predict(walkRows(features, row, walks), new Array<number>(count * (d + 1)).fill(row));
      walks.forEach(({ order }, walk) => {
        const base = walk * (d + 1);
        order.forEach((j, step) => {
          sums[j] += made[base + step + 1] - made[base + step];
        });
      });
    }
    values.push(Array.from(sums, (sum) => sum / samples));
  }
  const attributions = names.map((feature, j) => {
    const own = values.map((one) => one[j]);
    return { feature, ...estimate(own.map(Math.abs)), signed: estimate(own) };
  });
  return { attributions, rows: chosen, values };
}

/** For each walk the other row, then the same with the explained row's values taking over one by one in the walk's order. */
function walkRows(
  features: Features,
  row: number,
  walks: readonly { order: readonly number[]; other: number }[],
): Features {
  const d = features.length;
  const columns = features.map((): Cell[] => new Array<Cell>(walks.length * (d + 1)));
  walks.forEach(({ order, other }, walk) => {
    const base = walk * (d + 1);
    order.forEach((j, step) => {
      for (let i = 0; i <= d; i++) columns[j][base + i] = features[j][i > step ? row : other];
    });
  });
  return columns;
}

/** Mean of independent figures and Student's interval of it. */
export function estimate(values: readonly number[]): Estimate {
  const n = values.length;
  const mean = values.reduce((a, b) => a + b, 0) / n;
  if (n < 2) return { mean, low: mean, high: mean };
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (n - 1);
  const half = studentQuantile(n - 1) * Math.sqrt(variance / n);
  return { mean, low: mean - half, high: mean + half };
}

const EXACT = [12.7062, 4.3027, 3.1824, 2.7764];

/** The 97.5 % quantile of Student's t: exact for 1 to 4 degrees of freedom, expanded around the normal one above. */
function studentQuantile(freedom: number): number {
  if (freedom <= EXACT.length) return EXACT[freedom - 1];
  const z = 1.959963984540054;
  const first = (z ** 3 + z) / 4;
  const second = (5 * z ** 5 + 16 * z ** 3 + 3 * z) / 96;
  const third = (3 * z ** 7 + 19 * z ** 5 + 17 * z ** 3 - 15 * z) / 384;
  return z + first / freedom + second / freedom ** 2 + third / freedom ** 3;
}
