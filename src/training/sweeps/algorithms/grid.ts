import { type Dimension, fromAxis, type Params, type ParamValue } from './space.ts';

/** How many points a grid has; undefined: a dimension is continuous. */
export function gridSize(space: readonly Dimension[]): number | undefined {
  let size = 1;
  for (const dimension of space) {
    const count = countOf(dimension);
    if (count === undefined) return undefined;
    size *= count;
  }
  return size;
}

function countOf(dimension: Dimension): number | undefined {
  if (dimension.kind === 'choice') return dimension.choices.length;
  if (dimension.step === undefined) return undefined;
  return Math.floor((dimension.high - dimension.low) / dimension.step + 1e-9) + 1;
}

/** The point with this number, the last parameter changing fastest; undefined: the grid has no more. */
export function gridPoint(space: readonly Dimension[], number: number): Params | undefined {
  let left = number;
  const values: [string, ParamValue][] = [];
  for (const dimension of [...space].reverse()) {
    const count = countOf(dimension) ?? 1;
    values.push([dimension.name, valueAt(dimension, left % count)]);
    left = Math.floor(left / count);
  }
  return left > 0 ? undefined : Object.fromEntries(values.reverse());
}

function valueAt(dimension: Dimension, index: number): ParamValue {
  if (dimension.kind === 'choice') return dimension.choices[index];
  const value = dimension.low + index * (dimension.step ?? 0);
  return fromAxis(dimension, dimension.log ? Math.log(value) : value);
}
