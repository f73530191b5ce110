import { numberReader } from '../../tensor/elements.ts';
import { elementCount, type Tensor } from '../../tensor/tensor.ts';

export interface ComparePolicy {
  /** Absent: all outputs. */
  output?: string;
  atol: number;
  rtol: number;
  /** Compare only which k values of each row are largest. */
  topK?: number;
}

/** Elements of one output that are looked at: comparing runs on the gateway thread. */
const MAX_ELEMENTS = 65_536;

/** '' if the copy answered the same within tolerance, else what differs first. */
export function compareOutputs(primary: readonly Tensor[], copy: readonly Tensor[], policy: ComparePolicy): string {
  const wanted = policy.output === undefined ? primary : primary.filter(({ name }) => name === policy.output);
  if (wanted.length === 0) return `the answer has no output '${policy.output}'`;
  for (const tensor of wanted) {
    const other = copy.find(({ name }) => name === tensor.name);
    if (other === undefined) return `output '${tensor.name}' is missing`;
    if (other.shape.join() !== tensor.shape.join())
      return `output '${tensor.name}' is [${other.shape}], not [${tensor.shape}]`;
    const difference =
      policy.topK === undefined ? compareValues(tensor, other, policy) : compareRanks(tensor, other, policy.topK);
    if (difference !== '') return difference;
  }
  return '';
}

function compareValues(tensor: Tensor, other: Tensor, { atol, rtol }: ComparePolicy): string {
  const a = numberReader(tensor);
  const b = numberReader(other);
  if (a === undefined || b === undefined) {
    const equal = Buffer.compare(tensor.data, other.data) === 0;
    return equal ? '' : `output '${tensor.name}' has other strings`;
  }
  const count = Math.min(elementCount(tensor.shape), MAX_ELEMENTS);
  for (let i = 0; i < count; i++) {
    const x = a(i);
    const y = b(i);
    if (x === y || (Number.isNaN(x) && Number.isNaN(y))) continue;
    if (!(Math.abs(x - y) <= atol + rtol * Math.abs(x)))
      return `output '${tensor.name}' element ${i} is ${y}, not ${x}`;
  }
  return '';
}

/** Rows run along the last dimension. Ties are broken by position, on both sides alike. */
function compareRanks(tensor: Tensor, other: Tensor, k: number): string {
  const a = numberReader(tensor);
  const b = numberReader(other);
  if (a === undefined || b === undefined) return compareValues(tensor, other, { atol: 0, rtol: 0 });
  const width = tensor.shape.at(-1) ?? 1;
  const count = Math.min(elementCount(tensor.shape), MAX_ELEMENTS);
  for (let start = 0; start + width <= count && width > 0; start += width) {
    const x = topIndices(a, start, width, k);
    const y = topIndices(b, start, width, k);
    if (x !== y) return `output '${tensor.name}' row ${start / width} has top ${k} {${y}}, not {${x}}`;
  }
  return '';
}

function topIndices(read: (i: number) => number, start: number, width: number, k: number): string {
  const indices = Array.from({ length: width }, (_, i) => i);
  indices.sort((i, j) => read(start + j) - read(start + i) || i - j);
  return indices
    .slice(0, k)
    .sort((i, j) => i - j)
    .join();
}
