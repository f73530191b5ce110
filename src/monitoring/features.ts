import { type Column, isOwnColumn, type LogRecord } from '../eventlog/record.ts';
import type { Value } from './statistics/bins.ts';

/** Reads one watched figure of each row of a record. */
interface Reader {
  name: string;
  /** Where its tensor stands in the record's features or predictions. */
  column: string;
  output: boolean;
  /** Elements a row of that tensor has. */
  width: number;
  /** Which of them; 'mean' and 'deviation' are of all. */
  take: number | 'mean' | 'deviation';
}

export interface FeatureRules {
  include: readonly string[];
  exclude: readonly string[];
  batched: boolean;
  elements: number;
}

function matches(patterns: readonly string[], name: string): boolean {
  return patterns.some((pattern) => {
    const parts = pattern.split('*').map((part) => part.replace(/[\\^$.|?+()[\]{}]/g, '\\$&'));
    return new RegExp(`^${parts.join('.*')}$`).test(name);
  });
}

export function isWatched({ include, exclude }: Pick<FeatureRules, 'include' | 'exclude'>, name: string): boolean {
  return matches(include, name) && !matches(exclude, name);
}

function widthOf({ shape }: Column, batched: boolean): number {
  return shape.slice(batched ? 1 : 0).reduce((product, dim) => product * dim, 1);
}

/**
 * Which columns a version's records have, as its first record shows them: `inputs.age` for a tensor with one element a
 * row, `inputs.image[7]` for each of several, `inputs.image.mean` and `.deviation` where they are too many.
 */
export function layoutOf(record: LogRecord, rules: FeatureRules): Reader[] {
  const readers: Reader[] = [];
  for (const output of [false, true]) {
    for (const column of output ? record.predictions : record.features) {
      if (isOwnColumn(column)) continue;
      const width = widthOf(column, rules.batched);
      const base = `${output ? 'outputs' : 'inputs'}.${column.name}`;
      const numeric = column.datatype !== 'BYTES' && column.datatype !== 'BOOL';
      const takes: Reader['take'][] =
        width <= rules.elements ? Array.from({ length: width }, (_, i) => i) : numeric ? ['mean', 'deviation'] : [];
      for (const take of takes) {
        const name = typeof take === 'string' ? `${base}.${take}` : width === 1 ? base : `${base}[${take}]`;
        if (!isWatched(rules, name)) continue;
        readers.push({ name, column: column.name, output, width, take });
      }
    }
  }
  return readers;
}

/** Rows of a record: of its first tensor, when the first dimension counts them. */
export function rowsOf({ features, predictions }: LogRecord, batched: boolean): number {
  if (!batched) return 1;
  return features[0]?.shape[0] ?? predictions[0]?.shape[0] ?? 1;
}

/** The values of one row, in the order of the readers. A tensor that is missing or was redacted gives null. */
export function readRow(readers: readonly Reader[], record: LogRecord, row: number): Value[] {
  const found: Value[] = [];
  let last: Column | undefined;
  for (const reader of readers) {
    const columns = reader.output ? record.predictions : record.features;
    if (last === undefined || last.name !== reader.column || !columns.includes(last))
      last = columns.find(({ name }) => name === reader.column);
    found.push(last === undefined ? null : readValue(last, reader, row));
  }
  return found;
}

function readValue({ values }: Column, { width, take }: Reader, row: number): Value {
  const start = row * width;
  if (values.length < start + width) return null;
  if (typeof take === 'number') return values[start + take] as Value;
  let mean = 0;
  for (let i = 0; i < width; i++) mean += Number(values[start + i]) / width;
  if (take === 'mean') return mean;
  let square = 0;
  for (let i = 0; i < width; i++) square += (Number(values[start + i]) - mean) ** 2 / width;
  return Math.sqrt(square);
}

/** One value of a record by its column's name, such as outputs.label; undefined: it has none. */
export function valueAt(record: LogRecord, path: string, row: number, batched: boolean): Value | undefined {
  const [side, ...rest] = path.split('.');
  const columns = side === 'outputs' ? record.predictions : side === 'inputs' ? record.features : undefined;
  const named = /^(.*?)(?:\[(\d+)\])?$/.exec(rest.join('.'));
  const column = columns?.find(({ name }) => name === named?.[1]);
  if (column === undefined) return undefined;
  const at = row * widthOf(column, batched) + Number(named?.[2] ?? 0);
  return at < column.values.length ? (column.values[at] as Value) : undefined;
}

/** The new name of a column by rules with one * each. */
export function renamed(name: string, rules: Readonly<Record<string, string>>): string {
  for (const [from, to] of Object.entries(rules)) {
    const parts = from.split('*');
    if (parts.length === 1 && name === from) return to;
    if (parts.length !== 2 || name.length < from.length - 1) continue;
    if (name.startsWith(parts[0]) && name.endsWith(parts[1]))
      return to.replace('*', name.slice(parts[0].length, name.length - parts[1].length));
  }
  return name;
}
