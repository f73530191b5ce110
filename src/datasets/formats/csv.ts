import type { Readable } from 'node:stream';
import { readCsvRecords, rowMaker } from '../../shared/csv.ts';
import { invalidArgument } from '../../shared/errors.ts';
import type { Cell, FieldType, Source } from '../batch.ts';
import { jsonValue } from '../cells.ts';
import { type RawRow, type ReadOptions, typedRows } from '../reading.ts';

const FLUSH_CHARS = 65_536;

/** CSV with a heading. `""` is an empty text; nothing at all is a missing value. */
export function readCsv(stream: Readable, options: ReadOptions): Promise<Source> {
  return typedRows(csvRows(stream, options), options);
}

async function* csvRows(
  stream: Readable,
  { delimiter, missing = [], types, closed }: ReadOptions,
): AsyncGenerator<RawRow> {
  let names: string[] | undefined;
  let row = rowMaker([]);
  for await (const { line, values, problem, raw } of readCsvRecords(stream, { delimiter, missing: new Set(missing) })) {
    if (problem !== undefined) yield { line, values: { raw: raw ?? '' }, problem: `not readable as CSV: ${problem}` };
    else if (names === undefined) {
      names = heading(values, line);
      const absent = closed ? Object.keys(types ?? {}).find((name) => !names?.includes(name)) : undefined;
      if (absent !== undefined)
        throw invalidArgument(
          `line ${line}: the heading lacks the column ${JSON.stringify(absent)} of the first file; import files with the same columns`,
        );
      row = rowMaker(names);
    } else if (values.length === names.length) yield { line, values: row(values) };
    else
      yield {
        line,
        values: { row: values },
        problem: `${values.length} values, but the heading has ${names.length}`,
      };
  }
}

function heading(values: readonly (string | null)[], line: number): string[] {
  const names = values.map((name) => (name ?? '').trim());
  const twice = names.find((name, i) => name === '' || names.indexOf(name) !== i);
  if (twice === undefined) return names;
  throw invalidArgument(
    `line ${line}: the column name ${JSON.stringify(twice)} ${twice === '' ? 'is empty' : 'is there twice'}; every column needs a name of its own`,
  );
}

export async function* writeCsv({ schema, batches }: Source): AsyncGenerator<string> {
  let lines = `${schema.fields.map(({ name }) => quoted(name)).join(',')}\n`;
  const types = schema.fields.map(({ type }) => type);
  for await (const { rows, columns } of batches()) {
    for (let row = 0; row < rows; row++) {
      for (let i = 0; i < columns.length; i++) lines += (i === 0 ? '' : ',') + csvCell(columns[i][row], types[i]);
      lines += '\n';
      if (lines.length < FLUSH_CHARS) continue;
      yield lines;
      lines = '';
    }
  }
  yield lines;
}

function csvCell(cell: Cell, type: FieldType): string {
  if (cell === null) return '';
  const value = jsonValue(cell, type);
  if (typeof value === 'string') return quoted(value);
  return Array.isArray(value) ? quoted(JSON.stringify(value)) : String(value);
}

function quoted(text: string): string {
  return text === '' || /[",\r\n\uFEFF]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
