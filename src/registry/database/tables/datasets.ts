import type { Generated } from 'kysely';

/** See migrations/0009-datasets.ts. Times are milliseconds since 1970. */
export interface DatasetTables {
  dataset_names: {
    name: string;
    description: string;
    owner: string;
    /** JSON: who may read it besides its owner; "*": everyone, "jobs": jobs. */
    readers: string;
    last_version: number;
    created_at: number;
  };
  dataset_versions: {
    version_key: Generated<number>;
    name: string;
    version: number;
    kind: 'tabular' | 'text' | 'images';
    /** Of its Parquet. */
    digest: string;
    /** The first 32 digits, as runs note datasets. */
    mlflow_digest: string;
    size: number;
    row_count: number;
    /** JSON */
    schema: string;
    /** JSON */
    profile: string;
    /** JSON: where the rows came from. */
    source: string;
    /** JSON: [{name, version}] of datasets it was made of. */
    parents: string;
    /** The run that made it; '' = none. */
    run_id: string;
    /** Rows that did not fit. */
    rejects: number;
    /** Of their file; '' = none. */
    rejects_digest: string;
    actor: string;
    created_at: number;
  };
  dataset_tags: { version_key: number; key: string; value: string };
  data_schemas: {
    name: string;
    version: number;
    /** JSON */
    body: string;
    /** "name/version" of the dataset it was inferred from; '' = written by hand. */
    dataset: string;
    actor: string;
    created_at: number;
  };
}
