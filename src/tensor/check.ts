import { invalidArgument } from '../shared/errors.ts';
import { countBytesElements } from './bytes.ts';
import { DATA_TYPES, ELEMENT_BYTES, elementCount, MAX_RANK, type Tensor } from './tensor.ts';

/**
 * Throws invalid_argument unless the tensor's bytes are exactly what its shape and datatype say: rank ≤ 32, dims
 * non-negative integers whose product is a safe integer, byte length = elements × element size, and for BYTES as many
 * well-formed elements. Allocates nothing.
 */
export function checkTensor(tensor: Tensor): void {
  const size = Object.hasOwn(ELEMENT_BYTES, tensor.datatype) ? ELEMENT_BYTES[tensor.datatype] : -1;
  if (size < 0) {
    throw invalidArgument(
      `tensor '${tensor.name}': datatype '${tensor.datatype}' is unknown; allowed are ${DATA_TYPES.join(', ')}`,
    );
  }
  const count = checkedCount(tensor.name, tensor.shape);
  if (size > 0) {
    if (count * size !== tensor.data.length) {
      throw invalidArgument(
        `tensor '${tensor.name}': shape [${tensor.shape}] of ${tensor.datatype} takes ${count * size} bytes, ` +
          `got ${tensor.data.length}`,
      );
    }
    return;
  }
  const found = countBytesElements(tensor.data);
  if (found < 0) {
    throw invalidArgument(
      `tensor '${tensor.name}': a BYTES element's length runs past the end of its ${tensor.data.length} bytes; ` +
        'each element is a 4-byte little-endian length and that many bytes',
    );
  }
  if (found !== count) {
    throw invalidArgument(`tensor '${tensor.name}': shape [${tensor.shape}] takes ${count} elements, got ${found}`);
  }
}

/** elementCount, throwing invalid_argument that names the tensor where the shape is not allowed. */
export function checkedCount(name: string, shape: readonly number[]): number {
  const count = elementCount(shape);
  if (count < 0) {
    const shown = shape.length > MAX_RANK ? `of rank ${shape.length}` : `[${shape}]`;
    throw invalidArgument(
      `tensor '${name}': shape ${shown} is not allowed; at most ${MAX_RANK} dimensions, each a non-negative integer, ` +
        'with a product below 2^53',
    );
  }
  return count;
}
