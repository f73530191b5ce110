import { randomBytes } from 'node:crypto';
import { AvroWriter } from './avro-writer.ts';
import { FEEDBACK_SCHEMA, INFERENCE_SCHEMA } from './schema.ts';

export type RecordKind = 'inference' | 'feedback';

const SYNC_BYTES = 16;
const schemas = { inference: JSON.stringify(INFERENCE_SCHEMA), feedback: JSON.stringify(FEEDBACK_SCHEMA) };

/** An Avro object container (codec null) of encoded records: a file or message that names its own schema. */
export function containerOf(records: readonly Uint8Array[], kind: RecordKind): Uint8Array {
  const sync = randomBytes(SYNC_BYTES);
  let bytes = 0;
  for (const record of records) bytes += record.length;
  const out = new AvroWriter();
  out.reserve(bytes + schemas[kind].length + 128);
  out.raw(Buffer.from('Obj\x01', 'latin1'), 0, 4);
  out.long(2);
  out.string('avro.codec');
  out.string('null');
  out.string('avro.schema');
  out.string(schemas[kind]);
  out.byte(0);
  out.raw(sync, 0, SYNC_BYTES);
  out.long(records.length);
  out.long(bytes);
  for (const record of records) out.raw(record, 0, record.length);
  out.raw(sync, 0, SYNC_BYTES);
  return out.u8.subarray(0, out.at);
}
