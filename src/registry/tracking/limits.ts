import { posix } from 'node:path';
import { invalidParameter, shown } from '../errors.ts';

/** The lengths that MLflow's server enforces. */
export const LIMITS = {
  metricsPerBatch: 1000,
  paramsPerBatch: 100,
  tagsPerBatch: 100,
  entitiesPerBatch: 1000,
  batchBytes: 1_000_000,
  key: 250,
  paramValue: 6000,
  tagValue: 8000,
  experimentName: 500,
  experimentTagValue: 20_000,
  artifactLocation: 2048,
  datasetName: 500,
  datasetDigest: 36,
  datasetSource: 65_535,
  datasetSchema: 1_048_575,
  datasetProfile: 16_777_215,
  datasetsPerCall: 1000,
  inputTagKey: 255,
  inputTagValue: 500,
} as const;

/** Throws invalid_argument when a text is longer than the limit. */
export function checkLength(what: string, value: string, limit: number): void {
  if (value.length <= limit) return;
  throw invalidParameter(
    `${what} ${shown(value.slice(0, 100))} has ${value.length} characters; at most ${limit} are allowed`,
  );
}

const PLAIN_KEY = /^[\p{L}\p{N}_.\- /:]+$/u;

/** Names of metrics, params and tags become paths in some stores, so MLflow wants them to be plain ones. */
export function checkKey(what: string, key: string): void {
  if (key === '') throw invalidParameter(`Missing value for required parameter '${what}': a key name must be provided`);
  checkLength(what, key, LIMITS.key);
  if (!PLAIN_KEY.test(key)) {
    throw invalidParameter(
      `Invalid value ${shown(key)} for parameter '${what}' supplied: names may only contain alphanumerics, underscores (_), dashes (-), periods (.), spaces ( ), colons (:) and slashes (/)`,
    );
  }
  if (key.includes('/') || key === '.' || key === '..') {
    if (posix.normalize(key) === key && key !== '.' && !key.startsWith('..') && !key.startsWith('/')) return;
    throw invalidParameter(
      `Invalid value ${shown(key)} for parameter '${what}' supplied: a name with slashes must be a plain relative path`,
    );
  }
}

export function checkTag(key: string, value: string, valueLimit: number = LIMITS.tagValue): void {
  checkKey('key', key);
  checkLength(`value of the tag ${shown(key)}`, value, valueLimit);
}
