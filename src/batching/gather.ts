import { SwitchyardError } from '../shared/errors.ts';
import { joinRows, PiecedTensor } from '../tensor/pieced.ts';
import { bytesOf, PlacedTensor } from '../tensor/placed.ts';
import { ELEMENT_BYTES, elementCount, type Tensor } from '../tensor/tensor.ts';
import { skipElements } from './bytes-elements.ts';
import { concat, copyIntoCorner, fillElements, padStrings } from './padding.ts';

/** How one input of the model merges. Derive it from the model's TensorSpec. */
export interface InputRule {
  /** Items may differ in dims beyond the batch dimension and are padded to the largest. */
  ragged: boolean;
  /** What ragged padding holds; BYTES are padded with empty strings whatever it says. */
  padValue: number;
}

/** An input whose items differed: what scatter needs to cut the outputs back. */
export interface RaggedInput {
  /** Padded dims without the batch dimension. */
  padded: number[];
  /** Each item's own dims without the batch dimension. */
  own: number[][];
}

export interface GatheredBatch {
  /** One tensor per input, `paddedRows` rows, aligned to its element size. */
  inputs: Tensor[];
  /** Rows of real items. */
  rows: number;
  paddedRows: number;
  /** Inputs that needed padding; undefined when none did. */
  ragged: RaggedInput[] | undefined;
}

/**
 * Merges items along the first dimension. `items[i][j]` is input j of item i: every item holds the same inputs in the
 * same order; `itemRows[i]` its rows. Rows from the last real one up to `paddedRows` repeat that one, a value the
 * model is known to take. `rules[j]`: absent means not ragged. The result's bytes are fresh, or, where the items
 * already lie behind one another in one buffer, a view of it: the items must not change until the batch has run.
 * `inPieces`: inputs that would be copied here, row for row, stay in the items' pieces (PiecedTensor).
 * Throws internal when items do not fit together, which the queue's shape keys rule out.
 */
export function gather(
  items: readonly (readonly Tensor[])[],
  itemRows: readonly number[],
  paddedRows: number,
  rules: readonly (InputRule | undefined)[] = [],
  inPieces = false,
): GatheredBatch {
  let rows = 0;
  for (let i = 0; i < itemRows.length; i++) rows += itemRows[i];
  const first = items[0];
  const inputs = new Array<Tensor>(first.length);
  let ragged: RaggedInput[] | undefined;
  for (let j = 0; j < first.length; j++) {
    check(items, itemRows, j, rules[j]?.ragged === true);
    const dims = rules[j]?.ragged === true ? raggedDims(items, j) : undefined;
    if (dims !== undefined) {
      ragged ??= [];
      ragged.push(dims);
      inputs[j] = gatherRagged(items, j, rows, paddedRows, dims, rules[j]?.padValue ?? 0);
    } else {
      inputs[j] = gatherDense(items, j, rows, paddedRows, inPieces);
    }
  }
  return { inputs, rows, paddedRows, ragged };
}

/** A crossed or torn item must never reach a model: names, types, dims and byte counts agree, or nothing runs. */
function check(items: readonly (readonly Tensor[])[], itemRows: readonly number[], j: number, ragged: boolean): void {
  const { name, datatype, shape } = items[0][j];
  const width = ELEMENT_BYTES[datatype];
  let known: readonly number[] | undefined;
  let knownBytes = 0;
  for (let i = 0; i < items.length; i++) {
    const tensor = items[i][j];
    if (tensor === undefined || items[i].length !== items[0].length || tensor.name !== name) {
      throw mismatch(name, 'the items of a batch have different inputs');
    }
    if (tensor.datatype !== datatype) throw mismatch(name, `one item is ${tensor.datatype}, another ${datatype}`);
    const own = tensor.shape;
    if (own[0] !== itemRows[i]) throw mismatch(name, `an item of ${itemRows[i]} rows has [${own}]`);
    // Items of one frame share one array for their shape.
    if (own !== known) {
      let agree = own.length === shape.length;
      if (!ragged) for (let k = 1; k < shape.length; k++) agree &&= own[k] === shape[k];
      if (!agree) throw mismatch(name, `one item is [${own}], another [${shape}]`);
      known = own;
      knownBytes = elementCount(own) * width;
    }
    if (width > 0 && bytesOf(tensor) !== knownBytes) {
      throw mismatch(name, `${bytesOf(tensor)} bytes for ${datatype} [${own}]`);
    }
  }
}

function mismatch(name: string, what: string): SwitchyardError {
  return new SwitchyardError('internal', `input "${name}" cannot be batched: ${what}`);
}

