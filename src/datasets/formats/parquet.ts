import { open } from 'node:fs/promises';
import {
  type AsyncBuffer,
  type FileMetaData,
  parquetMetadataAsync,
  parquetRead,
  parquetSchema,
  type SchemaElement,
  type SchemaTree,
} from 'hyparquet';
import { compressors } from 'hyparquet-compressors';
import { ByteWriter, ParquetWriter } from 'hyparquet-writer';
import { invalidArgument, SwitchyardError } from '../../shared/errors.ts';
import { BATCH_ROWS, type Cell, checkSchema, type Field, type FieldType, type Schema, type Source } from '../batch.ts';
import { castCell, shownValue } from '../cells.ts';

/** Rows of a row group that is written: what a reader has in memory at once. */
const GROUP_ROWS = 50_000;

type Column = ArrayLike<unknown>;

/** Values as our cells have them, instead of Dates and parsed JSON. */
const PARSERS = {
  timestampFromMilliseconds: (time: bigint): unknown => missingOr(time, Number),
  timestampFromMicroseconds: (time: bigint): unknown => missingOr(time, (t) => Number(t / 1000n)),
  timestampFromNanoseconds: (time: bigint): unknown => missingOr(time, (t) => Number(t / 1_000_000n)),
  dateFromDays: (days: number): unknown => missingOr(days, (d) => d * 86_400_000),
  jsonFromBytes: (bytes: Uint8Array): unknown => missingOr(bytes, (b) => Buffer.from(b).toString()),
  geometryFromBytes: (bytes: Uint8Array): unknown => bytes,
  geographyFromBytes: (bytes: Uint8Array): unknown => bytes,
};

function missingOr<T, R>(value: T | null | undefined, convert: (value: T) => R): R | null {
  return value === null || value === undefined ? null : convert(value);
}

export interface ParquetSource extends Source {
  rows: number;
}

/** Bytes that can be read at any place. */
export interface RandomAccess extends AsyncBuffer {
  close(): Promise<void>;
}

