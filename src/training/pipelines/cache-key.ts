import { createHash } from 'node:crypto';
import type { StepKind } from './document.ts';
import { KIND_VERSIONS } from './document.ts';

/** JSON with sorted keys: the same value always gives the same text. Undefined fields do not count. */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value))
    return `[${value.map((item) => canonicalJson(item === undefined ? null : item)).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'null';
  const entries = Object.entries(value)
    .filter(([, inner]) => inner !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${entries.map(([key, inner]) => `${JSON.stringify(key)}:${canonicalJson(inner)}`).join(',')}}`;
}

export function digestJson(value: unknown): string {
  return createHash('sha256').update(canonicalJson(value)).digest('hex');
}

/** All that decides what a step gives. */
export interface StepFacts {
  kind: StepKind;
  /** Settings after substitution, code included: files, command, environment. References stand for nothing here. */
  body: unknown;
  /** Digests of what it reads, by field. */
  inputs: Readonly<Record<string, unknown>>;
}

/** Steps with the same key give the same, so the second is skipped. */
export function cacheKey({ kind, body, inputs }: StepFacts): string {
  return digestJson({ kind, version: KIND_VERSIONS[kind], body, inputs });
}
