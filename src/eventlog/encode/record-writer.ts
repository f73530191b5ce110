import { ORIGIN_TEXTS } from '../handover/memory.ts';
import type { Column, LogRecord } from '../record.ts';
import type { AvroWriter } from './avro-writer.ts';
import { writeColumnValues } from './column-writer.ts';

/** A record that was read as JSON, as RecordEncoder writes one: in the order of INFERENCE_SCHEMA. */
export function writeRecord(record: LogRecord, out: AvroWriter): void {
  out.string(record.id);
  out.long(record.time);
  for (const name of ['entity', 'requestId', 'traceparent', ...ORIGIN_TEXTS] as const) out.string(record[name] ?? '');
  out.byte(record.shadow ? 1 : 0);
  out.byte(record.analysed ? 1 : 0);
  out.double(record.sampleRate);
  out.long(record.schemaVersion);
  out.string(record.status);
  out.double(record.latencyMs);
  const { timings, proposed } = record;
  out.byte(timings === undefined ? 0 : 2);
  if (timings !== undefined)
    for (const name of ['queue', 'computeInput', 'computeInfer', 'computeOutput', 'batchSize'] as const)
      out.double(timings[name]);
  out.double(record.propensity);
  out.long(record.stateVersion);
  out.long(record.snapshotVersion);
  doubles(record.pmf, out);
  list(record.eligible, out, (text) => out.string(text));
  for (const text of [record.payloadRef, record.payloadSha256]) {
    out.byte(text === undefined ? 0 : 2);
    if (text !== undefined) out.string(text);
  }
  const column = (one: Column): void => writeColumn(one, out);
  list(record.features, out, column);
  list(record.predictions, out, column);
  list(record.redactions, out, (text) => out.string(text));
  // One of the schema's first version ends here.
  if (record.schemaVersion < 2) return;
  out.long(record.override ?? -1);
  out.long(record.bucket ?? -1);
  list(record.fallbacks ?? [], out, ({ variant, cause }) => {
    out.string(variant);
    out.string(cause);
  });
  out.byte(proposed === undefined ? 0 : 2);
  if (proposed !== undefined) {
    out.string(proposed.variant);
    doubles(proposed.pmf, out);
  }
  doubles(record.context ?? [], out);
}

function writeColumn(column: Column, out: AvroWriter): void {
  out.string(column.name);
  out.string(column.datatype);
  list(column.shape, out, (dim) => out.long(dim));
  writeColumnValues(out, column);
}

function doubles(values: readonly number[], out: AvroWriter): void {
  list(values, out, (value) => out.double(Number(value)));
}

function list<T>(items: readonly T[], out: AvroWriter, write: (item: T) => void): void {
  if (items.length > 0) out.long(items.length);
  for (const item of items) write(item);
  out.byte(0);
}
