import { z } from 'zod';
import { invalidParameter, shown } from '../../registry/errors.ts';
import { flag, int64 } from '../../registry/rest/fields.ts';
import { FORMATS, type Format } from '../formats/formats.ts';
import { DATASET_KINDS, type DatasetVersion } from './dataset.ts';
import type { ImportView } from './imports.ts';

export const kind = z.enum(DATASET_KINDS).default('tabular');
export const tags = z.record(z.string(), z.string()).default({});
export const readers = z.array(z.string()).max(1000);
export const parents = z.array(z.strictObject({ name: z.string(), version: z.int().positive() })).max(1000);
export const versionNumber = int64.refine((version) => version > 0, 'must be 1 or larger');
export const paging = { max_results: int64.optional(), page_token: z.string().optional() };
export const wholeHistory = flag.default(false);

/** As answers show it. */
export function datasetJson(dataset: DatasetVersion): object {
  const { mlflowDigest, runId, createdAt, tags: given, ...rest } = dataset;
  return { ...rest, mlflow_digest: mlflowDigest, run_id: runId, created_at: createdAt, tags: given };
}

export function importJson({ totalBytes, startedAt, endedAt, ...rest }: ImportView): object {
  return { ...rest, total_bytes: totalBytes ?? null, started_at: startedAt, ended_at: endedAt };
}

/** Throws invalid_argument. */
export function readFormat(text: string | null): Format {
  const format = (text ?? 'parquet') as Format;
  if (FORMATS.includes(format)) return format;
  throw invalidParameter(`format ${shown(text)} is not allowed; give ${FORMATS.join(', ')}`);
}

/** A version in a path; undefined: "latest". Throws invalid_argument. */
export function readVersion(text: string): number | undefined {
  if (text === 'latest') return undefined;
  if (/^[1-9]\d{0,14}$/.test(text)) return Number(text);
  throw invalidParameter(`version ${shown(text)} is not allowed; give a number from 1, or latest`);
}

/** A query value as JSON, checked. Throws invalid_argument. */
export function jsonQuery<T>(query: URLSearchParams, name: string, schema: z.ZodType<T>, absent: T): T {
  const text = query.get(name);
  if (text === null) return absent;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw invalidParameter(`${name}: ${shown(text)} is no JSON`);
  }
  const { success, data, error } = schema.safeParse(value);
  if (success) return data;
  throw invalidParameter(
    `${name}: ${error.issues.map(({ path, message }) => `${path.join('.')} ${message}`).join('; ')}`,
  );
}
