import type { DataType } from '../../tensor/tensor.ts';

/** Triton's TYPE_ name → protocol name; undefined for TYPE_INVALID and anything unknown. */
export function fromTritonType(name: unknown): DataType | undefined {
  if (name === 'TYPE_STRING') return 'BYTES';
  if (typeof name !== 'string' || name === 'TYPE_INVALID' || !name.startsWith('TYPE_')) return undefined;
  return name.slice(5) as DataType;
}

/** Protocol name → Triton's TYPE_ name. */
export function toTritonType(datatype: DataType): string {
  return datatype === 'BYTES' ? 'TYPE_STRING' : `TYPE_${datatype}`;
}
