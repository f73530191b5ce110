import { firstDifference, firstRankDifference } from '../../tensor/differences.ts';
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
  const difference = firstDifference(elementCount(tensor.shape), a, b, atol, rtol);
  return difference === '' ? '' : `output '${tensor.name}' ${difference}`;
}

function compareRanks(tensor: Tensor, other: Tensor, k: number): string {
  const a = numberReader(tensor);
  const b = numberReader(other);
  if (a === undefined || b === undefined) return compareValues(tensor, other, { atol: 0, rtol: 0 });
  const difference = firstRankDifference(tensor.shape, a, b, k);
  return difference === '' ? '' : `output '${tensor.name}' ${difference}`;
}
