import { invalidArgument } from '../../shared/errors.ts';
import { decodeBytes } from '../../tensor/bytes.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { type Batch, type Cell, fieldIndex, type Schema, type Source } from '../batch.ts';
import type { ColumnProfile } from '../profile.ts';
import { type EncodeSpec, encodeOne, widthOf } from './encode.ts';
import type { NpzArray } from './npz.ts';
import { readPictures } from './pictures.ts';

/** What a whole dataset is made arrays of. */
export interface ArraySource {
  schema: Schema;
  rows: number;
  /** Statistics by column: how long lists are. */
  columns: readonly ColumnProfile[];
  /** Its rows from the front; each array reads them by itself. */
  open(): Promise<Source>;
  maxPixels: number;
  /** See PictureSource. */
  picture(path: string): Promise<Uint8Array>;
}

/** Values that are made at a time. */
const CHUNK_VALUES = 1_000_000;
/** NumPy gives every text of an array the room of the longest. */
const MAX_TEXT_BYTES = 64 * 1024;

/**
 * All rows of a dataset as one array for each input: FP32 '<f4' and UINT8 '|u1' in the shape of the input, texts as UTF-8 '|S…'
 * [rows, 1] of the longest one's bytes. Rejects with invalid_argument for columns that do not fit, before any bytes are made.
 */
export async function datasetArrays(source: ArraySource, specs: readonly EncodeSpec[]): Promise<NpzArray[]> {
  const arrays: NpzArray[] = [];
  for (const spec of specs) {
    const width = 'columns' in spec ? totalWidth(source, spec.columns) : widthOf(spec);
    const room = 'bytes' in spec ? await longestText(source, spec) : 0;
    // No rows tell what a row looks like, and whether the columns can be that.
    const empty = { rows: 0, columns: source.schema.fields.map(() => []) };
    const { datatype, shape } = await encodeOne(source.schema, empty, spec, source.maxPixels);
    arrays.push({
      name: spec.name,
      descr: datatype === 'BYTES' ? `|S${room}` : datatype === 'UINT8' ? '|u1' : '<f4',
      shape: [source.rows, ...('columns' in spec ? [width] : shape.slice(1))],
      async *bytes() {
        for await (const tensor of tensors(source, spec, width))
          yield datatype === 'BYTES' ? padded(tensor.data, room) : tensor.data;
      },
    });
  }
  return arrays;
}

async function* tensors(source: ArraySource, spec: EncodeSpec, width: number): AsyncGenerator<Tensor> {
  const { schema, maxPixels, picture } = source;
  const columns = 'image' in spec ? [spec.image] : [];
  const step = Math.max(1, Math.floor(CHUNK_VALUES / Math.max(1, width)));
  const missing = source.columns.map(({ lengths }) => new Array<number>(lengths?.max ?? 0).fill(Number.NaN));
  let firstLine = 1;
  for await (const batch of (await source.open()).batches()) {
    for (let from = 0; from < batch.rows; from += step) {
      const part = partOf(schema, batch, from, Math.min(batch.rows, from + step), missing);
      const named = { columns, recorded: 'path', firstLine: firstLine + from, maxRejects: 0, read: picture };
      yield await encodeOne(schema, (await readPictures(schema, part, named)).batch, spec, maxPixels);
    }
    firstLine += batch.rows;
  }
}

/** Some rows. A list that is missing has NaN for its items: a part without any list would not tell how long they are. */
function partOf(schema: Schema, batch: Batch, from: number, to: number, missing: readonly Cell[]): Batch {
  const columns = batch.columns.map((column, i) => {
    const cells = column.slice(from, to);
    return schema.fields[i].type === 'numbers' ? cells.map((cell) => cell ?? missing[i]) : cells;
  });
  return { rows: to - from, columns };
}

function totalWidth({ schema, columns: profiles }: ArraySource, columns: readonly string[]): number {
  let width = 0;
  for (const name of columns) {
    const place = fieldIndex(schema, name);
    const { min, max } = profiles[place].lengths ?? { min: 0, max: 0 };
    if (schema.fields[place].type !== 'numbers') width++;
    else if (min === max) width += max;
    else
      throw invalidArgument(`column ${JSON.stringify(name)} has lists of ${min} to ${max} items; they must be as long`);
  }
  return width;
}

async function longestText(source: ArraySource, spec: EncodeSpec): Promise<number> {
  let longest = 1;
  for await (const { data } of tensors(source, spec, 1))
    for (const bytes of decodeBytes(data)) longest = Math.max(longest, bytes.length);
  if (longest <= MAX_TEXT_BYTES) return longest;
  throw invalidArgument(
    `${JSON.stringify(spec.name)} has a text of ${longest} bytes, and each would take as many; at most ${MAX_TEXT_BYTES} are allowed, take "hash" instead`,
  );
}

function padded(data: Uint8Array, room: number): Uint8Array {
  const texts = decodeBytes(data);
  const bytes = new Uint8Array(texts.length * room);
  texts.forEach((text, i) => {
    bytes.set(text, i * room);
  });
  return bytes;
}
