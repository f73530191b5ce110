import { basename } from 'node:path/posix';
import type { RecordKind } from '../encode/container.ts';
import { parseFileName } from '../sinks/file-names.ts';

/** A file of records that a sink wrote, in whichever place. */
export interface KeptFile {
  kind: RecordKind;
  /** Below the sink's folder, or the whole key in a bucket. */
  key: string;
  /** What it held when it was listed: what is written later is in the spool, too. */
  size: number;
  /** Of its last record, or later; by the clock of the place. */
  writtenAt: number;
  /** Number of the first record of the round that it was begun with. */
  first: number;
  /** Tells the logs of several servers apart that share a place; '': there is only one. */
  log: string;
}

/** Where a sink of kind `files` keeps its files. */
export interface KeptFiles {
  readonly format: 'jsonl' | 'parquet';
  /** Rejects naming the place. */
  list(): Promise<KeptFile[]>;
  /** Bytes of a file; undefined: it is gone. Rejects naming the file. */
  read(file: KeptFile, start: number, end: number): Promise<Uint8Array | undefined>;
  close(): void;
}

export const KINDS: readonly RecordKind[] = ['inference', 'feedback'];

/** What a name says; undefined: it is no file of the log, or one of an earlier replay. */
export function keptFile(
  { key, size, writtenAt }: Pick<KeptFile, 'key' | 'size' | 'writtenAt'>,
  format: KeptFiles['format'],
): KeptFile | undefined {
  const name = parseFileName(basename(key));
  if (name === undefined || name.ending !== format) return undefined;
  const { kind, first, log } = name;
  return { kind, key, size, writtenAt, first, log };
}

/** Requests before labels, each from the oldest on. */
export function inOrder(files: readonly KeptFile[]): KeptFile[] {
  return KINDS.flatMap((kind) =>
    files.filter((file) => file.kind === kind).sort((a, b) => a.first - b.first || (a.key < b.key ? -1 : 1)),
  );
}
