import type { FilesSinkConfig } from '../../config/event-log-schema.ts';
import type { RecordKind } from '../encode/container.ts';
import { recordJson, sagemakerLine } from '../encode/json.ts';
import type { FeedbackRecord, LogRecord } from '../record.ts';
import { runsOf, type SpoolRecord } from '../spool/format.ts';
import { decodeSpooled } from './decode.ts';
import type { FileName } from './file-names.ts';
import { feedbackParquet, inferenceParquet } from './parquet-rows.ts';
import { RecordLines } from './record-lines.ts';

type FileFormat = FilesSinkConfig['format'];

/** What becomes one file: records of one kind and one partition, as they come. */
export interface TableRows {
  /** Returns how many cannot be read. */
  add(records: readonly SpoolRecord[]): number;
  /** What waits, in bytes: of lines as they are, of Parquet's rows as they came. */
  readonly bytes: number;
  /** The whole file; undefined: the format has no line for any of them. Valid until the next call of `add`. */
  file(): Uint8Array | undefined;
}

export const ENDINGS: Readonly<Record<FileFormat, FileName['ending']>> = {
  jsonl: 'jsonl',
  sagemaker: 'jsonl',
  parquet: 'parquet',
};

export const MEDIA_TYPES: Readonly<Record<FileFormat, string>> = {
  jsonl: 'application/x-ndjson',
  sagemaker: 'application/x-ndjson',
  parquet: 'application/vnd.apache.parquet',
};

/**
 * @param replayed what a field of that name says of each record; '': lines have none, and rows of Parquet an empty one;
 * undefined: neither has one
 */
export function rowsOf(kind: RecordKind, format: FileFormat, replayed: string | undefined): TableRows {
  if (format === 'parquet') return new ParquetRows(kind, replayed);
  return new LineRows(format, replayed ?? '');
}

class LineRows implements TableRows {
  private readonly lines = new RecordLines();
  private readonly format: FileFormat;
  private readonly replayed: string;

  constructor(format: FileFormat, replayed: string) {
    this.format = format;
    this.replayed = replayed;
  }

  get bytes(): number {
    return this.lines.bytes.length;
  }

  add(records: readonly SpoolRecord[]): number {
    if (this.format === 'jsonl' && this.replayed === '')
      return runsOf(records).reduce((refused, run) => refused + this.lines.add(run), 0);
    let refused = 0;
    for (const spooled of records) {
      const record = decodeSpooled(spooled);
      if (record === undefined) refused++;
      else if (this.format === 'jsonl') this.lines.line(markedJson(record, this.replayed));
      else if ('features' in record) this.lines.line(sagemakerLine(record));
    }
    return refused;
  }

  file(): Uint8Array | undefined {
    const { bytes } = this.lines;
    return bytes.length === 0 ? undefined : bytes;
  }
}

class ParquetRows implements TableRows {
  bytes = 0;
  private readonly kind: RecordKind;
  private readonly replayed: string | undefined;
  private readonly records: (LogRecord | FeedbackRecord)[] = [];

  constructor(kind: RecordKind, replayed: string | undefined) {
    this.kind = kind;
    this.replayed = replayed;
  }

  add(records: readonly SpoolRecord[]): number {
    let refused = 0;
    for (const spooled of records) {
      this.bytes += spooled.end - spooled.start;
      const record = decodeSpooled(spooled);
      if (record === undefined) refused++;
      else this.records.push(record);
    }
    return refused;
  }

  file(): Uint8Array | undefined {
    if (this.records.length === 0) return undefined;
    return this.kind === 'inference'
      ? inferenceParquet(this.records as LogRecord[], this.replayed)
      : feedbackParquet(this.records as FeedbackRecord[], this.replayed);
  }
}

/** A record that was sent before, and says so. @param replayed of which replay it is */
export function markedJson(record: LogRecord | FeedbackRecord, replayed: string): string {
  const json = recordJson(record);
  return replayed === '' ? json : `${json.slice(0, -1)},"replayed":${JSON.stringify(replayed)}}`;
}
