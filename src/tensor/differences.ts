import { elementCount } from './tensor.ts';

type Reader = (i: number) => number;

/** Elements of one output that are looked at: comparing runs on the gateway thread. */
const MAX_ELEMENTS = 65_536;

/** '' if all of the first `count` numbers agree within tolerance, else the first that does not. NaN agrees with NaN. */
export function firstDifference(count: number, a: Reader, b: Reader, atol: number, rtol: number): string {
  const looked = Math.min(count, MAX_ELEMENTS);
  for (let i = 0; i < looked; i++) {
    const x = a(i);
    const y = b(i);
    if (x === y || (Number.isNaN(x) && Number.isNaN(y))) continue;
    if (!(Math.abs(x - y) <= atol + rtol * Math.abs(x))) return `element ${i} is ${y}, not ${x}`;
  }
  return '';
}

/** The same for which k values of each row are largest. Rows run along the last dimension; ties go by position. */
export function firstRankDifference(shape: readonly number[], a: Reader, b: Reader, k: number): string {
  const width = shape.at(-1) ?? 1;
  const count = Math.min(elementCount(shape), MAX_ELEMENTS);
  for (let start = 0; start + width <= count && width > 0; start += width) {
    const x = topIndices(a, start, width, k);
    const y = topIndices(b, start, width, k);
    if (x !== y) return `row ${start / width} has top ${k} {${y}}, not {${x}}`;
  }
  return '';
}

function topIndices(read: Reader, start: number, width: number, k: number): string {
  const indices = Array.from({ length: width }, (_, i) => i);
  indices.sort((i, j) => read(start + j) - read(start + i) || i - j);
  return indices
    .slice(0, k)
    .sort((i, j) => i - j)
    .join();
}
