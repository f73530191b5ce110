import { z } from 'zod';
import { invalidArgument } from '../../shared/errors.ts';
import { decodeBytes } from '../../tensor/bytes.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { typedView } from '../../tensor/views.ts';
import { type Batch, fieldIndex, type Schema } from '../batch.ts';
import { columnsToTensor, columnToBytes } from './columns.ts';
import { HASH_DEFAULTS, hashTexts } from './text.ts';

const three = z.array(z.number()).min(1).max(3);

/** How an input of a model is made of columns. */
export const encodeSpec = z.union([
  z.strictObject({ name: z.string().min(1), columns: z.array(z.string()).min(1).max(10_000) }),
  z.strictObject({ name: z.string().min(1), bytes: z.string().min(1) }),
  z.strictObject({
    name: z.string().min(1),
    hash: z.string().min(1),
    buckets: z.int().positive().default(HASH_DEFAULTS.buckets),
    ngrams: z.int().positive().default(HASH_DEFAULTS.ngrams),
    lowercase: z.boolean().default(HASH_DEFAULTS.lowercase),
    signed: z.boolean().default(HASH_DEFAULTS.signed),
  }),
  z.strictObject({
    name: z.string().min(1),
    image: z.string().min(1),
    width: z.int().positive(),
    height: z.int().positive(),
    fit: z.enum(['contain', 'cover', 'fill']).default('fill'),
    channels: z.union([z.literal(1), z.literal(3)]).default(3),
    layout: z.enum(['NCHW', 'NHWC']).default('NCHW'),
    datatype: z.enum(['FP32', 'UINT8']).default('FP32'),
    mean: three.default([0, 0, 0]),
    std: three.default([1, 1, 1]),
  }),
]);
export type EncodeSpec = z.output<typeof encodeSpec>;

/** More in one answer would be a download. */
const MAX_ELEMENTS = 4_000_000;

/** Cells of pictures are their bytes: see readPictures. */
export async function encodeBatch(
  schema: Schema,
  batch: Batch,
  specs: readonly EncodeSpec[],
  maxPixels: number,
): Promise<Tensor[]> {
  const tensors: Tensor[] = [];
  let elements = 0;
  for (const spec of specs) {
    elements += batch.rows * widthOf(spec);
    if (elements > MAX_ELEMENTS)
      throw invalidArgument(`these tensors have more than ${MAX_ELEMENTS} values; ask for fewer rows at once`);
    tensors.push(await encodeOne(schema, batch, spec, maxPixels));
  }
  return tensors;
}

/** Values of a row; of columns that hold lists, at least so many. */
export function widthOf(spec: EncodeSpec): number {
  if ('columns' in spec) return spec.columns.length;
  if ('hash' in spec) return spec.buckets;
  return 'image' in spec ? spec.width * spec.height * spec.channels : 1;
}

/** One input, whatever its size. Cells of pictures are their bytes: see readPictures. */
export async function encodeOne(schema: Schema, batch: Batch, spec: EncodeSpec, maxPixels: number): Promise<Tensor> {
  const { name } = spec;
  if ('columns' in spec) return columnsToTensor(name, schema, batch, spec.columns);
  if ('bytes' in spec) return columnToBytes(name, schema, batch, spec.bytes);
  const column = batch.columns[fieldIndex(schema, 'hash' in spec ? spec.hash : spec.image)];
  if ('hash' in spec)
    return hashTexts(
      name,
      column.map((cell) => (cell === null ? '' : String(cell))),
      spec,
    );
  const { imagesToTensor } = await import('./image.ts');
  const pictures: Uint8Array[] = [];
  for (const [row, cell] of column.entries()) {
    if (!(cell instanceof Uint8Array))
      throw invalidArgument(`row ${row + 1}: column ${JSON.stringify(spec.image)} holds no picture and no path of one`);
    pictures.push(cell);
  }
  return imagesToTensor(name, pictures, { ...spec, maxPixels });
}

/** As the v2 protocol writes an input in JSON. Values that are not finite are null there. */
export function inputJson({ name, datatype, shape, data }: Tensor): object {
  const decoder = new TextDecoder();
  const values: unknown[] =
    datatype === 'BYTES'
      ? decodeBytes(data).map((bytes) => decoder.decode(bytes))
      : Array.from(typedView(datatype, data) as Float32Array);
  return { name, datatype, shape, data: values };
}
