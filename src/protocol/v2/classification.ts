import { invalidArgument } from '../../shared/errors.ts';
import { encodeBytes } from '../../tensor/bytes.ts';
import { bf16ToNumber, fp16ToNumber } from '../../tensor/half.ts';
import { elementCount, type Tensor } from '../../tensor/tensor.ts';
import { type TypedView, typedView } from '../../tensor/views.ts';

/**
 * The classification extension: the `k` greatest values of each item as BYTES "value:index" or "value:index:label",
 * greatest first, equal values by index, NaN last. `batched`: the first dimension counts items, and the result is
 * [items, k]; otherwise the whole tensor is one item and the result is [k]. k is cut to what an item holds.
 * Throws invalid_argument for BYTES and BOOL outputs.
 */
export function applyClassification(
  output: Tensor,
  k: number,
  labels: readonly string[] | undefined,
  batched: boolean,
): Tensor {
  if (output.datatype === 'BYTES' || output.datatype === 'BOOL') {
    throw invalidArgument(`output '${output.name}' is ${output.datatype}; classification needs numbers`);
  }
  const items = batched ? output.shape[0] : 1;
  const classes = elementCount(batched ? output.shape.slice(1) : output.shape);
  const top = Math.min(k, classes);
  const values = typedView(output.datatype, output.data);
  const whole = typeof values[0] === 'bigint' || /INT/.test(output.datatype);
  const elements: string[] = [];
  for (let item = 0; item < items; item++) {
    const best = greatest(values, output.datatype, item * classes, classes, top);
    for (const index of best) {
      const value = valueAt(values, output.datatype, item * classes + index);
      const label = labels?.[index];
      const score = whole ? String(value) : fixedPoint(Number(value));
      elements.push(label ? `${score}:${index}:${label}` : `${score}:${index}`);
    }
  }
  return {
    name: output.name,
    datatype: 'BYTES',
    shape: batched ? [items, top] : [top],
    data: encodeBytes(elements),
  };
}

function valueAt(values: TypedView, datatype: string, index: number): number | bigint {
  const raw = values[index];
  if (datatype === 'FP16') return fp16ToNumber(Number(raw));
  if (datatype === 'BF16') return bf16ToNumber(Number(raw));
  return raw;
}

function greatest(values: TypedView, datatype: string, from: number, count: number, top: number): number[] {
  const order = Array.from({ length: count }, (_, index) => index);
  order.sort((a, b) => {
    const left = valueAt(values, datatype, from + a);
    const right = valueAt(values, datatype, from + b);
    if (left > right) return -1;
    if (left < right) return 1;
    return Number(Number.isNaN(left)) - Number(Number.isNaN(right)) || a - b;
  });
  return order.slice(0, top);
}

/** As C's %f: six decimals, never an exponent, nan and inf by name. */
function fixedPoint(value: number): string {
  if (Number.isNaN(value)) return 'nan';
  if (Math.abs(value) === Infinity) return value > 0 ? 'inf' : '-inf';
  if (Math.abs(value) >= 1e21) return `${BigInt(value)}.000000`;
  if (Object.is(value, -0)) return '-0.000000';
  return value.toFixed(6);
}
