/** What the file of a data input may be. */
export const DATA_FORMATS = ['parquet', 'csv', 'jsonl'] as const;
export type DataFormat = (typeof DATA_FORMATS)[number];

/** Rows as one file in the blob store. */
export interface DataFile {
  /** sha256:… of its bytes. */
  digest: string;
  size: number;
  rows: number;
}

/** Where jobs' data comes from: datasets and feature views, which other parts of the program hold. */
export interface DataSources {
  /**
   * A version of a dataset (undefined: the latest) in a format, if `actor` or training jobs may read it. Rejects with
   * not_found telling what there is, or permission_denied.
   */
  dataset(
    name: string,
    version: number | undefined,
    format: DataFormat,
    actor: string,
  ): Promise<DataFile & { version: number; datasetDigest: string }>;
  /** Of every entity of a view what was known at a time (milliseconds since 1970). Rejects with not_found, or failed_precondition when nothing was. */
  features(view: string, asOf: number, tenant: string, format: DataFormat): Promise<DataFile>;
  /** Rejects with not_found naming the views there are. */
  checkView(view: string): Promise<void>;
}

const DATASET = /^datasets:\/([A-Za-z0-9][\w.-]{0,127})[@/](latest|[1-9]\d{0,14})$/;

export interface DatasetName {
  name: string;
  /** undefined: the latest */
  version: number | undefined;
}

/** Undefined: the source is none of a dataset. */
export function datasetOf(source: string | undefined): DatasetName | undefined {
  const [, name, version] = DATASET.exec(source ?? '') ?? [];
  return name === undefined ? undefined : { name, version: version === 'latest' ? undefined : Number(version) };
}

/** Why a text names no dataset; undefined: it does, or does not mean to. */
export function datasetProblem(source: string): string | undefined {
  if (!source.startsWith('datasets:') || datasetOf(source) !== undefined) return undefined;
  return `${JSON.stringify(source.slice(0, 200))} names no version of a dataset; give datasets:/<name>@<version>, or datasets:/<name>@latest`;
}

const TIME = /^\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?\s?(?:Z|[+-]\d\d:?\d\d)?)?$/;

/** Milliseconds since 1970 of ISO 8601, UTC where no zone is said; NaN for anything else. */
export function asOfTime(text: string): number {
  if (!TIME.test(text)) return Number.NaN;
  const [day, clock] = [text.slice(0, 10), text.slice(11).replace(/\s/, '')];
  const zoned = clock === '' ? '00:00Z' : /(?:Z|[+-]\d\d:?\d\d)$/.test(clock) ? clock : `${clock}Z`;
  return Date.parse(`${day}T${zoned.replace(/(\.\d{3})\d+/, '$1')}`);
}

/** Why a text is no time as of which features are wanted; undefined: it is one. */
export function asOfProblem(text: string): string | undefined {
  if (text === 'now' || !Number.isNaN(asOfTime(text))) return undefined;
  return 'is no time; give ISO 8601 such as 2026-01-31T12:00:00Z (without a zone: UTC), a day such as 2026-01-31, or now';
}
