import type { Readable } from 'node:stream';
import { readCsvRecords, rowMaker } from '../../shared/csv.ts';
import { invalidArgument } from '../../shared/errors.ts';
import { type Cell, type ColumnFacts, castCell, type Table } from './table.ts';

/** Text that stands for a missing value, besides nothing at all. */
export type Missing = ReadonlySet<string>;

/** Rows of CSV with a heading, as text; `""` is an empty text and nothing is missing. Throws invalid_argument with the line. */
export async function* readCsv(
  source: Readable,
  options: { delimiter?: string; missing?: Missing } = {},
): AsyncGenerator<Record<string, Cell>> {
  let names: string[] | undefined;
  let row = rowMaker([]);
  for await (const { line, values, problem } of readCsvRecords(source, options)) {
    if (problem !== undefined) throw invalidArgument(`not readable as CSV: ${problem}, on line ${line}`);
    if (names === undefined) {
      names = checkHeading(values.map((name) => name ?? ''));
      row = rowMaker(names);
    } else if (values.length !== names.length)
      throw invalidArgument(
        `not readable as CSV: ${values.length} values, but the heading has ${names.length}, on line ${line}`,
      );
    else yield row(values);
  }
}

function checkHeading(names: string[]): string[] {
  const twice = names.find((name, i) => name === '' || names.indexOf(name) !== i);
  if (twice === undefined) return names;
  throw invalidArgument(
    `line 1: the column name ${JSON.stringify(twice)} ${twice === '' ? 'is empty' : 'is there twice'}; every column needs a name of its own`,
  );
}

/** A table as the bytes that datasets are kept as: the same table always gives the same bytes. */
export function* writeCsv({ columns, rows }: Table): Generator<string> {
  yield `${columns.map(({ name }) => quoted(name)).join(',')}\n`;
  let lines = '';
  for (let row = 0; row < rows; row++) {
    lines += `${columns.map(({ values }) => shown(values[row])).join(',')}\n`;
    if (lines.length < 65_536) continue;
    yield lines;
    lines = '';
  }
  if (lines !== '') yield lines;
}

function shown(value: Cell): string {
  if (value === null) return '';
  return typeof value === 'string' ? quoted(value) : String(value);
}

function quoted(text: string): string {
  return text === '' || /[",\r\n\uFEFF]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** Reads what writeCsv wrote. Throws invalid_argument when it is not of these columns. */
export async function readTable(source: Readable, facts: readonly ColumnFacts[]): Promise<Table> {
  const columns = facts.map(({ name, type }) => ({ name, type, values: [] as Cell[] }));
  let rows = 0;
  for await (const row of readCsv(source)) {
    rows++;
    for (const { name, type, values } of columns) {
      const cell = Object.hasOwn(row, name) ? castCell(row[name], type) : undefined;
      if (cell === undefined)
        throw invalidArgument(
          `row ${rows}: column ${JSON.stringify(name)} has no ${type} but ${JSON.stringify(row[name])}`,
        );
      values.push(cell);
    }
  }
  return { columns, rows };
}
