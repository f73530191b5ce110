import type { TensorMetadata } from './inference.ts';

/** Lengths of nested arrays, outermost first. Throws when they are ragged or hold objects. */
export function nestedShape(value: unknown): number[] {
  if (!Array.isArray(value)) {
    if (typeof value === 'object') throw new Error('elements must be numbers, strings or true and false');
    return [];
  }
  const inner = value.length === 0 ? [] : nestedShape(value[0]);
  for (const item of value) {
    const shape = nestedShape(item);
    if (shape.length !== inner.length || shape.some((dim, i) => dim !== inner[i]))
      throw new Error('the lists inside are not all equally long');
  }
  return [value.length, ...inner];
}

/**
 * The shape of data given as nested or flat lists for a declared tensor: nested lists speak for themselves; of a flat
 * one the single unknown dimension is worked out, and one row of a batch may leave its batch dimension out.
 * Throws an Error that says what to give.
 */
export function shapeFor(given: readonly number[], declared: readonly number[]): number[] {
  if (given.length === declared.length && fits(given, declared)) return [...given];
  const rest = declared.slice(1);
  if (declared[0] === -1 && given.length === rest.length && fits(given, rest)) return [1, ...given];
  if (given.length === 1) {
    const unknown = declared.filter((dim) => dim === -1).length;
    const known = declared.reduce((product, dim) => (dim === -1 ? product : product * dim), 1);
    if (unknown === 0 && known === given[0]) return [...declared];
    if (unknown === 1 && known > 0 && given[0] % known === 0)
      return declared.map((dim) => (dim === -1 ? given[0] / known : dim));
  }
  throw new Error(`the data has shape [${given}], the model takes [${declared}]; give nested lists of that shape`);
}

function fits(given: readonly number[], declared: readonly number[]): boolean {
  return declared.every((dim, i) => dim === -1 || dim === given[i]);
}

/** One input as JSON text. `data` is kept as it was written, so that 64-bit integers are not rounded. */
export function inputJson(tensor: TensorMetadata, data: string): string {
  const shape = shapeFor(nestedShape(JSON.parse(data)), tensor.shape);
  const head = JSON.stringify({ name: tensor.name, datatype: tensor.datatype, shape });
  return `${head.slice(0, -1)},"data":${data}}`;
}

/** A request with zeros (empty strings, false) in every input; unknown dimensions are 1. */
export function zeroRequest(inputs: readonly TensorMetadata[]): string {
  const tensors = inputs.map(({ name, datatype, shape }) => {
    const concrete = shape.map((dim) => (dim === -1 ? 1 : dim));
    const count = concrete.reduce((product, dim) => product * dim, 1);
    const zero = datatype === 'BYTES' ? '' : datatype === 'BOOL' ? false : 0;
    return { name, datatype, shape: concrete, data: new Array<typeof zero>(count).fill(zero) };
  });
  return JSON.stringify({ inputs: tensors });
}