function gatherDense(
  items: readonly (readonly Tensor[])[],
  j: number,
  rows: number,
  paddedRows: number,
  inPieces: boolean,
): Tensor {
  const model = items[0][j];
  const shape = model.shape.slice();
  shape[0] = paddedRows;
  const tensor: Tensor = { name: model.name, datatype: model.datatype, shape, data: model.data };
  const width = ELEMENT_BYTES[model.datatype];
  const pieced = inPieces && width > 0 && rows > 0;
  const view = pieced || rows === paddedRows ? contiguous(items, j, Math.max(1, width)) : undefined;
  if (view !== undefined && rows === paddedRows) {
    tensor.data = view;
    return tensor;
  }
  if (width === 0) {
    const pieces = items.map((item) => item[j].data);
    if (paddedRows > rows && rows > 0) {
      const last = items.findLast((item) => item[j].shape[0] > 0)?.[j] as Tensor;
      pieces.push(...repeated(lastRow(last.data, last.shape, last.name), paddedRows - rows));
    }
    tensor.data = concat(pieces);
    return tensor;
  }
  let rowBytes = width;
  for (let k = 1; k < shape.length; k++) rowBytes *= shape[k];
  const pieces = view !== undefined ? [view] : items.map((item) => item[j].data);
  if (pieced) return new PiecedTensor(model.name, model.datatype, shape, pieces, rowBytes * paddedRows);
  tensor.data = joinRows(pieces, rowBytes, rowBytes * paddedRows);
  return tensor;
}

/** One view over all items' bytes when they already follow one another, aligned, in one buffer. */
function contiguous(items: readonly (readonly Tensor[])[], j: number, alignment: number): Uint8Array | undefined {
  const first = items[0][j];
  if (!(first instanceof PlacedTensor)) return contiguousViews(items, j, alignment);
  const { source, offset } = first;
  if ((source.byteOffset + offset) % alignment !== 0) return undefined;
  let end = offset + first.bytes;
  for (let i = 1; i < items.length; i++) {
    const next = items[i][j];
    if (!(next instanceof PlacedTensor) || next.offset !== end || next.source !== source) return undefined;
    end += next.bytes;
  }
  return items.length === 1 ? first.data : source.subarray(offset, end);
}

function contiguousViews(items: readonly (readonly Tensor[])[], j: number, alignment: number): Uint8Array | undefined {
  const first = items[0][j].data;
  if (first.byteOffset % alignment !== 0) return undefined;
  let end = first.byteOffset + first.length;
  for (let i = 1; i < items.length; i++) {
    const data = items[i][j].data;
    if (data.byteOffset !== end || data.buffer !== first.buffer) return undefined;
    end += data.length;
  }
  return items.length === 1 ? first : new Uint8Array(first.buffer, first.byteOffset, end - first.byteOffset);
}

/** The largest of each dim; undefined when all items agree, so that nothing needs padding. */
function raggedDims(items: readonly (readonly Tensor[])[], j: number): RaggedInput | undefined {
  const padded = items[0][j].shape.slice(1);
  let differ = false;
  for (let i = 1; i < items.length; i++) {
    const shape = items[i][j].shape;
    for (let k = 0; k < padded.length; k++) {
      if (shape[k + 1] === padded[k]) continue;
      differ = true;
      if (shape[k + 1] > padded[k]) padded[k] = shape[k + 1];
    }
  }
  return differ ? { padded, own: items.map((item) => item[j].shape.slice(1)) } : undefined;
}

function gatherRagged(
  items: readonly (readonly Tensor[])[],
  j: number,
  rows: number,
  paddedRows: number,
  dims: RaggedInput,
  padValue: number,
): Tensor {
  const { name, datatype } = items[0][j];
  const shape = [paddedRows, ...dims.padded];
  if (datatype === 'BYTES') {
    const pieces = items.map((item) => padStrings(item[j], [item[j].shape[0], ...dims.padded]));
    if (paddedRows > rows && rows > 0) {
      const last = items.findLastIndex((item) => item[j].shape[0] > 0);
      const row = lastRow(pieces[last], [items[last][j].shape[0], ...dims.padded], name);
      pieces.push(...repeated(row, paddedRows - rows));
    }
    return { name, datatype, shape, data: concat(pieces) };
  }
  const width = ELEMENT_BYTES[datatype];
  const rowBytes = elementCount(dims.padded) * width;
  const data = new Uint8Array(rowBytes * paddedRows);
  fillElements(data, datatype, padValue);
  let at = 0;
  for (const item of items) {
    const own = item[j];
    const itemRows = own.shape[0];
    copyIntoCorner(own.data, own.shape, data, at, [itemRows, ...dims.padded], width);
    at += itemRows * rowBytes;
  }
  repeatLastRow(data, rows, paddedRows);
  return { name, datatype, shape, data };
}

function repeatLastRow(data: Uint8Array, rows: number, paddedRows: number): void {
  if (rows === 0 || paddedRows === rows) return;
  const rowBytes = data.length / paddedRows;
  const start = (rows - 1) * rowBytes;
  for (let row = rows; row < paddedRows; row++) data.copyWithin(row * rowBytes, start, start + rowBytes);
}

/** The last row of a BYTES block. */
function lastRow(data: Uint8Array, shape: readonly number[], name: string): Uint8Array {
  const perRow = elementCount(shape) / shape[0];
  const start = skipElements(data, 0, (shape[0] - 1) * perRow, name);
  return data.subarray(start, skipElements(data, start, perRow, name));
}

function repeated(piece: Uint8Array, times: number): Uint8Array[] {
  return new Array<Uint8Array>(times).fill(piece);
}
