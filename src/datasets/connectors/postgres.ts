import pg from 'pg';
import type { PostgresConnection } from '../../config/datasets-schema.ts';
import { invalidArgument, SwitchyardError } from '../../shared/errors.ts';
import {
  BATCH_ROWS,
  type Batch,
  type Cell,
  checkSchema,
  type Field,
  type FieldType,
  type Schema,
  type Source,
} from '../batch.ts';
import { castCell, shownValue } from '../cells.ts';
import { type Progress, withProgress } from '../reading.ts';

/** Types of pg_type by their numbers; whatever else there is comes as its text. */
const TYPES: Readonly<Record<number, FieldType>> = {
  16: 'boolean',
  17: 'binary',
  20: 'integer',
  21: 'integer',
  23: 'integer',
  26: 'integer',
  700: 'number',
  701: 'number',
  1700: 'number',
  1082: 'timestamp',
  1114: 'timestamp',
  1184: 'timestamp',
  1005: 'numbers',
  1007: 'numbers',
  1016: 'numbers',
  1021: 'numbers',
  1022: 'numbers',
  1231: 'numbers',
};
const CONNECT_MS = 30_000;
const INSERT_ROWS = 500;

/** Values as PostgreSQL prints them, made what castCell reads. */
function parse(text: string, type: FieldType): unknown {
  switch (type) {
    case 'boolean':
      return text === 't';
    case 'binary':
      return new Uint8Array(Buffer.from(text.slice(2), 'hex'));
    case 'timestamp':
      return /\d{2}:\d{2}/.test(text) ? `${text.replace(/\+00$/, '')}Z` : text;
    case 'numbers':
      return text
        .slice(1, -1)
        .split(',')
        .filter((item) => item !== '')
        .map((item) => (item === 'NULL' ? null : item));
    default:
      return text;
  }
}

/** Everything as text, so that no value goes through another type on its way. */
const asText = { getTypeParser: () => (value: unknown) => value };

/**
 * The rows of a query, by a cursor in a transaction that cannot write. Throws invalid_argument with the database's words
 * about a query it refuses.
 */
export async function readPostgres(
  connection: PostgresConnection,
  query: string,
  onProgress?: (progress: Progress) => void,
): Promise<Source> {
  const client = await connect(connection);
  try {
    await client.query(
      `BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY;
       SET LOCAL statement_timeout = ${Math.round(connection.statementSeconds * 1000)};
       SET LOCAL datestyle = 'ISO'; SET LOCAL timezone = 'UTC'; SET LOCAL bytea_output = 'hex'; SET LOCAL extra_float_digits = 1`,
    );
    // The extended protocol takes one statement only: a query cannot bring a second one along.
    await client.query(one(`DECLARE switchyard NO SCROLL CURSOR FOR ${query.trim().replace(/;\s*$/, '')}`));
    const first = await fetch(client);
    const fields = first.fields.map(({ name, dataTypeID }): Field => ({ name, type: TYPES[dataTypeID] ?? 'string' }));
    checkSchema({ fields });
    return withProgress(
      { schema: { fields }, batches: () => batches(client, fields, first.rows) },
      () => ({ bytes: 0, totalBytes: undefined }),
      onProgress,
    );
  } catch (error) {
    await client.end().catch(() => {});
    throw queryError(error);
  }
}

function one(text: string): pg.QueryConfig {
  return { text, queryMode: 'extended' } as pg.QueryConfig;
}

function fetch(client: pg.Client): Promise<pg.QueryArrayResult<(string | null)[]>> {
  return client.query({ text: `FETCH ${BATCH_ROWS} FROM switchyard`, rowMode: 'array', types: asText });
}

async function* batches(
  client: pg.Client,
  fields: readonly Field[],
  first: readonly (string | null)[][],
): AsyncGenerator<Batch> {
  try {
    let from = 0;
    for (let rows = first; rows.length > 0; rows = (await fetch(client)).rows) {
      yield {
        rows: rows.length,
        columns: fields.map((field, i) => rows.map((row, r) => cell(row[i], field, from + r))),
      };
      from += rows.length;
    }
    await client.query('COMMIT');
  } catch (error) {
    throw queryError(error);
  } finally {
    await client.end().catch(() => {});
  }
}

