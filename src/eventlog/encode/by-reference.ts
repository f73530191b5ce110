import { PAYLOAD_NOT_KEPT } from '../record.ts';
import { AvroReader } from './avro-reader.ts';
import { AvroWriter } from './avro-writer.ts';
import { containerOf } from './container.ts';
import type { KeepPayload } from './record-encoder.ts';
import { INFERENCE_SCHEMA } from './schema.ts';

/** A type of Avro's, as the schemas here use them. */
type Type = string | readonly Type[] | { type: Type; items?: Type; fields?: readonly Field[]; name?: string };
interface Field {
  name: string;
  type: Type;
}

const FIELDS: readonly Field[] = INFERENCE_SCHEMA.fields;
const COLUMN = columnType();

/**
 * An encoded inference record without the values of its columns, which are kept apart as its whole. Undefined: they are
 * apart already. Throws RangeError for bytes that are no such record.
 */
export function byReference(u8: Uint8Array, start: number, end: number, keep: KeepPayload): Uint8Array | undefined {
  const reader = new AvroReader(u8, start, end);
  const out = new AvroWriter();
  const kept: { payload: ReturnType<KeepPayload> } = { payload: undefined };
  for (const { name, type } of FIELDS) {
    const from = reader.at;
    // One of the schema's first version ends here.
    if (name === 'override' && from === end) break;
    if (name === 'payloadRef') {
      if (reader.byte() !== 0) return undefined;
      kept.payload = keep(containerOf([{ u8, start, end }], 'inference'));
      optional(out, kept.payload?.ref);
    } else if (name === 'payloadSha256') {
      skip(reader, type);
      optional(out, kept.payload?.sha256);
    } else if (name === 'features' || name === 'predictions') {
      reader.array((count) => {
        out.long(count);
        for (let i = 0; i < count; i++) copyWithoutValues(reader, u8, out);
      });
      out.byte(0);
    } else {
      skip(reader, type);
      if (name === 'redactions' && kept.payload === undefined) {
        // A block of its own, before those there are.
        out.long(1);
        out.string(PAYLOAD_NOT_KEPT);
      }
      out.raw(u8, from, reader.at - from);
    }
  }
  if (reader.at !== end) throw new RangeError('the record does not end where its schema does');
  return out.u8.subarray(0, out.at);
}

function optional(out: AvroWriter, text: string | undefined): void {
  out.byte(text === undefined ? 0 : 2);
  if (text !== undefined) out.string(text);
}

/** Its values are the fields that may be null. */
function copyWithoutValues(reader: AvroReader, u8: Uint8Array, out: AvroWriter): void {
  for (const { type } of COLUMN) {
    const from = reader.at;
    skip(reader, type);
    if (Array.isArray(type)) out.byte(0);
    else out.raw(u8, from, reader.at - from);
  }
}

function skip(reader: AvroReader, type: Type): void {
  if (typeof type === 'string') {
    if (type === 'string' || type === 'bytes') reader.skipBytes();
    else if (type === 'long' || type === 'int') reader.bigLong();
    else if (type === 'double') reader.at += 8;
    else if (type === 'float') reader.at += 4;
    else if (type === 'boolean') reader.at += 1;
    else if (type !== 'null') for (const field of COLUMN) skip(reader, field.type);
  } else if (isUnion(type)) skip(reader, type[reader.long()] ?? 'null');
  else if (type.items !== undefined) {
    const { items } = type;
    reader.array((count) => {
      for (let i = 0; i < count; i++) skip(reader, items);
    });
  } else if (type.fields !== undefined) for (const field of type.fields) skip(reader, field.type);
  else skip(reader, type.type);
}

function isUnion(type: Exclude<Type, string>): type is readonly Type[] {
  return Array.isArray(type);
}

function columnType(): readonly Field[] {
  const type = FIELDS.find(({ name }) => name === 'features')?.type as { items: { fields: readonly Field[] } };
  return type.items.fields;
}
