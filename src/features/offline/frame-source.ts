import type { Cell, FieldType, Schema, Source } from '../../datasets/batch.ts';
import { BATCH_ROWS } from '../../datasets/batch.ts';
import type { Field } from '../documents/catalog.ts';
import type { FeatureValue } from '../documents/values.ts';
import type { EntityColumns } from '../online/read.ts';
import { type FeatureColumn, FRAME_TIME } from './historical.ts';

/** Historical rows as data that a dataset is made of: the frame's columns, then the features'. */
export function frameSource(
  frame: EntityColumns,
  times: readonly number[],
  columns: readonly FeatureColumn[],
  names: readonly string[],
): Source {
  const fields = [...frame].map(([name, cells]) => ({ name, type: frameType(name, cells) }));
  const cells: (readonly Cell[])[] = [...frame].map(([name, column], i) =>
    name === FRAME_TIME ? times : column.map((cell) => frameCell(fields[i].type, cell)),
  );
  for (const [i, { view, field, values }] of columns.entries()) {
    const of = view.fields[field];
    fields.push({ name: names[i], type: featureType(of) });
    cells.push(values.map((value) => featureCell(of, value)));
  }
  const schema: Schema = { fields };
  return {
    schema,
    async *batches() {
      for (let from = 0; from < times.length; from += BATCH_ROWS) {
        const part = cells.map((column) => column.slice(from, from + BATCH_ROWS));
        yield { rows: part[0].length, columns: part };
      }
    },
  };
}

function frameType(name: string, cells: readonly unknown[]): FieldType {
  if (name === FRAME_TIME) return 'timestamp';
  if (cells.every((cell) => typeof cell === 'boolean')) return 'boolean';
  if (cells.every((cell) => Number.isSafeInteger(cell))) return 'integer';
  return cells.every((cell) => typeof cell === 'number') ? 'number' : 'string';
}

function frameCell(type: FieldType, cell: unknown): Cell {
  if (cell === null || cell === undefined) return null;
  if (type !== 'string') return cell as Cell;
  return typeof cell === 'string' ? cell : JSON.stringify(cell);
}

export function featureType({ type, length }: Field): FieldType {
  if (length > 0) return type === 'string' ? 'string' : 'numbers';
  if (type === 'bool') return 'boolean';
  if (type === 'int32' || type === 'int64') return 'integer';
  return type === 'string' || type === 'timestamp' ? type : 'number';
}

export function featureCell({ type, length }: Field, value: FeatureValue): Cell {
  if (value === null) return null;
  if (Array.isArray(value)) return type === 'string' || length === 0 ? JSON.stringify(value) : value.map(Number);
  return type === 'timestamp' ? Number(value) * 1000 : value;
}
