import type { DataSchema as KeptSchema } from '../../../config/data-schema.ts';
import type { ErrorCode } from '../../../shared/errors.ts';
import type { EvaluationResult } from '../../evaluation/result.ts';
import type { EvaluationSpec } from '../../evaluation/spec.ts';
import type { SourceSpec } from '../../tables/reader.ts';
import type { SplitSpec } from '../../tables/split.ts';
import type { ColumnFacts, ColumnType } from '../../tables/table.ts';
import type { Operation } from '../../tables/transform.ts';
import type { DataSchema } from '../../tables/validate.ts';

/** A dataset as files: with columns, CSV that a built-in step wrote; without, files that are read like a source. */
export interface DataFiles {
  files: string[];
  columns?: ColumnFacts[] | undefined;
}

/** What a worker process is to do. It writes into the folder `out`. */
export type Work =
  | { kind: 'ingest'; sources: SourceSpec[]; types: Record<string, ColumnType>; out: string }
  | {
      kind: 'validate';
      data: DataFiles;
      schema?: DataSchema | undefined;
      against?: string | undefined;
      /** A schema that the registry keeps, instead of the others. */
      kept?: KeptSchema | undefined;
      out: string;
    }
  | {
      kind: 'transform';
      data: DataFiles;
      also: Record<string, DataFiles>;
      operations: Operation[];
      /** File with what another transform step learnt. */
      state?: string | undefined;
      out: string;
    }
  | { kind: 'split'; data: DataFiles; spec: SplitSpec; out: string }
  | {
      kind: 'evaluate';
      model: string;
      data: DataFiles;
      spec: EvaluationSpec;
      /** The champion's file, to be held beside it on the same data. */
      champion?: string | undefined;
    };

export interface WorkResult {
  /** Output → file that was written, with its columns if it is a dataset. */
  files: Record<string, { path: string; columns?: ColumnFacts[]; rows?: number }>;
  evaluation?: EvaluationResult;
  /** Of the champion, or why it could not be evaluated. */
  champion?: EvaluationResult | { error: string };
  /** Why the data is not as it must be; empty: it is. */
  problems?: string[];
}

export type WorkMessage = { type: 'done'; result: WorkResult } | { type: 'failed'; code: ErrorCode; message: string };
