import { invalidArgument } from '../../shared/errors.ts';
import { decodeBytes, encodeBytes } from '../../tensor/bytes.ts';
import { numberReader } from '../../tensor/elements.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { type Batch, type Cell, fieldIndex, type Schema } from '../batch.ts';
import { jsonValue } from '../cells.ts';

/** Number columns side by side: FP32 [rows, columns], missing values NaN. Lists of numbers take as many columns as they have items. */
export function columnsToTensor(name: string, schema: Schema, batch: Batch, columns: readonly string[]): Tensor {
  const places = columns.map((column) => fieldIndex(schema, column));
  const widths = places.map((place) => widthOf(schema, batch, place));
  const width = widths.reduce((sum, one) => sum + one, 0);
  const floats = new Float32Array(batch.rows * width);
  let first = 0;
  places.forEach((place, c) => {
    const { type, name: column } = schema.fields[place];
    for (let row = 0; row < batch.rows; row++) {
      const cell = batch.columns[place][row];
      const at = row * width + first;
      if (type !== 'numbers') floats[at] = cell === null ? Number.NaN : Number(cell);
      else {
        const items = (cell ?? []) as readonly number[];
        if (cell !== null && items.length !== widths[c])
          throw invalidArgument(
            `row ${row + 1}: column ${JSON.stringify(column)} has ${items.length} items where the first has ${widths[c]}`,
          );
        for (let i = 0; i < widths[c]; i++) floats[at + i] = cell === null ? Number.NaN : items[i];
      }
    }
    first += widths[c];
  });
  return { name, datatype: 'FP32', shape: [batch.rows, width], data: new Uint8Array(floats.buffer) };
}

function widthOf({ fields }: Schema, batch: Batch, place: number): number {
  const { name, type } = fields[place];
  if (type === 'string' || type === 'binary')
    throw invalidArgument(`column ${JSON.stringify(name)} is of type ${type}; take number columns, or encode it first`);
  if (type !== 'numbers') return 1;
  const first = batch.columns[place].find((cell) => cell !== null) as readonly number[] | undefined;
  return first?.length ?? 0;
}

/** One column as BYTES [rows, 1]: texts as they are, other values as JSON shows them, missing ones empty. */
export function columnToBytes(name: string, schema: Schema, batch: Batch, column: string): Tensor {
  const place = fieldIndex(schema, column);
  const { type } = schema.fields[place];
  const elements = batch.columns[place].map((cell) => {
    if (cell === null) return '';
    if (cell instanceof Uint8Array) return cell;
    const value = jsonValue(cell, type);
    return typeof value === 'string' ? value : JSON.stringify(value);
  });
  return { name, datatype: 'BYTES', shape: [batch.rows, 1], data: encodeBytes(elements) };
}

/** A tensor of a batch as one column: a value for each row, or a list of numbers where rows have several. */
export function tensorToColumn(tensor: Tensor): Cell[] {
  const { shape, datatype, data } = tensor;
  const rows = shape[0] ?? 1;
  const width = shape.slice(1).reduce((product, dim) => product * dim, 1);
  if (datatype === 'BYTES') {
    if (width !== 1) throw invalidArgument(`'${tensor.name}' has ${width} texts in a row; one can be a column`);
    const decoder = new TextDecoder();
    return decodeBytes(data).map((bytes) => decoder.decode(bytes));
  }
  const read = numberReader(tensor) as (i: number) => number;
  const value = (i: number): Cell => (datatype === 'BOOL' ? read(i) === 1 : read(i));
  if (width === 1) return Array.from({ length: rows }, (_, row) => value(row));
  return Array.from({ length: rows }, (_, row) => Array.from({ length: width }, (_, i) => read(row * width + i)));
}
