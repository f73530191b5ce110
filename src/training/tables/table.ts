import { invalidArgument } from '../../shared/errors.ts';

export const COLUMN_TYPES = ['number', 'integer', 'string', 'boolean'] as const;
export type ColumnType = (typeof COLUMN_TYPES)[number];
/** Null: missing. */
export type Cell = number | string | boolean | null;

export interface ColumnFacts {
  name: string;
  type: ColumnType;
}

export interface Column extends ColumnFacts {
  values: Cell[];
}

/** A dataset in memory, by column. */
export interface Table {
  columns: Column[];
  rows: number;
}

/** Throws invalid_argument naming the columns that there are. */
export function columnOf(table: Table, name: string): Column {
  const column = table.columns.find((one) => one.name === name);
  if (column !== undefined) return column;
  const known = table.columns.map((one) => one.name);
  const shown = known.length > 30 ? `${known.slice(0, 30).join(', ')} and ${known.length - 30} more` : known.join(', ');
  throw invalidArgument(`there is no column ${JSON.stringify(name)}; the dataset has ${shown}`);
}

/** The rows at these places, in this order. */
export function takeRows(table: Table, rows: readonly number[]): Table {
  const columns = table.columns.map(({ name, type, values }) => ({
    name,
    type,
    values: rows.map((row) => values[row]),
  }));
  return { columns, rows: rows.length };
}

export function factsOf({ columns }: Table): ColumnFacts[] {
  return columns.map(({ name, type }) => ({ name, type }));
}

const NUMBER = /^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?$/;
const INTEGER = /^[+-]?\d{1,15}$/;

/** The narrowest type that takes all of these; string when nothing is there. */
export function inferType(values: Iterable<Cell>): ColumnType {
  let type: ColumnType | undefined;
  for (const value of values) {
    if (value === null) continue;
    const found = typeOf(value);
    if (type === undefined || type === found) type = found;
    else if ((type === 'integer' && found === 'number') || (type === 'number' && found === 'integer')) type = 'number';
    else return 'string';
  }
  return type ?? 'string';
}

function typeOf(value: Cell): ColumnType {
  if (typeof value === 'boolean') return 'boolean';
  if (typeof value === 'number') return Number.isSafeInteger(value) ? 'integer' : 'number';
  const text = value as string;
  if (INTEGER.test(text)) return 'integer';
  if (NUMBER.test(text)) return 'number';
  return text === 'true' || text === 'false' ? 'boolean' : 'string';
}

/** A cell as a type; undefined: it is none of that type. Numbers are finite. */
export function castCell(value: Cell, type: ColumnType): Cell | undefined {
  if (value === null) return null;
  switch (type) {
    case 'string':
      return String(value);
    case 'boolean':
      if (typeof value === 'boolean') return value;
      if (value === 'true' || value === 'True' || value === 1 || value === '1') return true;
      return value === 'false' || value === 'False' || value === 0 || value === '0' ? false : undefined;
    default: {
      const number = typeof value === 'string' ? (NUMBER.test(value) ? Number(value) : Number.NaN) : Number(value);
      if (!Number.isFinite(number)) return undefined;
      return type === 'integer' && !Number.isSafeInteger(number) ? undefined : number;
    }
  }
}
