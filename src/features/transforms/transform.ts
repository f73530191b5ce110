import { createHash } from 'node:crypto';
import { z } from 'zod';
import { invalidArgument } from '../../shared/errors.ts';
import type { FeatureValue } from '../documents/values.ts';

const numbers = z.array(z.number()).min(1).max(1000);
const ascending = numbers.refine((list) => list.every((value, i) => i === 0 || value > list[i - 1]), 'must ascend');
const KINDS = ['standard', 'minMax', 'oneHot', 'ordinal', 'hash', 'bucketise', 'identity'] as const;

const step = z
  .strictObject({
    feature: z.string().min(1).max(127).describe('Name of the feature it takes'),
    kind: z.enum(KINDS),
    categories: z.number().int().min(1).max(10_000).default(100).describe('oneHot, ordinal: the most frequent so many'),
    buckets: z.number().int().min(2).max(1_000_000).optional().describe('hash: how many; bucketise: quantiles so many'),
    boundaries: ascending.optional().describe('bucketise: where buckets begin; absent: quantiles of what is fitted'),
  })
  .superRefine(({ kind, buckets, boundaries }, context) => {
    if (kind === 'hash' && buckets === undefined)
      context.addIssue({ code: 'custom', path: ['buckets'], message: 'hash needs a number of buckets' });
    if (kind === 'bucketise' && (buckets === undefined) === (boundaries === undefined))
      context.addIssue({
        code: 'custom',
        path: ['boundaries'],
        message: 'bucketise needs either boundaries or buckets',
      });
    if (kind === 'bucketise' && buckets !== undefined && buckets > 1000)
      context.addIssue({ code: 'custom', path: ['buckets'], message: 'at most 1000 quantiles' });
  });

/** What is to be fitted: each step makes one or several columns of numbers from one feature. */
export const transformSpecSchema = z.array(step).min(1).max(1000);
export type TransformSpec = z.output<typeof transformSpecSchema>;

/** A step with what was learnt. */
const fittedStep = z.discriminatedUnion('kind', [
  z.strictObject({ feature: z.string(), kind: z.literal('identity'), missing: z.number() }),
  z.strictObject({ feature: z.string(), kind: z.literal('standard'), mean: z.number(), deviation: z.number() }),
  z.strictObject({ feature: z.string(), kind: z.literal('minMax'), min: z.number(), max: z.number() }),
  z.strictObject({ feature: z.string(), kind: z.literal('oneHot'), values: z.array(z.string()) }),
  z.strictObject({ feature: z.string(), kind: z.literal('ordinal'), values: z.array(z.string()) }),
  z.strictObject({ feature: z.string(), kind: z.literal('hash'), buckets: z.number() }),
  z.strictObject({ feature: z.string(), kind: z.literal('bucketise'), boundaries: z.array(z.number()) }),
]);
type FittedStep = z.infer<typeof fittedStep>;
const fittedSchema = z.array(fittedStep).min(1);

/** Fitted state: plain JSON. Training and serving apply the same one by the same code. */
export type FittedTransform = z.infer<typeof fittedSchema>;

/** Throws invalid_argument with everything that is wrong. */
export function readTransformSpec(plain: unknown): TransformSpec {
  const result = transformSpecSchema.safeParse(plain);
  if (result.success) return result.data;
  throw invalidArgument(
    result.error.issues.map(({ path, message }) => `${['steps', ...path].join('.')}: ${message}`).join('; '),
  );
}

export function readFitted(text: string): FittedTransform {
  return fittedSchema.parse(JSON.parse(text));
}

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

function numberOf(value: FeatureValue, feature: string): number {
  if (typeof value === 'number') return value;
  if (typeof value === 'bigint' || typeof value === 'boolean') return Number(value);
  throw invalidArgument(
    `feature ${feature} is ${JSON.stringify(value)?.slice(0, 80)}, and its transform takes a number`,
  );
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

function textOf(value: FeatureValue): string {
  return typeof value === 'string' ? value : String(value);
}

/** FNV-1a over UTF-8, as stable as the bytes: the same in every process and version. */
export function hashOf(text: string): number {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(text, 'utf8')) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}

/** Columns that one step makes. */
export function stepWidth(part: FittedStep): number {
  return part.kind === 'oneHot' ? part.values.length : 1;
}

export function transformWidth(fitted: FittedTransform): number {
  return fitted.reduce((width, part) => width + stepWidth(part), 0);
}

/** Names of the columns: the feature's, with the value behind it for oneHot. */
export function transformColumns(fitted: FittedTransform): string[] {
  return fitted.flatMap((part) =>
    part.kind === 'oneHot' ? part.values.map((value) => `${part.feature}=${value}`) : [part.feature],
  );
}

/**
 * One row's columns, written to `out` from `at` on. Missing: the middle of what was fitted (standard 0, minMax 0), no
 * category (oneHot all 0; ordinal, hash and bucketise -1). An unknown category likewise. Throws invalid_argument.
 */
export function applyTransform(
  fitted: FittedTransform,
  cellOf: (step: number) => FeatureValue | undefined,
  out: { [index: number]: number },
  at: number,
): void {
  let next = at;
  for (const [i, part] of fitted.entries()) {
    const value = cellOf(i) ?? null;
    const width = stepWidth(part);
    if (part.kind === 'oneHot') {
      const hit = value === null ? -1 : part.values.indexOf(textOf(value));
      for (let j = 0; j < width; j++) out[next + j] = j === hit ? 1 : 0;
    } else out[next] = applyScalar(part, value);
    next += width;
  }
}

function applyScalar(part: Exclude<FittedStep, { kind: 'oneHot' }>, value: FeatureValue): number {
  switch (part.kind) {
    case 'ordinal':
      return value === null ? -1 : part.values.indexOf(textOf(value));
    case 'hash':
      return value === null ? -1 : hashOf(textOf(value)) % part.buckets;
    case 'bucketise': {
      if (value === null) return -1;
      const number = numberOf(value, part.feature);
      let bucket = 0;
      while (bucket < part.boundaries.length && number >= part.boundaries[bucket]) bucket++;
      return bucket;
    }
    case 'standard':
      if (value === null || part.deviation === 0) return 0;
      return (numberOf(value, part.feature) - part.mean) / part.deviation;
    case 'minMax':
      if (value === null || part.max === part.min) return 0;
      return (numberOf(value, part.feature) - part.min) / (part.max - part.min);
    case 'identity':
      return value === null ? part.missing : numberOf(value, part.feature);
  }
}
