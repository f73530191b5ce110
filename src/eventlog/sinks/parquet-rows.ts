import { parquetWriteBuffer } from 'hyparquet-writer';
import { columnsJson } from '../encode/json.ts';
import { ORIGIN_TEXTS } from '../handover/memory.ts';
import type { FeedbackRecord, LogRecord } from '../record.ts';

type ParquetColumn = Parameters<typeof parquetWriteBuffer>[0]['columnData'][number];

const TEXTS = ['id', 'entity', 'requestId', 'traceparent', ...ORIGIN_TEXTS, 'status'] as const;
const DOUBLES = ['latencyMs', 'sampleRate', 'propensity'] as const;
const LONGS = ['stateVersion', 'snapshotVersion', 'schemaVersion', 'override', 'bucket'] as const;

/**
 * A file with one row a record. Tensors are JSON texts as in JSON lines: their names, types and shapes differ from model to
 * model. @param replayed what a column of that name says; absent: there is none
 */
export function inferenceParquet(records: readonly LogRecord[], replayed?: string): Uint8Array {
  const text = (name: string, of: (record: LogRecord) => string): ParquetColumn => ({
    name,
    data: records.map(of),
    type: 'STRING',
    nullable: false,
  });
  return fileOf(records.length, replayed, [
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
  ]);
}

export function feedbackParquet(records: readonly FeedbackRecord[], replayed?: string): Uint8Array {
  return fileOf(records.length, replayed, [
    { name: 'id', data: records.map(({ id }) => id), type: 'STRING', nullable: false },
    { name: 'time', data: records.map(({ time }) => new Date(time)), type: 'TIMESTAMP', nullable: false },
    { name: 'route', data: records.map(({ route }) => route), type: 'STRING', nullable: false },
    { name: 'model', data: records.map(({ model }) => model), type: 'STRING', nullable: false },
    { name: 'rewards', data: records.map(({ rewards }) => JSON.stringify(rewards)), type: 'STRING', nullable: false },
    { name: 'label', data: records.map(({ label }) => label ?? ''), type: 'STRING', nullable: false },
    { name: 'event', data: records.map(({ event }) => event ?? ''), type: 'STRING', nullable: false },
    { name: 'tenant', data: records.map(({ tenant }) => tenant), type: 'STRING', nullable: false },
  ]);
}

function fileOf(rows: number, replayed: string | undefined, columnData: ParquetColumn[]): Uint8Array {
  if (replayed !== undefined)
    columnData.push({ name: 'replayed', data: Array(rows).fill(replayed), type: 'STRING', nullable: false });
  return new Uint8Array(parquetWriteBuffer({ columnData }));
}

/** Columns that hold JSON. */
const NESTED: ReadonlySet<string> = new Set([
  'timings',
  'pmf',
  'eligible',
  'features',
  'predictions',
  'redactions',
  'fallbacks',
  'proposed',
  'context',
  'rewards',
]);
/** Columns whose empty text says that a record has no such field. */
const OPTIONAL: ReadonlySet<string> = new Set(['payloadRef', 'payloadSha256', 'label', 'event', 'replayed', ...NESTED]);

/** A row as hyparquet reads it, as the JSON text of the record that it was made of: `id` and `time` come first. */
export function recordText({ id, time, ...row }: Record<string, unknown>): string {
  const parts = [`"id":${JSON.stringify(id)},"time":${Number(time)}`];
  for (const [name, value] of Object.entries(row)) {
    if (value === '' && OPTIONAL.has(name)) continue;
    const text = NESTED.has(name) ? value : JSON.stringify(typeof value === 'bigint' ? Number(value) : value);
    parts.push(`"${name}":${text}`);
  }
  return `{${parts.join()}}`;
}
