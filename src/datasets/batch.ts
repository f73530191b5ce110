/**
 * Data as every reader, writer and join here hands it on: batches of columns under one schema. A batch is plain arrays in
 * the order of the schema's fields, so that a column goes on without being looked at.
 */
import { invalidArgument, SwitchyardError } from '../shared/errors.ts';

export const FIELD_TYPES = ['boolean', 'integer', 'number', 'string', 'timestamp', 'binary', 'numbers'] as const;

/**
 * integer: whole, 64 bits. number: 64-bit float. timestamp: milliseconds since 1970, UTC. numbers: a list of floats, such
 * as an embedding.
 */
export type FieldType = (typeof FIELD_TYPES)[number];

/** null: missing. An integer beyond 2^53 is a bigint. */
export type Cell = null | boolean | number | bigint | string | Uint8Array | readonly number[];

export interface Field {
  name: string;
  type: FieldType;
}

export interface Schema {
  readonly fields: readonly Field[];
}

export interface Batch {
  rows: number;
  /** One array of `rows` cells per field of the schema. */
  columns: readonly (readonly Cell[])[];
}

/** Something that can be read once, from the front. Errors while reading are SwitchyardErrors that name the place. */
export interface Source {
  readonly schema: Schema;
  /** Ending the loop early closes what was opened. */
  batches(): AsyncIterable<Batch>;
}

export const BATCH_ROWS = 4096;

/** Throws invalid_argument naming the columns there are. */
export function fieldIndex({ fields }: Schema, name: string): number {
  const index = fields.findIndex((field) => field.name === name);
  if (index >= 0) return index;
  throw invalidArgument(
    `there is no column ${JSON.stringify(name.slice(0, 200))}; the data has ${fields.map((field) => field.name).join(', ')}`,
  );
}

/** Throws invalid_argument for no fields, an empty name, one that is there twice, or an unknown type. */
export function checkSchema({ fields }: Schema): void {
  if (fields.length === 0) throw invalidArgument('a schema needs at least one column');
  const seen = new Set<string>();
  for (const { name, type } of fields) {
    if (name === '' || seen.has(name))
      throw invalidArgument(
        `the column name ${JSON.stringify(name)} ${name === '' ? 'is empty' : 'is there twice'}; every column needs a name of its own`,
      );
    if (!FIELD_TYPES.includes(type))
      throw invalidArgument(
        `column ${JSON.stringify(name)}: type ${JSON.stringify(type)} is not allowed; give ${FIELD_TYPES.join(', ')}`,
      );
    seen.add(name);
  }
}

/** Batches of rows, as long as they come. Rows are arrays in the order of the fields. */
export class BatchBuilder {
  private readonly width: number;
  private columns: Cell[][];
  rows = 0;

  constructor(schema: Schema) {
    this.width = schema.fields.length;
    this.columns = this.empty();
  }

  add(row: readonly Cell[]): void {
    for (let i = 0; i < this.width; i++) this.columns[i].push(row[i] ?? null);
    this.rows++;
  }

  take(): Batch {
    const batch = { rows: this.rows, columns: this.columns };
    this.columns = this.empty();
    this.rows = 0;
    return batch;
  }

  private empty(): Cell[][] {
    return Array.from({ length: this.width }, () => []);
  }
}

/** What is in memory already, as a source that can be read again and again. */
export function sourceOf(schema: Schema, ...batches: readonly Batch[]): Source {
  return {
    schema,
    async *batches() {
      yield* batches;
    },
  };
}

/** Everything in one batch. Throws payload_too_large beyond `maxRows`. */
export async function collect(source: Source, maxRows = Number.POSITIVE_INFINITY): Promise<Batch> {
  const columns: Cell[][] = source.schema.fields.map(() => []);
  let rows = 0;
  for await (const batch of source.batches()) {
    rows += batch.rows;
    if (rows > maxRows)
      throw new SwitchyardError(
        'payload_too_large',
        `the data has more than ${maxRows} rows; read it in batches instead`,
      );
    for (let i = 0; i < columns.length; i++) for (const cell of batch.columns[i]) columns[i].push(cell);
  }
  return { rows, columns };
}
