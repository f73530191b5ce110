import { elementCount } from './tensor.ts';

type Reader = (i: number) => number;

/** Elements of one output that are looked at: comparing runs on the gateway thread. */
const MAX_ELEMENTS = 65_536;
/** Of the golden ratio: places that shift by it fall on no pattern of rows or columns. */
const SHIFT = 0.618_033_988_749_894_9;

/**
 * '' if all of `count` numbers agree within tolerance, else the first that does not. NaN agrees with NaN. Beyond
 * MAX_ELEMENTS so many are looked at, spread over all of them. Said is where and by how much, never a value: outputs may
 * be what the event log redacts.
 */
export function firstDifference(count: number, a: Reader, b: Reader, atol: number, rtol: number): string {
  const looked = Math.min(count, MAX_ELEMENTS);
  for (let j = 0; j < looked; j++) {
    const i = place(j, looked, count);
    const x = a(i);
    const y = b(i);
    if (x === y || (Number.isNaN(x) && Number.isNaN(y))) continue;
    const difference = Math.abs(x - y);
    if (difference <= atol + rtol * Math.abs(x)) continue;
    if (Number.isNaN(difference)) return `element ${i} is not a number in one of the two`;
    return `element ${i} differs by ${Number(difference.toPrecision(3))} (atol ${atol}, rtol ${rtol})`;
  }
  return '';
}

/**
 * The same for which k values of each row are largest. Rows run along the last dimension; ties go by position. Rows are
 * looked at whole, spread over all of them: as many as MAX_ELEMENTS hold, and one at least.
 */
export function firstRankDifference(shape: readonly number[], a: Reader, b: Reader, k: number): string {
  const width = shape.at(-1) ?? 1;
  if (width === 0) return '';
  const rows = elementCount(shape) / width;
  const looked = Math.min(rows, Math.max(1, Math.floor(MAX_ELEMENTS / width)));
  for (let j = 0; j < looked; j++) {
    const row = place(j, looked, rows);
    const x = topIndices(a, row * width, width, k);
    const y = new Set(topIndices(b, row * width, width, k));
    const others = x.filter((i) => !y.has(i)).length;
    if (others > 0) return `row ${row} has another top ${k}: ${others} of them differ`;
  }
  return '';
}

/** The j-th of `looked` places among `count`: one in each of as many equal parts. */
function place(j: number, looked: number, count: number): number {
  if (looked === count) return j;
  return Math.min(count - 1, Math.floor(((j + ((j * SHIFT) % 1)) * count) / looked));
}

/** One pass: rows are wide and k is small. NaN is below everything. */
function topIndices(read: Reader, start: number, width: number, k: number): number[] {
  const best: number[] = [];
  const values: number[] = [];
  for (let i = 0; i < width; i++) {
    const value = read(start + i);
    let at = best.length;
    if (at === k && !isAbove(value, values[k - 1])) continue;
    if (at === k) at--;
    for (; at > 0 && isAbove(value, values[at - 1]); at--) {
      best[at] = best[at - 1];
      values[at] = values[at - 1];
    }
    best[at] = i;
    values[at] = value;
  }
  return best;
}

function isAbove(value: number, other: number): boolean {
  return value > other || (Number.isNaN(other) && !Number.isNaN(value));
}
