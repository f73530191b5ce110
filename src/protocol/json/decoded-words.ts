import { PlacedTensor } from '../../tensor/placed.ts';
import { DATA_TYPES, type Tensor } from '../../tensor/tensor.ts';

// Words that the addon's decoder reads and writes, as in native/src/decode.h.
export const FORM = 0;
export const INPUTS = 1;
export const SLAB = 2;
export const ID = 3;
export const ID_LENGTH = 4;
export const PARAMETERS = 5;
export const OUTPUTS = 6;
export const HEAD_WORDS = 7;
// What a body is.
export const INFER = 0;
export const PREDICT = 1;
export const EXAMPLES = 2;
// Words of one input, behind the head or the input before.
export const NAME = 0;
export const NAME_LENGTH = 1;
const TYPE = 2;
const RANK = 3;
const PLACE = 4;
const OFFSET = 5;
const BYTES = 6;
const DIMS = 7;

const IN_SLAB = 0;
const IN_BODY = 1;
const OWN = 2;

/** kMetaWords there. */
export const WORDS = 2048;

/** Where the words of the input behind the one at `at` begin. */
export function nextInput(meta: Int32Array, at: number): number {
  return at + DIMS + meta[at + RANK];
}

/**
 * The input whose words begin at `at`.
 *
 * @param own the buffers of tensors that do not lie in `slab`
 */
export function inputAt(
  meta: Int32Array,
  at: number,
  name: string,
  body: Uint8Array,
  slab: Uint8Array,
  own: readonly ArrayBuffer[] | undefined,
): Tensor {
  const shape = shapeAt(meta, at);
  const datatype = DATA_TYPES[meta[at + TYPE]];
  const place = meta[at + PLACE];
  const offset = meta[at + OFFSET];
  const bytes = meta[at + BYTES];
  if (place === IN_SLAB) return new PlacedTensor(name, datatype, shape, slab, offset, bytes);
  if (place === IN_BODY) return new PlacedTensor(name, datatype, shape, body, offset, bytes);
  return { name, datatype, shape, data: new Uint8Array(own![place - OWN], offset, bytes) };
}

/** Requests of one shape that follow one another share it; nobody changes a decoded shape. */
let lastShape: number[] = [];

function shapeAt(meta: Int32Array, at: number): number[] {
  const rank = meta[at + RANK];
  let same = rank === lastShape.length;
  for (let i = 0; same && i < rank; i++) same = meta[at + DIMS + i] === lastShape[i];
  if (same) return lastShape;
  const shape: number[] = [];
  for (let i = 0; i < rank; i++) shape.push(meta[at + DIMS + i]);
  lastShape = shape;
  return shape;
}
