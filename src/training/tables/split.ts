import { invalidArgument } from '../../shared/errors.ts';
import { keyFraction, seededRandom, shuffled } from './random.ts';
import { columnOf, type Table, takeRows } from './table.ts';

export interface SplitSpec {
  /** Name of the part → its share. They sum up to 1. */
  parts: Readonly<Record<string, number>>;
  seed: number;
  /** Rows with the same value stay together, and stay where they are when the dataset grows. */
  key?: string | undefined;
  /** Earlier values go to the first part. */
  time?: string | undefined;
  /** Every part gets the same mix of this column's values. */
  stratify?: string | undefined;
}

/** Splits a dataset. The same table and spec give the same parts; rows keep their order. Throws invalid_argument. */
export function split(table: Table, spec: SplitSpec): Map<string, Table> {
  const names = Object.keys(spec.parts);
  const part = assign(table, spec, bounds(spec.parts));
  const rows: number[][] = names.map(() => []);
  for (let row = 0; row < table.rows; row++) rows[part[row]].push(row);
  const empty = rows.findIndex((list) => list.length === 0);
  if (empty >= 0)
    throw invalidArgument(
      `the part ${JSON.stringify(names[empty])} would be empty: ${table.rows} rows are too few for these shares; bring more rows or a larger share`,
    );
  return new Map(names.map((name, i) => [name, takeRows(table, rows[i])]));
}

/** Upper bounds of the parts in [0, 1]. */
function bounds(parts: Readonly<Record<string, number>>): number[] {
  let sum = 0;
  const found = Object.values(parts).map((share) => {
    sum += share;
    return sum;
  });
  found[found.length - 1] = 1;
  return found;
}

/** Index of the part of each row. */
function assign(table: Table, { key, time, stratify, seed }: SplitSpec, limits: readonly number[]): Uint8Array {
  const part = new Uint8Array(table.rows);
  if (key !== undefined) {
    const { values } = columnOf(table, key);
    for (let row = 0; row < table.rows; row++) part[row] = partOf(keyFraction(seed, String(values[row])), limits);
    return part;
  }
  const place = (rows: readonly number[]): void => {
    rows.forEach((row, i) => {
      part[row] = partOf((i + 0.5) / rows.length, limits);
    });
  };
  const all = Array.from({ length: table.rows }, (_, row) => row);
  if (time !== undefined) {
    place(byTime(table, time, all));
    return part;
  }
  const random = seededRandom(seed);
  if (stratify === undefined) place(shuffled(all, random));
  else for (const rows of classes(table, stratify, all)) place(shuffled(rows, random));
  return part;
}

function partOf(at: number, limits: readonly number[]): number {
  const found = limits.findIndex((limit) => at < limit);
  return found < 0 ? limits.length - 1 : found;
}

function byTime(table: Table, name: string, rows: readonly number[]): number[] {
  const { values } = columnOf(table, name);
  const at = values.map((value) => (typeof value === 'number' ? value : Date.parse(String(value))));
  const bad = at.findIndex((time) => !Number.isFinite(time));
  if (bad >= 0)
    throw invalidArgument(
      `row ${bad + 1}: column ${JSON.stringify(name)} is ${JSON.stringify(values[bad])}, which is no time; give numbers or ISO 8601`,
    );
  return rows.toSorted((a, b) => at[a] - at[b] || a - b);
}

function classes(table: Table, name: string, rows: readonly number[]): number[][] {
  const { values } = columnOf(table, name);
  const found = new Map<unknown, number[]>();
  for (const row of rows) {
    const list = found.get(values[row]);
    if (list === undefined) found.set(values[row], [row]);
    else list.push(row);
  }
  return [...found.values()];
}