/** Closes `file` when its batches have been read. Throws invalid_argument for damaged Parquet. */
export async function readParquet(
  file: RandomAccess,
  onBytes: (bytes: number) => void = () => {},
): Promise<ParquetSource> {
  try {
    const { schema, rows, metadata } = await parquetFacts(file);
    return { schema, rows, batches: () => groups(file, schema, metadata, onBytes) };
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** All values of one column, row group after row group. */
export async function* readParquetColumn(file: RandomAccess, name: string): AsyncGenerator<Cell[]> {
  try {
    const { schema, metadata } = await parquetFacts(file);
    const field = schema.fields.find((one) => one.name === name) as Field;
    let from = 0;
    for (const group of metadata.row_groups) {
      const rows = Number(group.num_rows);
      const [column] = await groupColumns(file, metadata, [name], from, rows);
      yield cells(column, field, 0, rows, from);
      from += rows;
    }
  } finally {
    await file.close();
  }
}

export async function openFile(path: string): Promise<RandomAccess> {
  const handle = await open(path, 'r');
  const { size } = await handle.stat();
  return {
    byteLength: size,
    close: () => handle.close(),
    slice: async (start, end = size) => {
      const bytes = new Uint8Array(Math.max(0, Math.min(end, size) - start));
      let at = 0;
      while (at < bytes.length) {
        const { bytesRead } = await handle.read(bytes, at, bytes.length - at, start + at);
        if (bytesRead === 0) throw new Error('the file ends before its data does');
        at += bytesRead;
      }
      return bytes.buffer;
    },
  };
}

function damaged(error: unknown, where: string): SwitchyardError {
  if (error instanceof SwitchyardError) return error;
  return invalidArgument(
    `not readable as Parquet: ${where}: ${(error as Error).message}; the file is truncated, damaged or uses something unknown here, so write it again`,
  );
}

async function parquetFacts(file: AsyncBuffer): Promise<{ schema: Schema; rows: number; metadata: FileMetaData }> {
  try {
    if (file.byteLength < 12) throw new Error(`it has ${file.byteLength} bytes only`);
    const magic = Buffer.from(await file.slice(0, 4)).toString('latin1');
    if (magic !== 'PAR1') throw new Error('it does not begin with PAR1');
    const metadata = await parquetMetadataAsync(file, { parsers: PARSERS, geoparquet: false });
    const rows = metadata.row_groups.reduce((sum, group) => sum + Number(group.num_rows), 0);
    if (rows !== Number(metadata.num_rows))
      throw new Error(`it says ${metadata.num_rows} rows and its row groups have ${rows}`);
    const schema = { fields: parquetSchema(metadata).children.map(fieldOf) };
    checkSchema(schema);
    return { schema, rows, metadata };
  } catch (error) {
    throw damaged(error, 'its footer');
  }
}

function fieldOf(tree: SchemaTree): Field {
  const { name } = tree.element;
  if (tree.children.length === 0 && tree.element.repetition_type !== 'REPEATED')
    return { name, type: typeOf(tree.element) };
  let leaf = tree;
  while (leaf.children.length === 1) leaf = leaf.children[0];
  const type = leaf.children.length === 0 ? typeOf(leaf.element) : undefined;
  // What is nested otherwise is kept as JSON text.
  return { name, type: type === 'number' || type === 'integer' ? 'numbers' : 'string' };
}

function typeOf({ type, converted_type: converted, logical_type: logical }: SchemaElement): FieldType {
  if (converted === 'DECIMAL' || logical?.type === 'DECIMAL' || logical?.type === 'FLOAT16') return 'number';
  if (
    converted === 'DATE' ||
    converted?.startsWith('TIMESTAMP') === true ||
    logical?.type === 'TIMESTAMP' ||
    logical?.type === 'DATE'
  )
    return 'timestamp';
  switch (type) {
    case 'BOOLEAN':
      return 'boolean';
    case 'INT32':
    case 'INT64':
      return 'integer';
    case 'INT96':
      return 'timestamp';
    case 'FLOAT':
    case 'DOUBLE':
      return 'number';
    default: {
      const words = ['UTF8', 'ENUM', 'JSON'].includes(converted ?? '');
      return words || ['STRING', 'ENUM', 'JSON', 'UUID'].includes(logical?.type ?? '') ? 'string' : 'binary';
    }
  }
}

async function* groups(file: RandomAccess, schema: Schema, metadata: FileMetaData, onBytes: (bytes: number) => void) {
  try {
    let from = 0;
    let bytes = 0;
    for (const group of metadata.row_groups) {
      const rows = Number(group.num_rows);
      const names = schema.fields.map(({ name }) => name);
      const columns = await groupColumns(file, metadata, names, from, rows);
      for (let at = 0; at < rows; at += BATCH_ROWS) {
        const count = Math.min(BATCH_ROWS, rows - at);
        yield {
          rows: count,
          columns: columns.map((column, i) => cells(column, schema.fields[i], at, count, from)),
        };
      }
      from += rows;
      bytes += Number(group.total_compressed_size ?? group.total_byte_size);
      onBytes(bytes);
    }
  } finally {
    await file.close();
  }
}

async function groupColumns(
  file: AsyncBuffer,
  metadata: FileMetaData,
  names: readonly string[],
  from: number,
  rows: number,
): Promise<Column[]> {
  const found = new Map<string, { rowStart: number; data: Column }[]>();
  try {
    await parquetRead({
      file,
      metadata,
      compressors,
      columns: [...names],
      rowStart: from,
      rowEnd: from + rows,
      utf8: false,
      geoparquet: false,
      parsers: PARSERS,
      onChunk: ({ columnName, columnData, rowStart }) => {
        const list = found.get(columnName);
        if (list === undefined) found.set(columnName, [{ rowStart, data: columnData }]);
        else list.push({ rowStart, data: columnData });
      },
    });
    return names.map((name) => {
      const parts = (found.get(name) ?? []).sort((a, b) => a.rowStart - b.rowStart).map(({ data }) => data);
      const column = parts.length === 1 ? parts[0] : parts.flatMap((part) => Array.from(part));
      if (column.length !== rows)
        throw new Error(`column ${JSON.stringify(name)} has ${column.length} values where ${rows} are declared`);
      return column;
    });
  } catch (error) {
    throw damaged(error, `the row group from row ${from + 1} on`);
  }
}

function cells(column: Column, { name, type }: Field, at: number, count: number, from: number): Cell[] {
  const found: Cell[] = new Array(count);
  for (let i = 0; i < count; i++) {
    const cell = castCell(column[at + i], type);
    if (cell === undefined)
      throw invalidArgument(
        `row ${from + at + i + 1}: column ${JSON.stringify(name)}: ${shownValue(column[at + i])} is no ${type}`,
      );
    found[i] = cell;
  }
  return found;
}

/** The writer brings a hyparquet of its own. */
type WriterElement = ConstructorParameters<typeof ParquetWriter>[0]['schema'][number];

/** Our types as Parquet's; reading gives the same back. */
function elementsOf({ name, type }: Field): WriterElement[] {
  const leaf = (facts: Omit<WriterElement, 'name' | 'repetition_type'>): WriterElement[] => [
    { name, repetition_type: 'OPTIONAL', ...facts },
  ];
  switch (type) {
    case 'boolean':
      return leaf({ type: 'BOOLEAN' });
    case 'integer':
      return leaf({ type: 'INT64' });
    case 'number':
      return leaf({ type: 'DOUBLE' });
    case 'timestamp':
      return leaf({ type: 'INT64', converted_type: 'TIMESTAMP_MILLIS' });
    case 'binary':
      return leaf({ type: 'BYTE_ARRAY' });
    case 'numbers':
      return [
        ...leaf({ converted_type: 'LIST', num_children: 1 }),
        { name: 'list', repetition_type: 'REPEATED', num_children: 1 },
        { name: 'element', type: 'DOUBLE', repetition_type: 'REQUIRED' },
      ];
    default:
      return leaf({ type: 'BYTE_ARRAY', converted_type: 'UTF8' });
  }
}

function stored(column: readonly Cell[], type: FieldType): unknown[] {
  if (type === 'integer') return column.map((cell) => (cell === null ? null : BigInt(cell as number)));
  if (type === 'timestamp') return column.map((cell) => (cell === null ? null : BigInt(Math.floor(cell as number))));
  return column as unknown[];
}

/** The same cells always give the same bytes, however they were cut into batches: datasets are known by their digest. */
export async function* writeParquet({ schema, batches }: Source): AsyncGenerator<Uint8Array> {
  const writer = new ByteWriter(1024 * 1024);
  const root = { name: 'schema', num_children: schema.fields.length };
  const file = new ParquetWriter({
    writer,
    schema: [root, ...schema.fields.flatMap(elementsOf)],
    codec: 'SNAPPY',
    createdBy: 'switchyard',
  });
  const taken = (): Uint8Array => {
    const bytes = writer.getBytes().slice();
    writer.index = 0;
    return bytes;
  };
  let pending: Cell[][] = schema.fields.map(() => []);
  const write = (columns: readonly (readonly Cell[])[]): void => {
    const columnData = schema.fields.map(({ name, type }, i) => ({ name, data: stored(columns[i], type) }));
    void file.write({ columnData, rowGroupSize: GROUP_ROWS });
  };
  for await (const { columns } of batches()) {
    pending.forEach((column, i) => {
      for (const cell of columns[i]) column.push(cell);
    });
    while (pending[0].length >= GROUP_ROWS) {
      write(pending.map((column) => column.slice(0, GROUP_ROWS)));
      pending = pending.map((column) => column.slice(GROUP_ROWS));
      yield taken();
    }
  }
  if (pending[0].length > 0) write(pending);
  void file.finish();
  yield taken();
}
