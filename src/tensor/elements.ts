import { nextBytesElement } from './bytes.ts';
import { bf16ToNumber, fp16ToNumber } from './half.ts';
import type { Tensor } from './tensor.ts';
import { typedView } from './views.ts';

const utf8 = new TextDecoder();

/** Reads element `i` as a number (64-bit integers rounded, BOOL 0 or 1). Undefined for BYTES, which have none. */
export function numberReader({ datatype, data }: Tensor): ((i: number) => number) | undefined {
  if (datatype === 'BYTES') return undefined;
  const view = typedView(datatype, data);
  if (datatype === 'FP16') return (i) => fp16ToNumber(view[i] as number);
  if (datatype === 'BF16') return (i) => bf16ToNumber(view[i] as number);
  return (i) => Number(view[i]);
}

/** The first element as text, integers exactly; undefined for an empty tensor. */
export function firstElement(tensor: Tensor): string | undefined {
  const { datatype, data } = tensor;
  if (datatype === 'BYTES') {
    const end = nextBytesElement(data, 0);
    return end < 0 ? undefined : utf8.decode(data.subarray(4, end));
  }
  const view = typedView(datatype, data);
  if (view.length === 0) return undefined;
  if (datatype === 'FP16' || datatype === 'BF16') return String(numberReader(tensor)?.(0));
  if (datatype === 'BOOL') return view[0] ? 'true' : 'false';
  return String(view[0]);
}
