import { createHash } from 'node:crypto';
import { SwitchyardError, toSwitchyardError } from '../../shared/errors.ts';
import { type Batch, type Cell, fieldIndex, type Schema } from '../batch.ts';
import type { Reject } from '../reading.ts';

export interface Pictures {
  /** The rows that are left, with the bytes of the pictures in place of their paths. */
  batch: Batch;
  /** The rows that are not. */
  rejects: Reject[];
}

export interface PictureSource {
  /** Columns of paths. */
  columns: readonly string[];
  /** What is checked against the column `sha256`, if there are both. */
  recorded: string;
  /** Number of the first row in its dataset, from 1. */
  firstLine: number;
  /** Rows that may be left out. */
  maxRejects: number;
  /** Rejects with not_found where there is none. */
  read(path: string): Promise<Uint8Array>;
}

/**
 * The pictures that rows name. One that is gone, or has another SHA-256 than was recorded when the dataset was made, rejects
 * its row. Rejects with failed_precondition, naming the picture, beyond `maxRejects`.
 */
export async function readPictures(schema: Schema, batch: Batch, source: PictureSource): Promise<Pictures> {
  const { columns, recorded, firstLine, maxRejects } = source;
  const digests = schema.fields.findIndex(({ name }) => name === 'sha256');
  const read = batch.columns.map((cells) => [...cells]) as Cell[][];
  const rejects: Reject[] = [];
  const kept: number[] = [];
  for (let row = 0; row < batch.rows; row++) {
    let reason = '';
    for (const name of columns) {
      const at = fieldIndex(schema, name);
      const path = batch.columns[at][row];
      if (typeof path !== 'string') continue;
      const expected = name === recorded && digests >= 0 ? batch.columns[digests][row] : null;
      const found = await readPicture(path, expected, source);
      if (typeof found !== 'string') read[at][row] = found;
      else reason ||= found;
    }
    if (reason === '') {
      kept.push(row);
      continue;
    }
    const data = Object.fromEntries(columns.map((name) => [name, batch.columns[fieldIndex(schema, name)][row]]));
    rejects.push({ line: firstLine + row, reason, data: JSON.stringify(data) });
    if (rejects.length > maxRejects)
      throw new SwitchyardError(
        'failed_precondition',
        `more than ${maxRejects} rows were rejected, the last in row ${firstLine + row}: ${reason}; read the pictures into a new version, or allow more rejects`,
      );
  }
  return { batch: { rows: kept.length, columns: read.map((cells) => kept.map((row) => cells[row])) }, rejects };
}

/** Its bytes, or why there are none. */
async function readPicture(path: string, expected: unknown, { read }: PictureSource): Promise<Uint8Array | string> {
  let bytes: Uint8Array;
  try {
    bytes = await read(path);
  } catch (error) {
    const { code, message } = toSwitchyardError(error);
    if (code !== 'not_found') throw error;
    return message;
  }
  if (typeof expected !== 'string') return bytes;
  const found = createHash('sha256').update(bytes).digest('hex');
  return found === expected ? bytes : `${path} has SHA-256 ${found}, ${expected} was recorded`;
}
