import { invalidArgument } from '../../shared/errors.ts';
import { type Cell, type Column, type ColumnType, castCell, columnOf, type Table } from './table.ts';

/** One step of a transformation. Those that learn from data (`scale`, `oneHot`) learn from the first dataset only. */
export type Operation =
  | { select: readonly string[] }
  | { drop: readonly string[] }
  | { rename: Readonly<Record<string, string>> }
  | { cast: Readonly<Record<string, ColumnType>> }
  | { fill: Readonly<Record<string, string | number | boolean>> }
  | { scale: { columns: readonly string[]; method: 'standard' | 'minMax' } }
  | { oneHot: { columns: readonly string[]; maxValues: number } }
  | { hash: { columns: readonly string[]; buckets: number } };

/** What an operation learnt: by column, two numbers of a scale or the values of a one-hot encoding. */
export type Learnt = { scale: Record<string, [number, number]> } | { oneHot: Record<string, string[]> } | null;

/** Learns from a dataset, in the order of the operations, and gives it transformed. Throws invalid_argument. */
export function fitTransform(table: Table, operations: readonly Operation[]): { table: Table; state: Learnt[] } {
  const state: Learnt[] = [];
  let current = table;
  for (const operation of operations) {
    const learnt = learn(current, operation);
    state.push(learnt);
    current = apply(current, operation, learnt);
  }
  return { table: current, state };
}

/** Applies what was learnt to another dataset, as serving must. Throws invalid_argument. */
export function applyTransform(table: Table, operations: readonly Operation[], state: readonly Learnt[]): Table {
  if (state.length !== operations.length)
    throw invalidArgument(`the state is of ${state.length} operations, not of ${operations.length}; fit it again`);
  return operations.reduce((current, operation, i) => apply(current, operation, state[i]), table);
}

function learn(table: Table, operation: Operation): Learnt {
  if ('scale' in operation) {
    const { columns, method } = operation.scale;
    return { scale: Object.fromEntries(columns.map((name) => [name, scaleOf(numeric(table, name), method)])) };
  }
  if (!('oneHot' in operation)) return null;
  const { columns, maxValues } = operation.oneHot;
  const vocabulary = (name: string): string[] => {
    const values = [
      ...new Set(
        columnOf(table, name)
          .values.filter((value) => value !== null)
          .map(String),
      ),
    ].sort();
    if (values.length <= maxValues) return values;
    throw invalidArgument(
      `oneHot: column ${JSON.stringify(name)} has ${values.length} values, ${maxValues} are allowed; raise maxValues, or use hash`,
    );
  };
  return { oneHot: Object.fromEntries(columns.map((name) => [name, vocabulary(name)])) };
}

/** Offset and divisor. A column of one value is only shifted. */
function scaleOf(values: readonly Cell[], method: 'standard' | 'minMax'): [number, number] {
  const numbers = values.filter((value) => value !== null) as number[];
  if (numbers.length === 0) return [0, 1];
  if (method === 'minMax') {
    const low = numbers.reduce((a, b) => Math.min(a, b));
    return [low, numbers.reduce((a, b) => Math.max(a, b)) - low || 1];
  }
  const mean = numbers.reduce((a, b) => a + b, 0) / numbers.length;
  const variance = numbers.reduce((sum, value) => sum + (value - mean) ** 2, 0) / numbers.length;
  return [mean, Math.sqrt(variance) || 1];
}

function numeric(table: Table, name: string): Cell[] {
  const { type, values } = columnOf(table, name);
  if (type === 'number' || type === 'integer') return values;
  throw invalidArgument(
    `scale: column ${JSON.stringify(name)} is of type ${type}; scale takes numbers, so cast it first`,
  );
}

function apply(table: Table, operation: Operation, learnt: Learnt): Table {
  const { rows } = table;
  if ('select' in operation) return { rows, columns: operation.select.map((name) => columnOf(table, name)) };
  if ('drop' in operation) {
    for (const name of operation.drop) columnOf(table, name);
    return { rows, columns: table.columns.filter(({ name }) => !operation.drop.includes(name)) };
  }
  if ('rename' in operation) return rename(table, operation.rename);
  if ('cast' in operation) return change(table, operation.cast, cast);
  if ('fill' in operation) return change(table, operation.fill, fill);
  if ('scale' in operation) {
    const scales = (learnt as { scale: Record<string, [number, number]> }).scale;
    return change(table, scales, ({ name }, [offset, divisor]) => ({
      name,
      type: 'number',
      values: numeric(table, name).map((value) => (value === null ? null : ((value as number) - offset) / divisor)),
    }));
  }
  if ('oneHot' in operation) return oneHot(table, (learnt as { oneHot: Record<string, string[]> }).oneHot);
  const buckets = Object.fromEntries(operation.hash.columns.map((name) => [name, operation.hash.buckets]));
  return change(table, buckets, ({ name, values }, count) => ({
    name,
    type: 'integer',
    values: values.map((value) => (value === null ? null : fnv1a(String(value)) % count)),
  }));
}

function change<T>(table: Table, by: Readonly<Record<string, T>>, to: (column: Column, how: T) => Column): Table {
  for (const name of Object.keys(by)) columnOf(table, name);
  const columns = table.columns.map((column) =>
    Object.hasOwn(by, column.name) ? to(column, by[column.name]) : column,
  );
  return { rows: table.rows, columns };
}

function rename(table: Table, names: Readonly<Record<string, string>>): Table {
  const renamed = change(table, names, (column, name) => ({ ...column, name }));
  const twice = renamed.columns.find(({ name }, i) => renamed.columns.findIndex((one) => one.name === name) !== i);
  if (twice === undefined) return renamed;
  throw invalidArgument(`rename: there would be two columns ${JSON.stringify(twice.name)}`);
}

function cast({ name, values }: Column, type: ColumnType): Column {
  const changed = values.map((value, i) => {
    const cell = castCell(value, type);
    if (cell !== undefined) return cell;
    throw invalidArgument(`cast: column ${JSON.stringify(name)}, row ${i + 1}: ${JSON.stringify(value)} is no ${type}`);
  });
  return { name, type, values: changed };
}

function fill({ name, type, values }: Column, value: string | number | boolean): Column {
  const cell = castCell(value, type);
  if (cell === undefined)
    throw invalidArgument(
      `fill: column ${JSON.stringify(name)} is of type ${type}; ${JSON.stringify(value)} is no ${type}`,
    );
  return { name, type, values: values.map((old) => old ?? cell) };
}

/** A value that was not learnt is 0 in every column. */
function oneHot(table: Table, vocabularies: Record<string, string[]>): Table {
  const columns = table.columns.flatMap((column): Column[] => {
    if (!Object.hasOwn(vocabularies, column.name)) return [column];
    return vocabularies[column.name].map((value) => ({
      name: `${column.name}=${value}`,
      type: 'integer',
      values: column.values.map((cell) => (cell !== null && String(cell) === value ? 1 : 0)),
    }));
  });
  for (const name of Object.keys(vocabularies)) columnOf(table, name);
  return { rows: table.rows, columns };
}

/** FNV-1a over UTF-8, 32 bits: easily computed anywhere. */
function fnv1a(text: string): number {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(text)) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}
