import { AvroReader } from './avro-reader.ts';
import type { RecordKind } from './container.ts';
import { decompress, resolutionOf } from './resolve.ts';
import { FEEDBACK_SCHEMA, INFERENCE_SCHEMA } from './schema.ts';

const MAGIC = 'Obj\x01';
const SYNC_BYTES = 16;
const KINDS = new Map<string, RecordKind>([
  [JSON.stringify(INFERENCE_SCHEMA), 'inference'],
  [JSON.stringify(FEEDBACK_SCHEMA), 'feedback'],
]);

/**
 * Reads the records of a container: a block of the Kafka sink, a payload kept by reference, or a file of another program
 * or version. A schema that is not this version's to the letter is resolved by Avro's rules.
 * @param read reads one record of the kind that the container names
 * Throws RangeError for bytes that are no such container, or whose schema cannot be resolved.
 */
export function readContainer<T>(bytes: Uint8Array, read: (reader: AvroReader, kind: RecordKind) => T): T[] {
  if (Buffer.from(bytes.subarray(0, 4)).toString('latin1') !== MAGIC) throw new RangeError('it is no Avro container');
  const reader = new AvroReader(bytes, 4);
  const meta = new Map<string, string>();
  reader.array((count) => {
    for (let i = 0; i < count; i++) meta.set(reader.string(), reader.string());
  });
  const codec = meta.get('avro.codec') ?? 'null';
  const schema = meta.get('avro.schema') ?? '';
  const kind = KINDS.get(schema);
  const resolution = kind === undefined ? resolutionOf(schema) : undefined;
  reader.at += SYNC_BYTES;
  if (reader.at > bytes.length) throw new RangeError('the container ends too early');
  const records: T[] = [];
  while (reader.at < bytes.length) {
    const count = reader.long();
    const size = reader.long();
    const end = reader.at + size;
    if (count < 0 || size < 0 || end + SYNC_BYTES > bytes.length) throw new RangeError('a block ends too late');
    const block = decompress(codec, Buffer.from(bytes.buffer, bytes.byteOffset + reader.at, size));
    if (resolution !== undefined)
      for (const record of resolution.convert(block, count))
        records.push(read(new AvroReader(record), resolution.kind));
    else if (kind !== undefined) {
      const inner = codec === 'null' ? reader : new AvroReader(block);
      const last = codec === 'null' ? end : block.length;
      for (let i = 0; i < count; i++) records.push(read(inner, kind));
      if (inner.at !== last) throw new RangeError('a block does not end where it says');
    }
    reader.at = end + SYNC_BYTES;
  }
  return records;
}
