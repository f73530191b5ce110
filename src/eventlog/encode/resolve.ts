import { createRequire } from 'node:module';
import { inflateRawSync } from 'node:zlib';
import type avro from 'avsc';
import type { RecordKind } from './container.ts';
import { FEEDBACK_SCHEMA, INFERENCE_SCHEMA } from './schema.ts';

/** Turns a block's records, as their writer's schema has them, into records of this program's schema. */
export interface Resolution {
  kind: RecordKind;
  /** @param block the block's bytes, decompressed. Throws RangeError where they are not `count` records. */
  convert(block: Buffer, count: number): Buffer[];
}

const MAX_BLOCK_BYTES = 256 * 1024 * 1024;
const MAX_KEPT = 100;
/** By the writer's schema: a topic has few, and each costs milliseconds to compile. */
const known = new Map<string, Resolution>();
const require = createRequire(import.meta.url);
/** Loaded with the first container that needs it: no thread starts with it. */
const library = (): typeof avro => require('avsc') as typeof avro;
let ours: Record<RecordKind, avro.Type> | undefined;

/**
 * Avro's schema resolution: fields that the writer does not know get their defaults, fields that this program does not
 * know are left out, numbers are widened. Throws RangeError that says what does not fit.
 */
export function resolutionOf(schema: string): Resolution {
  const kept = known.get(schema);
  if (kept !== undefined) return kept;
  const made = resolve(schema);
  if (known.size >= MAX_KEPT) known.delete([...known.keys()][0]);
  known.set(schema, made);
  return made;
}

function resolve(schema: string): Resolution {
  ours ??= { inference: typeOf(INFERENCE_SCHEMA), feedback: typeOf(FEEDBACK_SCHEMA) };
  const writer = parsed(schema);
  const name = writer.name?.split('.').at(-1);
  const kind = name === 'Inference' ? 'inference' : name === 'Feedback' ? 'feedback' : undefined;
  if (kind === undefined)
    throw new RangeError(
      `the container holds records of the schema ${JSON.stringify(writer.name ?? writer.typeName)}; read are dev.switchyard.Inference and dev.switchyard.Feedback`,
    );
  const reader = ours[kind];
  let resolver: ReturnType<avro.Type['createResolver']>;
  try {
    resolver = reader.createResolver(writer);
  } catch (error) {
    throw new RangeError(
      `the container's schema ${writer.name} cannot be read as this version's: ${(error as Error).message}; write it with the fields of docs/event-log.md, with defaults for those that were added`,
    );
  }
  return {
    kind,
    convert(block, count) {
      const records: Buffer[] = [];
      let at = 0;
      for (let i = 0; i < count; i++) {
        const { value, offset } = next(reader, block, at, resolver);
        at = offset;
        records.push(reader.toBuffer(value));
      }
      if (at !== block.length) throw new RangeError('a block does not end where it says');
      return records;
    },
  };
}

/** One record of the writer's, and where the next begins. */
function next(
  reader: avro.Type,
  block: Buffer,
  at: number,
  resolver: ReturnType<avro.Type['createResolver']>,
): { value: unknown; offset: number } {
  let read: { value: unknown; offset: number };
  try {
    read = reader.decode(block, at, resolver) as { value: unknown; offset: number };
  } catch (error) {
    throw new RangeError(`a record cannot be read: ${(error as Error).message}`);
  }
  // Avsc tells of bytes that end too early by a negative place.
  if (read.offset < 0) throw new RangeError('the record ends too early');
  return read;
}

function parsed(schema: string): avro.Type {
  try {
    return typeOf(JSON.parse(schema) as object);
  } catch (error) {
    throw new RangeError(`the container's schema is none: ${(error as Error).message}`);
  }
}

/** Longs stay exact: a UINT64 or a large id does not fit a number. */
function typeOf(schema: object): avro.Type {
  return library().Type.forSchema(
    schema as avro.Schema,
    { registry: { long: exactLong() }, wrapUnions: true } as never,
  );
}

function exactLong(): avro.Type {
  return library().types.LongType.__with({
    fromBuffer: (buffer: Buffer) => buffer.readBigInt64LE(),
    toBuffer: (value: bigint) => {
      const bytes = Buffer.alloc(8);
      bytes.writeBigInt64LE(value);
      return bytes;
    },
    fromJSON: BigInt,
    toJSON: Number,
    isValid: (value: unknown) => typeof value === 'bigint',
    compare: (a: bigint, b: bigint) => (a === b ? 0 : a < b ? -1 : 1),
  } as never);
}

/** A block's bytes under one of the codecs that every Avro library has. Throws RangeError for another. */
export function decompress(codec: string, block: Buffer): Buffer {
  if (codec === 'null') return block;
  if (codec !== 'deflate') throw new RangeError(`the codec ${codec} is not read; null and deflate are`);
  try {
    return inflateRawSync(block, { maxOutputLength: MAX_BLOCK_BYTES });
  } catch (error) {
    throw new RangeError(`a block cannot be decompressed: ${(error as Error).message}`);
  }
}
