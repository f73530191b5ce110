import { invalidArgument, SwitchyardError } from '../../shared/errors.ts';
import type { Batch, Cell, Schema, Source } from '../batch.ts';
import { castCell, shownValue } from '../cells.ts';
import { type ReadOptions, reject } from '../reading.ts';

/** One of several files, or objects. */
export interface Part {
  name: string;
  /** Bytes as they lie there. */
  size: number;
  open(options: ReadOptions): Promise<Source>;
}

/**
 * The rows of several files, one file after the other. The first one's columns and their types are everybody's: text is read
 * by them, and columns of Parquet and Arrow are found by their names. Rejects name their file; errors do anyway. Throws
 * payload_too_large where the files together have more bytes than are allowed.
 */
export async function readMany(parts: readonly Part[], options: ReadOptions): Promise<Source> {
  const totalBytes = parts.reduce((sum, { size }) => sum + size, 0);
  const { maxBytes = Number.POSITIVE_INFINITY, rejects, onProgress } = options;
  if (totalBytes > maxBytes)
    throw new SwitchyardError(
      'payload_too_large',
      `${parts.length} files have ${totalBytes} bytes, and at most ${maxBytes} are read; read less, or raise datasets.maxBytes`,
    );
  const done = { rows: 0, bytes: 0 };
  const optionsOf = ({ name }: Part): ReadOptions => ({
    ...options,
    rejects: rejects && {
      add: (one) => rejects.add({ source: name, ...one }),
      leaveOut: (one) => rejects.leaveOut?.({ source: name, ...one }),
    },
    onProgress:
      onProgress &&
      (({ rows, bytes }) => onProgress({ rows: done.rows + rows, bytes: done.bytes + bytes, totalBytes })),
  });
  const first = await parts[0].open(optionsOf(parts[0]));
  const { schema } = first;
  const types = Object.fromEntries(schema.fields.map(({ name, type }) => [name, type]));
  async function* batches(): AsyncGenerator<Batch> {
    for (const [i, part] of parts.entries()) {
      const own = optionsOf(part);
      const source = i === 0 ? first : await part.open({ ...own, types, closed: true });
      let fit: Fit | undefined;
      let rows = 0;
      for await (const batch of source.batches()) {
        // Not before: what has been opened is closed by leaving this loop.
        fit ??= fitting(schema, source.schema, part.name);
        rows += batch.rows;
        yield fit(batch, own);
      }
      if (fit === undefined) fitting(schema, source.schema, part.name);
      done.rows += rows;
      done.bytes += part.size;
    }
  }
  return { schema, batches };
}

/** Brings a file's batches into the first one's form. */
type Fit = (batch: Batch, options: ReadOptions) => Batch;

/** Throws invalid_argument where a column is missing, or one too many. */
function fitting(wanted: Schema, found: Schema, name: string): Fit {
  const at = new Map(found.fields.map((field, i) => [field.name, i]));
  const missing = wanted.fields.find((field) => !at.has(field.name));
  const extra = found.fields.find((field) => !wanted.fields.some((one) => one.name === field.name));
  const odd = missing ?? extra;
  if (odd !== undefined)
    throw invalidArgument(
      `${name}: the column ${JSON.stringify(odd.name)} is ${missing === undefined ? 'here, but not in the first file' : 'in the first file, but not here'}; import files with the same columns`,
    );
  const moves = wanted.fields.map((field) => at.get(field.name) as number);
  if (wanted.fields.every(({ type }, i) => moves[i] === i && found.fields[i].type === type)) return (batch) => batch;
  let line = 0;
  return ({ rows, columns }, { rejects }) => {
    const out: Cell[][] = wanted.fields.map(() => []);
    let kept = 0;
    for (let row = 0; row < rows; row++) {
      line++;
      const cells = wanted.fields.map(({ type }, i) => castCell(columns[moves[i]][row], type));
      const wrong = cells.indexOf(undefined);
      if (wrong < 0) {
        for (let i = 0; i < cells.length; i++) out[i].push(cells[i] as Cell);
        kept++;
        continue;
      }
      const field = wanted.fields[wrong];
      const value = columns[moves[wrong]][row];
      const values = Object.fromEntries(found.fields.map((one, i) => [one.name, columns[i][row]]));
      const reason = `column ${JSON.stringify(field.name)}: ${shownValue(value)} is no ${field.type}, as in the first file`;
      reject({ ...(rejects === undefined ? { source: name } : {}), line, values }, reason, rejects);
    }
    return { rows: kept, columns: out };
  };
}
