import { randomFillSync } from 'node:crypto';
import { AvroWriter } from './avro-writer.ts';
import { FEEDBACK_SCHEMA, INFERENCE_SCHEMA } from './schema.ts';

export type RecordKind = 'inference' | 'feedback';

/** An encoded record: `u8[start]` up to `u8[end - 1]`. */
export interface EncodedRecord {
  u8: Uint8Array;
  start: number;
  end: number;
}

const SYNC_BYTES = 16;
/** Two Avro longs. */
const COUNT_BYTES = 20;
const heads = { inference: headOf(INFERENCE_SCHEMA), feedback: headOf(FEEDBACK_SCHEMA) };

/** What every file begins with: the codec (null) and the schema. */
function headOf(schema: object): Uint8Array {
  const out = new AvroWriter();
  out.raw(Buffer.from('Obj\x01', 'latin1'), 0, 4);
  out.long(2);
  for (const text of ['avro.codec', 'null', 'avro.schema', JSON.stringify(schema)]) out.string(text);
  out.byte(0);
  return out.u8.slice(0, out.at);
}

/** An Avro object container (codec null) of the records from `from` up to `to`: a file or message that names its own schema. */
export function containerOf(
  records: readonly EncodedRecord[],
  kind: RecordKind,
  from = 0,
  to: number = records.length,
): Buffer {
  let bytes = 0;
  for (let i = from; i < to; i++) bytes += records[i].end - records[i].start;
  const head = heads[kind];
  // All of it is written below: no zeros are needed.
  const out = Buffer.allocUnsafeSlow(head.length + 2 * SYNC_BYTES + COUNT_BYTES + bytes);
  out.set(head);
  const sync = head.length;
  randomFillSync(out, sync, SYNC_BYTES);
  const counts = new AvroWriter(COUNT_BYTES);
  counts.long(to - from);
  counts.long(bytes);
  let at = sync + SYNC_BYTES;
  out.set(counts.u8.subarray(0, counts.at), at);
  at += counts.at;
  for (let i = from; i < to; i++) {
    const { u8, start, end } = records[i];
    out.set(u8.subarray(start, end), at);
    at += end - start;
  }
  out.copyWithin(at, sync, sync + SYNC_BYTES);
  return out.subarray(0, at + SYNC_BYTES);
}
