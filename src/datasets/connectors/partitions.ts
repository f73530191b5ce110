import { invalidArgument } from '../../shared/errors.ts';
import type { Batch, Cell, Field, Source } from '../batch.ts';
import { castCell, shownValue } from '../cells.ts';
import type { ReadOptions } from '../reading.ts';
import type { Part } from './many.ts';

/** What Hive, Spark and their kin call the partition of rows that have no value. */
const NO_VALUE = '__HIVE_DEFAULT_PARTITION__';
const INTEGER = /^-?\d{1,15}$/;

/**
 * Files that get the folders on their way as columns: `date=2026-11-30/hour=07/` gives each row a date and an hour. A key
 * that is a whole number everywhere is an integer, others are texts, unless `types` says otherwise. A column that a file has
 * itself stays as it is. Throws invalid_argument where a file lies in other partitions than the first one.
 */
export function partitioned(parts: readonly Part[], types: ReadOptions['types'] = {}): Part[] {
  const values = parts.map(({ name }) => keysOf(name));
  const keys = [...values[0].keys()];
  values.forEach((own, i) => {
    if ([...own.keys()].join() !== keys.join())
      throw invalidArgument(
        `${parts[i].name} lies in the partitions ${shown([...own.keys()])}, the first file in ${shown(keys)}; import files of one table`,
      );
  });
  const fields = keys.map((name): Field => {
    const whole = values.every((own) => INTEGER.test(own.get(name) ?? '0'));
    return { name, type: types[name] ?? (whole ? 'integer' : 'string') };
  });
  // What the first file does not have itself.
  let added = fields;
  return parts.map((part, i) => ({
    ...part,
    open: async (options) => {
      const inFile = Object.entries(options.types ?? {}).filter(
        ([name]) => !added.some((field) => field.name === name),
      );
      const source = await part.open({ ...options, types: Object.fromEntries(inFile) });
      if (i === 0) added = fields.filter(({ name }) => !source.schema.fields.some((field) => field.name === name));
      const cells = added.map((field) => cellOf(values[i].get(field.name) ?? null, field, part.name));
      return withColumns(source, added, cells);
    },
  }));
}

/** By the folders of a path, in their order; null: no value. */
function keysOf(path: string): Map<string, string | null> {
  const keys = new Map<string, string | null>();
  for (const folder of path.split('/').slice(0, -1)) {
    const at = folder.indexOf('=');
    if (at < 1) continue;
    const value = folder.slice(at + 1);
    keys.set(unescaped(folder.slice(0, at)), value === NO_VALUE ? null : unescaped(value));
  }
  return keys;
}

function unescaped(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function cellOf(value: string | null, { name, type }: Field, file: string): Cell {
  const cell = castCell(value, type);
  if (cell === undefined)
    throw invalidArgument(
      `${file}: the partition ${JSON.stringify(name)} is ${shownValue(value)}, which is no ${type}`,
    );
  return cell;
}

function withColumns({ schema, batches }: Source, fields: readonly Field[], cells: readonly Cell[]): Source {
  async function* wider(): AsyncGenerator<Batch> {
    for await (const { rows, columns } of batches())
      yield { rows, columns: [...columns, ...cells.map((cell) => Array<Cell>(rows).fill(cell))] };
  }
  return { schema: { fields: [...schema.fields, ...fields] }, batches: wider };
}

function shown(keys: readonly string[]): string {
  return keys.length === 0 ? 'of none' : keys.join(', ');
}
