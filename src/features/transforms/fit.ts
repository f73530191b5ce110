import { createHash } from 'node:crypto';
import { invalidArgument } from '../../shared/errors.ts';
import type { FeatureValue } from '../documents/values.ts';
import { numberOf, textOf } from './apply.ts';
import type { FittedStep, FittedTransform, TransformSpec } from './spec.ts';

/** Of the state's JSON: what lineage knows a transform by. */
export function transformDigest(fitted: FittedTransform): string {
  return `sha256:${createHash('sha256').update(JSON.stringify(fitted)).digest('hex')}`;
}

/** Learns each step from its feature's values. Missing ones teach nothing. Throws invalid_argument naming the feature. */
export function fitTransform(
  spec: TransformSpec,
  columnOf: (feature: string) => readonly FeatureValue[],
): FittedTransform {
  return spec.map((part) => fitStep(part, columnOf(part.feature)));
}

function fitStep(
  { feature, kind, categories, buckets, boundaries }: TransformSpec[number],
  column: readonly FeatureValue[],
): FittedStep {
  switch (kind) {
    case 'hash':
      return { feature, kind, buckets: buckets as number };
    case 'oneHot':
    case 'ordinal':
      return { feature, kind, values: frequent(column, categories) };
    case 'bucketise':
      if (boundaries !== undefined) return { feature, kind, boundaries };
      return { feature, kind, boundaries: quantiles(numbersOf(feature, column), buckets as number) };
    case 'minMax': {
      const values = numbersOf(feature, column);
      return {
        feature,
        kind,
        min: values.reduce((a, b) => Math.min(a, b)),
        max: values.reduce((a, b) => Math.max(a, b)),
      };
    }
    case 'standard': {
      const values = numbersOf(feature, column);
      const mean = sum(values) / values.length;
      return {
        feature,
        kind,
        mean,
        deviation: Math.sqrt(sum(values.map((value) => (value - mean) ** 2)) / values.length),
      };
    }
    case 'identity':
      return { feature, kind, missing: 0 };
  }
}

/** Compensated, so that the order of rows hardly matters. */
function sum(values: readonly number[]): number {
  let total = 0;
  let lost = 0;
  for (const value of values) {
    const next = total + value;
    lost += Math.abs(total) >= Math.abs(value) ? total - next + value : value - next + total;
    total = next;
  }
  return total + lost;
}

function numbersOf(feature: string, column: readonly FeatureValue[]): number[] {
  const values = column.filter((value) => value !== null).map((value) => numberOf(value, feature));
  const finite = values.filter(Number.isFinite);
  if (finite.length > 0) return finite;
  throw invalidArgument(`feature ${feature} has no number to be fitted on`);
}

/** The most frequent values, in order of code points. */
function frequent(column: readonly FeatureValue[], most: number): string[] {
  const counts = new Map<string, number>();
  for (const value of column) if (value !== null) counts.set(textOf(value), (counts.get(textOf(value)) ?? 0) + 1);
  const order = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
  return [...counts]
    .sort(([a, n], [b, m]) => m - n || order(a, b))
    .slice(0, most)
    .map(([text]) => text)
    .sort(order);
}

function quantiles(values: number[], buckets: number): number[] {
  const sorted = Float64Array.from(values).sort();
  const found = Array.from({ length: buckets - 1 }, (_, i) => sorted[Math.floor(((i + 1) * sorted.length) / buckets)]);
  return [...new Set(found)];
}
