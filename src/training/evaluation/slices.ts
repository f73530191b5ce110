import { invalidArgument } from '../../shared/errors.ts';
import { type Cell, columnOf, type Table } from '../tables/table.ts';
import type { SliceSpec } from './spec.ts';

const MAX_SLICES = 200;

export interface Slice {
  name: string;
  /** Places of its rows. */
  rows: number[];
}

/** Finds the rows of each slice. Throws invalid_argument for columns that are not there and for too many slices. */
export function sliceRows(table: Table, specs: readonly SliceSpec[]): Slice[] {
  const slices = specs.flatMap((spec): Slice[] => {
    if (spec.where !== undefined) return [whereSlice(table, spec.where, spec.name)];
    const name = spec.column as string;
    const { values } = columnOf(table, name);
    if (spec.min !== undefined || spec.below !== undefined) return [rangeSlice(values, spec, name)];
    return byValue(values, spec.name ?? name);
  });
  if (slices.length <= MAX_SLICES) return slices;
  throw invalidArgument(
    `there would be ${slices.length} slices, ${MAX_SLICES} are allowed; slice by columns with fewer values`,
  );
}

function whereSlice(table: Table, where: Readonly<Record<string, Cell>>, name: string | undefined): Slice {
  const wanted = Object.entries(where).map(([column, value]) => ({ values: columnOf(table, column).values, value }));
  const rows = placesOf(table.rows, (row) => wanted.every(({ values, value }) => values[row] === value));
  const text = Object.entries(where).map(([column, value]) => `${column}=${String(value)}`);
  return { name: name ?? text.join(','), rows };
}

function rangeSlice(values: readonly Cell[], { name, min, below }: SliceSpec, column: string): Slice {
  const low = min ?? Number.NEGATIVE_INFINITY;
  const high = below ?? Number.POSITIVE_INFINITY;
  const rows = placesOf(values.length, (row) => {
    const value = values[row];
    return typeof value === 'number' && value >= low && value < high;
  });
  const text = `${min === undefined ? '' : `${min}<=`}${column}${below === undefined ? '' : `<${below}`}`;
  return { name: name ?? text, rows };
}

function byValue(values: readonly Cell[], name: string): Slice[] {
  const found = new Map<Cell, number[]>();
  values.forEach((value, row) => {
    const rows = found.get(value);
    if (rows === undefined) found.set(value, [row]);
    else rows.push(row);
  });
  return [...found]
    .map(([value, rows]) => ({ name: `${name}=${String(value)}`, rows }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

function placesOf(count: number, holds: (row: number) => boolean): number[] {
  const rows: number[] = [];
  for (let row = 0; row < count; row++) if (holds(row)) rows.push(row);
  return rows;
}
