import { invalidArgument } from '../../shared/errors.ts';
import type { Schema } from '../batch.ts';

export const DATASET_KINDS = ['tabular', 'text', 'images'] as const;
export type DatasetKind = (typeof DATASET_KINDS)[number];

/** One version of a dataset: never changed, but its tags. */
export interface DatasetVersion {
  name: string;
  version: number;
  kind: DatasetKind;
  /** Of its Parquet in the blob store. */
  digest: string;
  /** How runs name it in log-inputs. */
  mlflowDigest: string;
  size: number;
  rows: number;
  schema: Schema;
  source: DatasetOrigin;
  parents: DatasetRef[];
  runId: string;
  rejects: number;
  tags: Record<string, string>;
  actor: string;
  /** Milliseconds since 1970. */
  createdAt: number;
  /** Of the name, the same for all versions. */
  description: string;
  owner: string;
  readers: string[];
}

export interface DatasetRef {
  name: string;
  version: number;
}

/** Where rows came from: the kind of source and what of it a person may see. */
export interface DatasetOrigin {
  kind: string;
  [fact: string]: unknown;
}

export interface NewDataset {
  name: string;
  kind: DatasetKind;
  origin: DatasetOrigin;
  parents: readonly DatasetRef[];
  runId: string;
  tags: Readonly<Record<string, string>>;
  /** Undefined: as the name has it already. */
  description?: string | undefined;
  readers?: readonly string[] | undefined;
}

export interface Caller {
  actor: string;
}

const NAME = /^[A-Za-z0-9][\w.-]{0,127}$/;
const MAX_TAGS = 100;

/** Throws invalid_argument. */
export function checkName(name: string): void {
  if (NAME.test(name)) return;
  throw invalidArgument(
    `the dataset name ${JSON.stringify(name.slice(0, 200))} is not allowed; give 1 to 128 letters, digits, "_", "." and "-", beginning with a letter or digit`,
  );
}

/** Throws invalid_argument. */
export function checkTags(tags: Readonly<Record<string, string>>): void {
  const entries = Object.entries(tags);
  if (entries.length > MAX_TAGS) throw invalidArgument(`${entries.length} tags; at most ${MAX_TAGS} are allowed`);
  for (const [key, value] of entries)
    if (key === '' || key.length > 250 || value.length > 5000)
      throw invalidArgument(
        `the tag ${JSON.stringify(key.slice(0, 100))} is not allowed; keys have 1 to 250 characters, values at most 5000`,
      );
}

/**
 * Whether someone may read a dataset. "*": everyone whom the admin port lets in; "jobs": training jobs; else names of
 * people, as HTTP Basic gives them. Its owner always may.
 */
export function mayRead({ owner, readers }: Pick<DatasetVersion, 'owner' | 'readers'>, { actor }: Caller): boolean {
  if (actor === owner || readers.includes('*')) return true;
  return actor.startsWith('job ') ? readers.includes('jobs') : readers.includes(actor);
}

export function checkReaders(readers: readonly string[]): void {
  const bad = readers.find((reader) => !/^(\*|[\w.@+-]{1,128})$/.test(reader));
  if (bad === undefined) return;
  throw invalidArgument(
    `the reader ${JSON.stringify(bad.slice(0, 200))} is not allowed; give "*" for everyone, "jobs", or names of people`,
  );
}
