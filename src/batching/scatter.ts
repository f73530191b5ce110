import type { TensorSpec } from '../config/model-config.ts';
import { SwitchyardError } from '../shared/errors.ts';
import { ELEMENT_BYTES, elementCount, type Tensor } from '../tensor/tensor.ts';
import { skipElements } from './bytes-elements.ts';
import type { RaggedInput } from './gather.ts';
import { copyFromCorner, cropStrings } from './padding.ts';

/**
 * Splits a batch's outputs into each item's own: `result[i][j]` is output j of item i. Padding rows vanish. The
 * tensors are views of the outputs' bytes, except those that unpadding has to repack.
 *
 * `ragged` (from gather) unpads: an output axis that the model declares variable (-1 in `specs`) and whose length
 * equals the padded length of a ragged input's axis is cut to what that axis was in the item. Where several input
 * axes have that padded length, the one at the same place wins, then the first. Outputs without a spec stay whole.
 *
 * Throws internal, naming the output and both numbers, when a backend answered other than one row per row sent.
 */
export function scatter(
  outputs: readonly Tensor[],
  itemRows: readonly number[],
  paddedRows: number,
  ragged?: readonly RaggedInput[],
  specs: readonly TensorSpec[] = [],
): Tensor[][] {
  checkOutputRows(outputs, paddedRows);
  const result = new Array<Tensor[]>(itemRows.length);
  for (let i = 0; i < itemRows.length; i++) result[i] = new Array<Tensor>(outputs.length);
  for (let j = 0; j < outputs.length; j++) {
    const output = outputs[j];
    const fixedBytes = ELEMENT_BYTES[output.datatype] > 0;
    const rowBytes = fixedBytes && paddedRows > 0 ? output.data.length / paddedRows : 0;
    const perRow = fixedBytes || paddedRows === 0 ? 0 : elementCount(output.shape) / paddedRows;
    const spec = ragged === undefined ? undefined : specs.find((candidate) => candidate.name === output.name);
    let at = 0;
    for (let i = 0; i < itemRows.length; i++) {
      const rows = itemRows[i];
      const end = fixedBytes ? at + rows * rowBytes : skipElements(output.data, at, rows * perRow, output.name);
      const shape = output.shape.slice();
      shape[0] = rows;
      const own: Tensor = { name: output.name, datatype: output.datatype, shape, data: output.data.subarray(at, end) };
      result[i][j] = ragged !== undefined && spec !== undefined ? unpad(own, spec, ragged, i) : own;
      at = end;
    }
  }
  return result;
}

/** Throws internal unless every output holds exactly `rows` rows and the bytes its shape asks for. */
export function checkOutputRows(outputs: readonly Tensor[], rows: number): void {
  for (let j = 0; j < outputs.length; j++) {
    const { name, datatype, shape, data } = outputs[j];
    if (shape.length === 0 || shape[0] !== rows) {
      const got = shape.length === 0 ? 'no batch dimension' : `${shape[0]} rows`;
      throw new SwitchyardError(
        'internal',
        `the model answered output "${name}" with ${got} for a batch of ${rows} rows: a batching model answers one ` +
          'row for each; correct the model, or set max_batch_size to 0',
      );
    }
    const width = ELEMENT_BYTES[datatype];
    const count = elementCount(shape);
    if (count < 0 || (width > 0 && data.length !== count * width)) {
      throw new SwitchyardError(
        'internal',
        `the model answered output "${name}" with ${data.length} bytes for ${datatype} [${shape}]`,
      );
    }
  }
}

/** `item`'s tensor without the padding its batch mates made necessary. */
function unpad(tensor: Tensor, spec: TensorSpec, ragged: readonly RaggedInput[], item: number): Tensor {
  const from = tensor.shape;
  // Dims of a spec leave the batch dimension out; one of another rank says nothing about which axes vary.
  if (spec.dims.length !== from.length - 1) return tensor;
  const to = from.slice();
  let cut = false;
  for (let axis = 1; axis < from.length; axis++) {
    if (spec.dims[axis - 1] !== -1) continue;
    const own = ownLength(ragged, item, axis - 1, from[axis]);
    if (own === from[axis]) continue;
    to[axis] = own;
    cut = true;
  }
  if (!cut) return tensor;
  const { name, datatype } = tensor;
  if (datatype === 'BYTES') return { name, datatype, shape: to, data: cropStrings(tensor.data, from, to, name) };
  const width = ELEMENT_BYTES[datatype];
  const bytes = elementCount(to) * width;
  // With nothing above the outermost cut axis but ones, the corner is a prefix.
  if (isPrefix(from, to)) return { name, datatype, shape: to, data: tensor.data.subarray(0, bytes) };
  const data = new Uint8Array(bytes);
  copyFromCorner(tensor.data, 0, from, data, to, width);
  return { name, datatype, shape: to, data };
}

function ownLength(ragged: readonly RaggedInput[], item: number, axis: number, length: number): number {
  for (const input of ragged) if (input.padded[axis] === length) return input.own[item][axis];
  for (const input of ragged) {
    const other = input.padded.indexOf(length);
    if (other >= 0) return input.own[item][other];
  }
  return length;
}

function isPrefix(from: readonly number[], to: readonly number[]): boolean {
  let axis = from.length - 1;
  while (axis > 0 && from[axis] === to[axis]) axis--;
  for (let i = 0; i < axis; i++) if (from[i] !== 1) return false;
  return true;
}
