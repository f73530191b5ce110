import { invalidArgument } from '../../shared/errors.ts';
import type { FeatureValue } from '../documents/values.ts';
import type { FittedStep, FittedTransform } from './spec.ts';

export function numberOf(value: FeatureValue, feature: string): number {
  if (typeof value === 'number') return value;
  if (typeof value === 'bigint' || typeof value === 'boolean') return Number(value);
  throw invalidArgument(
    `feature ${feature} is ${JSON.stringify(value)?.slice(0, 80)}, and its transform takes a number`,
  );
}

export function textOf(value: FeatureValue): string {
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
