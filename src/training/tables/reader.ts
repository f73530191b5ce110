import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { Readable } from 'node:stream';
import type { ReadableStream } from 'node:stream/web';
import { createGunzip } from 'node:zlib';
import { invalidArgument, SwitchyardError } from '../../shared/errors.ts';
import { readCsv } from './csv.ts';
import { type Cell, type Column, type ColumnType, castCell, inferType, type Table } from './table.ts';

/** What an ingest step reads. */
export interface SourceSpec {
  /** A path, or an http:// or https:// address. */
  location: string;
  format: 'csv' | 'jsonl';
  delimiter?: string;
  /** Texts that stand for a missing value. */
  missing?: readonly string[];
}

/**
 * A kind of source. `read` gives rows with whatever types the source has; text is given its type later. Throws
 * SwitchyardError naming the place.
 */
export interface RowReader {
  read(source: SourceSpec): AsyncIterable<Record<string, Cell>>;
}

const HTTP_TIMEOUT_MS = 10 * 60_000;

async function open(location: string): Promise<Readable> {
  const stream = /^https?:\/\//.test(location) ? await download(location) : createReadStream(location);
  const packed = /\.gz($|\?)/.test(location);
  if (!packed) return stream;
  const unpacked = createGunzip();
  stream.on('error', (error: Error) => unpacked.destroy(error));
  return stream.pipe(unpacked);
}

async function download(url: string): Promise<Readable> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(HTTP_TIMEOUT_MS), redirect: 'error' });
    if (response.ok && response.body !== null) return Readable.fromWeb(response.body as ReadableStream);
    throw new SwitchyardError(
      'failed_precondition',
      `${url} answered ${response.status}; correct the address or its access`,
    );
  } catch (error) {
    if (error instanceof SwitchyardError) throw error;
    const { cause, message } = error as Error & { cause?: { code?: string } };
    throw new SwitchyardError('unavailable', `${url} cannot be read: ${cause?.code ?? message}`);
  }
}

async function* readJsonLines(source: Readable): AsyncGenerator<Record<string, Cell>> {
  let line = 0;
  const lines = createInterface({ input: source, crlfDelay: Number.POSITIVE_INFINITY });
  const failed = new Promise<never>((_, reject) => source.once('error', reject));
  failed.catch(() => {});
  for await (const text of lines) {
    line++;
    if (text.trim() === '') continue;
    yield jsonRow(text, line);
  }
  if (source.errored !== null) throw source.errored;
}

function jsonRow(text: string, line: number): Record<string, Cell> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw invalidArgument(`line ${line}: not JSON: ${(error as Error).message.slice(0, 200)}`);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw invalidArgument(`line ${line}: must be a JSON object, one a line`);
  const deep = Object.entries(value).find(([, cell]) => typeof cell === 'object' && cell !== null);
  if (deep !== undefined)
    throw invalidArgument(
      `line ${line}: ${JSON.stringify(deep[0])} holds a list or an object; give texts, numbers and booleans`,
    );
  return value as Record<string, Cell>;
}

/** CSV and JSON lines, plain or gzipped, from files and over HTTP. */
export const filesAndHttp: RowReader = {
  async *read({ location, format, delimiter, missing }) {
    try {
      const source = await open(location);
      yield* format === 'csv'
        ? readCsv(source, { ...(delimiter === undefined ? {} : { delimiter }), missing: new Set(missing ?? []) })
        : readJsonLines(source);
    } catch (error) {
      if (error instanceof SwitchyardError)
        throw error.message.startsWith(location)
          ? error
          : new SwitchyardError(error.code, `${location}: ${error.message}`);
      const { code, message } = error as NodeJS.ErrnoException;
      const reason = code === 'ENOENT' ? 'there is no such file' : message;
      throw new SwitchyardError('failed_precondition', `${location}: ${reason}; correct the source of the step`);
    }
  },
};

/**
 * Gathers all rows of all sources. Columns appear in the order in which rows bring them; `types` says what they must be,
 * the others get the narrowest type that takes all their values. Throws invalid_argument with row and column.
 */
export async function gather(
  reader: RowReader,
  sources: readonly SourceSpec[],
  types: Readonly<Record<string, ColumnType>> = {},
): Promise<Table> {
  const columns = new Map<string, Column>();
  let rows = 0;
  for (const source of sources) {
    for await (const row of reader.read(source)) {
      for (const [name, cell] of Object.entries(row)) {
        let column = columns.get(name);
        if (column === undefined) {
          column = { name, type: 'string', values: new Array<Cell>(rows).fill(null) };
          columns.set(name, column);
        }
        column.values.push(cell);
      }
      rows++;
      for (const column of columns.values()) if (column.values.length < rows) column.values.push(null);
    }
  }
  const absent = Object.keys(types).find((name) => !columns.has(name));
  if (absent !== undefined)
    throw invalidArgument(
      `there is no column ${JSON.stringify(absent)}; the data has ${[...columns.keys()].slice(0, 30).join(', ')}`,
    );
  for (const column of columns.values()) setType(column, types[column.name] ?? inferType(column.values));
  return { columns: [...columns.values()], rows };
}

function setType(column: Column, type: ColumnType): void {
  column.type = type;
  column.values = column.values.map((value, i) => {
    const cell = castCell(value, type);
    if (cell !== undefined) return cell;
    throw invalidArgument(
      `row ${i + 1}: column ${JSON.stringify(column.name)} is ${JSON.stringify(value)}, which is no ${type}`,
    );
  });
}
