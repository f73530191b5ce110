import { AvroReader } from './avro-reader.ts';
import type { RecordKind } from './container.ts';
import { FEEDBACK_SCHEMA, INFERENCE_SCHEMA } from './schema.ts';

const MAGIC = 'Obj\x01';
const SYNC_BYTES = 16;
const KINDS = new Map<string, RecordKind>([
  [JSON.stringify(INFERENCE_SCHEMA), 'inference'],
  [JSON.stringify(FEEDBACK_SCHEMA), 'feedback'],
]);

/**
 * Reads the records of a container that this program wrote: a block of the Kafka sink, or a payload kept by reference.
 * @param read reads one record of the kind that the container names
 * Throws RangeError for bytes that are no such container, or one of another version of the schema.
 */
export function readContainer<T>(bytes: Uint8Array, read: (reader: AvroReader, kind: RecordKind) => T): T[] {
  if (Buffer.from(bytes.subarray(0, 4)).toString('latin1') !== MAGIC) throw new RangeError('it is no Avro container');
  const reader = new AvroReader(bytes, 4);
  const meta = new Map<string, string>();
  reader.array((count) => {
    for (let i = 0; i < count; i++) meta.set(reader.string(), reader.string());
  });
  if (meta.get('avro.codec') !== 'null') throw new RangeError(`the codec ${meta.get('avro.codec')} is not ours`);
  const kind = KINDS.get(meta.get('avro.schema') ?? '');
  if (kind === undefined) throw new RangeError('the container is of another version of the schema');
  reader.at += SYNC_BYTES;
  if (reader.at > bytes.length) throw new RangeError('the container ends too early');
  const records: T[] = [];
  while (reader.at < bytes.length) {
    const count = reader.long();
    const size = reader.long();
    const end = reader.at + size;
    if (count < 0 || size < 0 || end + SYNC_BYTES > bytes.length) throw new RangeError('a block ends too late');
    for (let i = 0; i < count; i++) records.push(read(reader, kind));
    if (reader.at !== end) throw new RangeError('a block does not end where it says');
    reader.at += SYNC_BYTES;
  }
  return records;
}