function cell(text: string | null, { name, type }: Field, row: number): Cell {
  const value = text === null ? null : castCell(parse(text, type), type);
  if (value !== undefined) return value;
  throw invalidArgument(
    `row ${row + 1}: column ${JSON.stringify(name)}: ${shownValue(text)} is no ${type}; cast it in the query`,
  );
}

const COLUMN_TYPES: Readonly<Record<FieldType, string>> = {
  boolean: 'BOOLEAN',
  integer: 'BIGINT',
  number: 'DOUBLE PRECISION',
  string: 'TEXT',
  timestamp: 'TIMESTAMPTZ',
  binary: 'BYTEA',
  numbers: 'DOUBLE PRECISION[]',
};

/** Writes all rows into a table that is not there yet; all of them or, on an error, none. Resolves with their number. */
export async function writePostgres(connection: PostgresConnection, table: string, source: Source): Promise<number> {
  const client = await connect(connection);
  const name = table
    .split('.')
    .map((part) => pg.escapeIdentifier(part))
    .join('.');
  const { fields } = source.schema;
  const columns = fields.map((field) => pg.escapeIdentifier(field.name));
  let rows = 0;
  try {
    await client.query('BEGIN');
    await client.query(
      `CREATE TABLE ${name} (${columns.map((column, i) => `${column} ${COLUMN_TYPES[fields[i].type]}`).join(', ')})`,
    );
    for await (const batch of source.batches()) {
      for (let from = 0; from < batch.rows; from += INSERT_ROWS)
        await insert(client, name, columns, source.schema, batch, from);
      rows += batch.rows;
    }
    await client.query('COMMIT');
    return rows;
  } catch (error) {
    await client.query('ROLLBACK').catch(() => {});
    throw queryError(error);
  } finally {
    await client.end().catch(() => {});
  }
}

/** Some rows, in as few statements as their parameters allow. */
async function insert(
  client: pg.Client,
  name: string,
  columns: readonly string[],
  { fields }: Schema,
  batch: Batch,
  from: number,
): Promise<void> {
  const rows = Math.min(INSERT_ROWS, batch.rows - from);
  const values: unknown[] = [];
  const tuples: string[] = [];
  // PostgreSQL takes 65,535 parameters.
  const most = Math.max(1, Math.floor(60_000 / fields.length));
  for (let i = 0; i < rows; i++) {
    const places = fields.map(({ type }, c) => {
      values.push(parameter(batch.columns[c][from + i], type));
      return `$${values.length}`;
    });
    tuples.push(`(${places.join(', ')})`);
    if (tuples.length < most && i < rows - 1) continue;
    await client.query(`INSERT INTO ${name} (${columns.join(', ')}) VALUES ${tuples.join(', ')}`, values);
    tuples.length = 0;
    values.length = 0;
  }
}

function parameter(value: Cell, type: FieldType): unknown {
  if (value === null) return null;
  if (type === 'timestamp') return new Date(value as number).toISOString();
  if (value instanceof Uint8Array) return Buffer.from(value);
  return typeof value === 'bigint' || typeof value === 'number' ? String(value) : value;
}

async function connect({ url }: PostgresConnection): Promise<pg.Client> {
  const client = new pg.Client({
    connectionString: url,
    connectionTimeoutMillis: CONNECT_MS,
    application_name: 'switchyard datasets',
  });
  // A connection that breaks while nobody waits for it must not end the process.
  client.on('error', () => {});
  try {
    await client.connect();
    return client;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw new SwitchyardError('unavailable', `the PostgreSQL database cannot be reached: ${code ?? message}`, {
      cause: error,
    });
  }
}

function queryError(error: unknown): unknown {
  if (error instanceof SwitchyardError || !(error instanceof pg.DatabaseError)) return error;
  const { code, message, position } = error;
  if (code === '57014')
    return new SwitchyardError(
      'deadline_exceeded',
      `PostgreSQL ended the query: ${message}; read less, or raise statementSeconds of the connection`,
    );
  if (code === '42P07')
    return new SwitchyardError('conflict', `PostgreSQL: ${message}; choose a table that is not there yet`);
  return invalidArgument(
    `PostgreSQL refuses the query: ${message}${position === undefined ? '' : ` (at character ${position})`}`,
  );
}
