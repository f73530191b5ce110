import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { FilesSinkConfig } from '../../config/event-log-schema.ts';
import type { RecordKind } from '../encode/container.ts';
import type { FeedbackRecord, LogRecord } from '../record.ts';
import type { CursorState } from '../spool/cursor.ts';
import { replaceFile } from '../spool/folder.ts';
import type { Position } from '../spool/spool.ts';
import { decodeSpooled } from './decode.ts';
import { feedbackParquet, inferenceParquet } from './parquet-rows.ts';
import { type Batch, NOTHING, type Sink, type Taken } from './sink.ts';

/** Rows that a file is begun with; larger files only take memory while they wait. */
const MAX_ROWS = 50_000;

const KINDS: readonly RecordKind[] = ['inference', 'feedback'];

/**
 * Parquet files: inference-N.parquet, feedback-N.parquet, where N numbers the first record. Rows wait in the spool until
 * their file is whole. The cursor knows the last files: those behind it are deleted after a crash, and written again, so that
 * no row is there twice.
 */
export class ParquetSink implements Sink {
  readonly maxRecords = 1000;
  private readonly config: FilesSinkConfig;
  private readonly dir: string;
  private records: LogRecord[] = [];
  private feedback: FeedbackRecord[] = [];
  private from: Position | undefined;
  private bytes = 0;
  private begunAt = 0;

  constructor(config: FilesSinkConfig, dir: string) {
    this.config = config;
    this.dir = dir;
    mkdirSync(dir, { recursive: true, mode: 0o700 });
  }

  /** Files written after the cursor was saved hold what comes again, perhaps cut in other places. */
  restore(note: CursorState['note']): void {
    for (const name of readdirSync(this.dir)) if (name.endsWith('.parquet.next')) rmSync(join(this.dir, name));
    if (note === undefined) return;
    for (const kind of KINDS)
      for (const name of this.filesOf(kind))
        if (name > String(note[`${kind}File`])) rmSync(join(this.dir, name), { force: true });
  }

  async send({ records, from }: Batch): Promise<Taken> {
    // The runner comes again from the last settled place after an error.
    if (this.from !== undefined && from.record < this.from.record + this.records.length + this.feedback.length)
      this.clear();
    if (this.from === undefined) {
      this.from = from;
      this.begunAt = Date.now();
    }
    let refused = 0;
    for (const spooled of records) {
      this.bytes += spooled.body.length;
      const record = decodeSpooled(spooled);
      if (record === undefined) refused++;
      else if ('features' in record) this.records.push(record);
      else this.feedback.push(record);
    }
    const full = this.bytes >= this.config.rotateBytes || this.records.length + this.feedback.length >= MAX_ROWS;
    if (full) this.write();
    return { settled: full, refused };
  }

  async tick(now: number, force: boolean): Promise<Taken> {
    if (this.from === undefined || (!force && now - this.begunAt < this.config.rotateAfter)) return NOTHING;
    this.write();
    return { settled: true, refused: 0 };
  }

  note(): CursorState['note'] {
    return Object.fromEntries(KINDS.map((kind) => [`${kind}File`, this.filesOf(kind).at(-1) ?? '']));
  }

  async close(): Promise<void> {}

  private clear(): void {
    this.records = [];
    this.feedback = [];
    this.from = undefined;
    this.bytes = 0;
  }

  private write(): void {
    const record = this.from?.record ?? 0;
    if (this.records.length > 0) this.writeFile('inference', record, inferenceParquet(this.records));
    if (this.feedback.length > 0) this.writeFile('feedback', record, feedbackParquet(this.feedback));
    this.clear();
  }

  private writeFile(kind: RecordKind, record: number, bytes: Uint8Array): void {
    const path = join(this.dir, `${kind}-${String(record).padStart(15, '0')}.parquet`);
    replaceFile(path, bytes);
    const files = this.filesOf(kind);
    for (const old of files.slice(0, Math.max(0, files.length - this.config.keepFiles))) rmSync(join(this.dir, old));
  }

  private filesOf(kind: RecordKind): string[] {
    return readdirSync(this.dir)
      .filter((name) => name.startsWith(`${kind}-`) && name.endsWith('.parquet'))
      .sort();
  }
}
