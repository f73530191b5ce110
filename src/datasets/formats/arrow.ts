import { type Readable, Transform } from 'node:stream';
import {
  Field as ArrowField,
  Schema as ArrowSchema,
  Binary,
  Bool,
  DataType,
  Float64,
  Int64,
  List,
  makeData,
  RecordBatch,
  RecordBatchReader,
  RecordBatchStreamWriter,
  Struct,
  TimestampMillisecond,
  Utf8,
  type Vector,
  vectorFromArray,
} from 'apache-arrow';
import { invalidArgument, SwitchyardError } from '../../shared/errors.ts';
import { BATCH_ROWS, type Batch, type Cell, checkSchema, type Field, type FieldType, type Source } from '../batch.ts';
import { castCell, shownValue } from '../cells.ts';

/** Arrow IPC, as a stream or a file (Feather 2). Throws invalid_argument for what is truncated or damaged. */
export async function readArrow(stream: Readable): Promise<Source> {
  const ending = new Ending();
  stream.on('error', (error) => ending.destroy(error));
  try {
    const reader = await RecordBatchReader.from(stream.pipe(ending));
    await reader.open();
    const fields = reader.schema.fields.map(({ name, type }) => ({ name, type: typeOf(name, type) }));
    checkSchema({ fields });
    return { schema: { fields }, batches: () => batches(reader as AsyncIterable<RecordBatch>, fields, ending, stream) };
  } catch (error) {
    stream.destroy();
    throw damaged(error);
  }
}

const END_OF_STREAM = Buffer.from([0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
const END_OF_FILE = Buffer.from('ARROW1');

/** Bytes on their way to the reader, which takes any end between two batches for the end of the data. */
class Ending extends Transform {
  /** The bytes have ended, and not as Arrow's do. */
  cut = false;
  private tail: Buffer = Buffer.alloc(0);

  override _transform(chunk: Buffer, _encoding: string, done: (error: null, chunk: Buffer) => void): void {
    this.tail = Buffer.concat([this.tail, chunk.subarray(-END_OF_STREAM.length)]).subarray(-END_OF_STREAM.length);
    done(null, chunk);
  }

  override _flush(done: () => void): void {
    this.cut = !this.tail.equals(END_OF_STREAM) && !this.tail.subarray(-END_OF_FILE.length).equals(END_OF_FILE);
    done();
  }
}

function damaged(error: unknown): unknown {
  if (error instanceof SwitchyardError) return error;
  if ((error as Error).message.includes('codec not found'))
    return invalidArgument('the Arrow data is compressed, which is not read here; write it without compression');
  return invalidArgument(
    `not readable as Arrow IPC: ${(error as Error).message}; the data is truncated or damaged, so write it again`,
  );
}

function typeOf(name: string, type: DataType): FieldType {
  if (DataType.isBool(type)) return 'boolean';
  if (DataType.isInt(type)) return 'integer';
  if (DataType.isFloat(type)) return 'number';
  if (DataType.isTimestamp(type) || DataType.isDate(type)) return 'timestamp';
  if (DataType.isUtf8(type) || DataType.isLargeUtf8(type)) return 'string';
  if (DataType.isBinary(type) || DataType.isLargeBinary(type) || DataType.isFixedSizeBinary(type)) return 'binary';
  if (DataType.isDictionary(type)) return typeOf(name, type.dictionary as DataType);
  if (DataType.isList(type) || DataType.isFixedSizeList(type)) {
    const item = type.children[0].type;
    if (DataType.isInt(item) || DataType.isFloat(item)) return 'numbers';
  }
  throw invalidArgument(
    `column ${JSON.stringify(name)} has the Arrow type ${String(type)}, which is not read here; cast it to a number, text, time, bytes or a list of numbers`,
  );
}

async function* batches(
  reader: AsyncIterable<RecordBatch>,
  fields: readonly Field[],
  ending: Ending,
  stream: Readable,
): AsyncGenerator<Batch> {
  let from = 0;
  try {
    for await (const batch of reader) {
      for (let at = 0; at < batch.numRows; at += BATCH_ROWS) {
        const rows = Math.min(BATCH_ROWS, batch.numRows - at);
        const columns = fields.map((field, i) => cells(batch.getChildAt(i) as Vector, field, at, rows, from));
        yield { rows, columns };
      }
      from += batch.numRows;
    }
    if (ending.cut) throw new Error('it ends without the mark of its end');
  } catch (error) {
    throw damaged(error);
  } finally {
    stream.destroy();
  }
}

function cells(vector: Vector, { name, type }: Field, at: number, rows: number, from: number): Cell[] {
  const found: Cell[] = new Array(rows);
  for (let i = 0; i < rows; i++) {
    const value: unknown = vector.get(at + i);
    const cell = castCell(type === 'numbers' && value !== null ? Array.from(value as Iterable<unknown>) : value, type);
    if (cell === undefined)
      throw invalidArgument(
        `row ${from + at + i + 1}: column ${JSON.stringify(name)}: ${shownValue(value)} is no ${type}`,
      );
    found[i] = cell;
  }
  return found;
}

function arrowType(type: FieldType): DataType {
  switch (type) {
    case 'boolean':
      return new Bool();
    case 'integer':
      return new Int64();
    case 'number':
      return new Float64();
    case 'timestamp':
      return new TimestampMillisecond('UTC');
    case 'binary':
      return new Binary();
    case 'numbers':
      return new List(new ArrowField('item', new Float64(), true));
    default:
      return new Utf8();
  }
}

/** The streaming form of Arrow IPC. */
export async function* writeArrow({ schema, batches: read }: Source): AsyncGenerator<Uint8Array> {
  const arrow = new ArrowSchema(schema.fields.map(({ name, type }) => new ArrowField(name, arrowType(type), true)));
  async function* recordBatches(): AsyncGenerator<RecordBatch> {
    let any = false;
    for await (const batch of read()) {
      any = true;
      yield recordBatch(arrow, schema.fields, batch);
    }
    // A stream of no batch would not tell the schema.
    if (!any) yield recordBatch(arrow, schema.fields, { rows: 0, columns: schema.fields.map(() => []) });
  }
  const writer = await RecordBatchStreamWriter.writeAll(recordBatches());
  for await (const chunk of writer.toNodeStream() as AsyncIterable<Uint8Array>) yield chunk;
}

function recordBatch(arrow: ArrowSchema, fields: readonly Field[], { rows, columns }: Batch): RecordBatch {
  const children = fields.map(({ type }, i) => {
    const values =
      type === 'integer' ? columns[i].map((cell) => (cell === null ? null : BigInt(cell as number))) : columns[i];
    return vectorFromArray(values as unknown[], arrow.fields[i].type).data[0];
  });
  return new RecordBatch(arrow, makeData({ type: new Struct(arrow.fields), length: rows, nullCount: 0, children }));
}
