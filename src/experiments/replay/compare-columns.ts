import { firstDifference, firstRankDifference } from '../../tensor/differences.ts';
import type { LoggedColumn } from './logged-record.ts';

export interface ColumnPolicy {
  /** Absent: all columns. */
  output?: string | undefined;
  atol: number;
  rtol: number;
  topK?: number | undefined;
}

/** '' if a shadow's predictions agree with the answer's, else what differs first. Undefined: nothing was logged to compare. */
export function compareColumns(
  answer: readonly LoggedColumn[],
  copy: readonly LoggedColumn[],
  { output, atol, rtol, topK }: ColumnPolicy,
): string | undefined {
  const wanted = output === undefined ? answer : answer.filter(({ name }) => name === output);
  if (wanted.length === 0 || wanted.some(({ values }) => values.length === 0)) return undefined;
  for (const { name, shape, values } of wanted) {
    const other = copy.find((column) => column.name === name);
    if (other === undefined) return `output '${name}' is missing`;
    if (other.values.length === 0) return undefined;
    if (other.shape.join() !== shape.join()) return `output '${name}' is [${other.shape}], not [${shape}]`;
    const a = (i: number): number => Number(values[i]);
    const b = (i: number): number => Number(other.values[i]);
    const difference = values.some((value) => typeof value === 'string')
      ? values.findIndex((value, i) => value !== other.values[i]) >= 0
        ? 'has other strings'
        : ''
      : topK === undefined
        ? firstDifference(values.length, a, b, atol, rtol)
        : firstRankDifference(shape, a, b, topK);
    if (difference !== '') return `output '${name}' ${difference}`;
  }
  return '';
}
