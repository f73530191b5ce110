/** What every reader of rows shares: types that are found out or given, rejects that are kept, progress that is told. */
import { once } from 'node:events';
import { createWriteStream, type WriteStream } from 'node:fs';
import { Transform } from 'node:stream';
import { invalidArgument, SwitchyardError } from '../shared/errors.ts';
import { exactText } from '../shared/exact-json.ts';
import {
  BATCH_ROWS,
  type Batch,
  BatchBuilder,
  type Cell,
  checkSchema,
  type FieldType,
  type Schema,
  type Source,
} from './batch.ts';
import { castCell, shownValue, typeOfValue, widen } from './cells.ts';

/** A row that did not fit. */
export interface Reject {
  /** The file it stood in, or the topic and partition; absent where there is only one. */
  source?: string | undefined;
  /** Line of a text file, offset of a topic's record, else number of the row; from 1. */
  line: number;
  reason: string;
  /** The row as it came, cut. */
  data: string;
}

/** Where rejects go. */
export interface RejectSink {
  /** Throws when there are too many. */
  add(reject: Reject): void;
  /** One that is no fault of the data: it is kept and counted, and there are never too many. */
  leaveOut?(reject: Reject): void;
}

export interface Progress {
  rows: number;
  /** Read so far, and of how many; undefined: not known. */
  bytes: number;
  totalBytes: number | undefined;
}

export interface ReadOptions {
  /** Types of some or all columns; of the others they are found out from the first rows. */
  types?: Readonly<Record<string, FieldType>> | undefined;
  /** `types` are all columns: CSV has each of them, and a row with another one does not fit. */
  closed?: boolean | undefined;
  /** Absent: the first row that does not fit ends the reading. */
  rejects?: RejectSink | undefined;
  onProgress?: ((progress: Progress) => void) | undefined;
  /** CSV: between values. Default: a comma. */
  delimiter?: string | undefined;
  /** CSV: texts that stand for a missing value, besides nothing at all. */
  missing?: readonly string[] | undefined;
  /** Bytes after unpacking. */
  maxBytes?: number | undefined;
}

/** So many rows decide on the types of columns. */
const INFER_ROWS = 10_000;
const MAX_REJECT_DATA = 4096;

/** Rejects as a file of JSON lines: {"source":…,"line":…,"reason":…,"data":…}. */
export class RejectFile implements RejectSink {
  readonly path: string;
  count = 0;
  private readonly max: number;
  private faults = 0;
  private readonly stream: WriteStream;
  private failure: Error | undefined;

  constructor(path: string, max: number) {
    this.path = path;
    this.max = max;
    this.stream = createWriteStream(path, { mode: 0o600 });
    this.stream.on('error', (error) => {
      this.failure = error;
    });
  }

  add(reject: Reject): void {
    this.leaveOut(reject);
    if (++this.faults > this.max)
      throw invalidArgument(
        `more than ${this.max} rows were rejected, the last in ${placeOf(reject)}: ${reject.reason}; correct the data or its types, or allow more rejects`,
      );
  }

  leaveOut({ source, line, reason, data }: Reject): void {
    if (this.failure !== undefined) throw this.failure;
    this.count++;
    this.stream.write(`${JSON.stringify({ source, line, reason, data: data.slice(0, MAX_REJECT_DATA) })}\n`);
  }

  async close(): Promise<void> {
    this.stream.end();
    if (!this.stream.closed && this.failure === undefined) await once(this.stream, 'close');
    if (this.failure !== undefined) throw this.failure;
  }
}

/** A row of values without types. `problem`: it is broken already, and why. */
export interface RawRow {
  source?: string | undefined;
  line: number;
  values: Readonly<Record<string, unknown>>;
  problem?: string;
  /** Of columns whose type the reader knows: a float of 1 looks like a whole number. */
  types?: Readonly<Record<string, FieldType>>;
}

/**
 * Rows with types. Columns are those of the first rows, in the order in which rows bring them, and those that have a given
 * type. A row with a value that is none of its column's type, or with a column that came too late, is rejected.
 */
