import { closeSync, fsyncSync, mkdirSync, openSync, readdirSync, renameSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { parquetWriteBuffer } from 'hyparquet-writer';
import type { FilesSinkConfig } from '../../config/event-log-schema.ts';
import type { RecordKind } from '../encode/container.ts';
import { columnsJson } from '../encode/json.ts';
import { ORIGIN_TEXTS } from '../handover/memory.ts';
import type { FeedbackRecord, LogRecord } from '../record.ts';
import type { CursorState } from '../spool/cursor.ts';
import { syncFolder } from '../spool/folder.ts';
import type { Position } from '../spool/spool.ts';
import { decodeSpooled } from './decode.ts';
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
    if (this.records.length > 0) this.writeFile('inference', record, inferenceColumns(this.records));
    if (this.feedback.length > 0) this.writeFile('feedback', record, feedbackColumns(this.feedback));
    this.clear();
  }

  private writeFile(kind: RecordKind, record: number, columnData: ParquetColumn[]): void {
    const path = join(this.dir, `${kind}-${String(record).padStart(15, '0')}.parquet`);
    const bytes = new Uint8Array(parquetWriteBuffer({ columnData }));
    const fd = openSync(`${path}.next`, 'w', 0o600);
    try {
      for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(`${path}.next`, path);
    syncFolder(this.dir);
    const files = this.filesOf(kind);
    for (const old of files.slice(0, Math.max(0, files.length - this.config.keepFiles))) rmSync(join(this.dir, old));
  }

  private filesOf(kind: RecordKind): string[] {
    return readdirSync(this.dir)
      .filter((name) => name.startsWith(`${kind}-`) && name.endsWith('.parquet'))
      .sort();
  }
}

type ParquetColumn = Parameters<typeof parquetWriteBuffer>[0]['columnData'][number];

const TEXTS = ['id', 'entity', 'requestId', 'traceparent', ...ORIGIN_TEXTS, 'status'] as const;
const DOUBLES = ['latencyMs', 'sampleRate', 'propensity'] as const;
const LONGS = ['stateVersion', 'snapshotVersion', 'schemaVersion', 'override', 'bucket'] as const;

/** One row a record. Tensors are JSON texts as in JSON lines: their names, types and shapes differ from model to model. */
function inferenceColumns(records: readonly LogRecord[]): ParquetColumn[] {
  const text = (name: string, of: (record: LogRecord) => string): ParquetColumn => ({
    name,
    data: records.map(of),
    type: 'STRING',
    nullable: false,
  });
  return [
    ...TEXTS.map((name) => text(name, (record) => record[name])),
    { name: 'time', data: records.map(({ time }) => new Date(time)), type: 'TIMESTAMP', nullable: false },
    ...DOUBLES.map(
      (name): ParquetColumn => ({
        name,
        data: records.map((record) => record[name]),
        type: 'DOUBLE',
        nullable: false,
      }),
    ),
    ...LONGS.map(
      (name): ParquetColumn => ({
        name,
        data: records.map((record) => BigInt(record[name])),
        type: 'INT64',
        nullable: false,
      }),
    ),
    { name: 'shadow', data: records.map(({ shadow }) => shadow), type: 'BOOLEAN', nullable: false },
    { name: 'analysed', data: records.map(({ analysed }) => analysed), type: 'BOOLEAN', nullable: false },
    text('timings', ({ timings }) => (timings === undefined ? '' : JSON.stringify(timings))),
    text('pmf', ({ pmf }) => JSON.stringify(pmf)),
    text('eligible', ({ eligible }) => JSON.stringify(eligible)),
    text('features', ({ features }) => columnsJson(features)),
    text('predictions', ({ predictions }) => columnsJson(predictions)),
    text('payloadRef', ({ payloadRef }) => payloadRef ?? ''),
    text('payloadSha256', ({ payloadSha256 }) => payloadSha256 ?? ''),
    text('redactions', ({ redactions }) => JSON.stringify(redactions)),
    text('fallbacks', ({ fallbacks }) => JSON.stringify(fallbacks)),
    text('proposed', ({ proposed }) => (proposed === undefined ? '' : JSON.stringify(proposed))),
    text('context', ({ context }) => JSON.stringify(context)),
  ];
}

function feedbackColumns(records: readonly FeedbackRecord[]): ParquetColumn[] {
  return [
    { name: 'id', data: records.map(({ id }) => id), type: 'STRING', nullable: false },
    { name: 'time', data: records.map(({ time }) => new Date(time)), type: 'TIMESTAMP', nullable: false },
    { name: 'route', data: records.map(({ route }) => route), type: 'STRING', nullable: false },
    { name: 'model', data: records.map(({ model }) => model), type: 'STRING', nullable: false },
    { name: 'rewards', data: records.map(({ rewards }) => JSON.stringify(rewards)), type: 'STRING', nullable: false },
    { name: 'label', data: records.map(({ label }) => label ?? ''), type: 'STRING', nullable: false },
    { name: 'event', data: records.map(({ event }) => event ?? ''), type: 'STRING', nullable: false },
  ];
}