export async function typedRows(rows: AsyncIterable<RawRow>, options: ReadOptions): Promise<Source> {
  const iterator = rows[Symbol.asyncIterator]();
  const head: RawRow[] = [];
  const found = new Map<string, FieldType | undefined>();
  try {
    while (head.length < INFER_ROWS) {
      const next = await iterator.next();
      if (next.done === true) break;
      head.push(next.value);
      if (next.value.problem !== undefined || options.closed) continue;
      for (const [name, value] of Object.entries(next.value.values))
        found.set(
          name,
          widen(found.get(name), value === null ? undefined : (next.value.types?.[name] ?? typeOfValue(value))),
        );
    }
  } catch (error) {
    await iterator.return?.();
    throw error;
  }
  for (const name of Object.keys(options.types ?? {})) if (!found.has(name)) found.set(name, undefined);
  const fields = [...found].map(([name, type]) => ({ name, type: options.types?.[name] ?? type ?? 'string' }));
  if (fields.length === 0) {
    const broken = head.find(({ problem }) => problem !== undefined);
    await iterator.return?.();
    throw invalidArgument(
      broken === undefined
        ? 'there is no row in the data'
        : `${placeOf(broken)}: ${broken.problem}; no row can be read`,
    );
  }
  const schema: Schema = { fields };
  checkSchema(schema);
  return { schema, batches: () => typed(schema, head, iterator, options) };
}

async function* typed(
  schema: Schema,
  head: RawRow[],
  rest: AsyncIterator<RawRow>,
  { rejects }: ReadOptions,
): AsyncGenerator<Batch> {
  const builder = new BatchBuilder(schema);
  const known = new Set(schema.fields.map(({ name }) => name));
  const take = (row: RawRow): void => {
    const cells = castRow(schema, known, row);
    if (typeof cells === 'string') reject(row, cells, rejects);
    else builder.add(cells);
  };
  try {
    for (let i = 0; i < head.length; i++) {
      take(head[i]);
      if (builder.rows === BATCH_ROWS) yield builder.take();
    }
    head.length = 0;
    for (;;) {
      const next = await rest.next();
      if (next.done === true) break;
      take(next.value);
      if (builder.rows === BATCH_ROWS) yield builder.take();
    }
    if (builder.rows > 0) yield builder.take();
  } finally {
    await rest.return?.();
  }
}

/** Keeps a row that did not fit. Throws invalid_argument where none may be kept, or too many are. */
export function reject(row: RawRow, reason: string, rejects: RejectSink | undefined): void {
  if (rejects === undefined) throw invalidArgument(`${placeOf(row)}: ${reason}`);
  rejects.add(rejected(row, reason));
}

/** Keeps, where rejects are kept, a row that is left out though nothing is wrong with it. */
export function leaveOut(row: RawRow, reason: string, rejects: RejectSink | undefined): void {
  rejects?.leaveOut?.(rejected(row, reason));
}

function rejected({ source, line, values }: RawRow, reason: string): Reject {
  return { ...(source === undefined ? {} : { source }), line, reason, data: exactText(values) };
}

function placeOf({ source, line }: Pick<RawRow, 'source' | 'line'>): string {
  return source === undefined ? `line ${line}` : `${source}, line ${line}`;
}

/** The row's cells, or why it is none. */
function castRow(schema: Schema, known: ReadonlySet<string>, { values, problem }: RawRow): Cell[] | string {
  if (problem !== undefined) return problem;
  const late = Object.keys(values).find((name) => !known.has(name));
  if (late !== undefined) return `the column ${JSON.stringify(late)} is not among the columns of the first rows`;
  const cells: Cell[] = [];
  for (const { name, type } of schema.fields) {
    const cell = castCell(Object.hasOwn(values, name) ? values[name] : null, type);
    if (cell === undefined) return `column ${JSON.stringify(name)}: ${shownValue(values[name])} is no ${type}`;
    cells.push(cell);
  }
  return cells;
}

/** Counts bytes on their way, and ends the way beyond `maxBytes`. */
export function meter(maxBytes: number, onBytes: (bytes: number) => void): Transform {
  let bytes = 0;
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      bytes += chunk.length;
      onBytes(bytes);
      if (bytes <= maxBytes) done(null, chunk);
      else
        done(
          new SwitchyardError(
            'payload_too_large',
            `the data has more than ${maxBytes} bytes; read less, or raise datasets.maxBytes`,
          ),
        );
    },
  });
}

/** The source, telling how far it has been read. */
export function withProgress(
  source: Source,
  bytes: () => Omit<Progress, 'rows'>,
  onProgress: ReadOptions['onProgress'],
): Source {
  if (onProgress === undefined) return source;
  return {
    schema: source.schema,
    async *batches() {
      let rows = 0;
      for await (const batch of source.batches()) {
        rows += batch.rows;
        onProgress({ rows, ...bytes() });
        yield batch;
      }
    },
  };
}
