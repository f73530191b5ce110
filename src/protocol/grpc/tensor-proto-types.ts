import type { DataType } from '../../tensor/tensor.ts';

/** TensorFlow's number and name of a datatype, and the TensorProto field its elements ride in. */
export interface TensorflowType {
  number: number;
  name: string;
  field: number;
  fieldName: string;
}

export const TENSORFLOW_TYPES: Readonly<Record<DataType, TensorflowType>> = {
  FP32: { number: 1, name: 'DT_FLOAT', field: 5, fieldName: 'float_val' },
  FP64: { number: 2, name: 'DT_DOUBLE', field: 6, fieldName: 'double_val' },
  INT32: { number: 3, name: 'DT_INT32', field: 7, fieldName: 'int_val' },
  UINT8: { number: 4, name: 'DT_UINT8', field: 7, fieldName: 'int_val' },
  INT16: { number: 5, name: 'DT_INT16', field: 7, fieldName: 'int_val' },
  INT8: { number: 6, name: 'DT_INT8', field: 7, fieldName: 'int_val' },
  BYTES: { number: 7, name: 'DT_STRING', field: 8, fieldName: 'string_val' },
  INT64: { number: 9, name: 'DT_INT64', field: 10, fieldName: 'int64_val' },
  BOOL: { number: 10, name: 'DT_BOOL', field: 11, fieldName: 'bool_val' },
  BF16: { number: 14, name: 'DT_BFLOAT16', field: 13, fieldName: 'half_val' },
  UINT16: { number: 17, name: 'DT_UINT16', field: 7, fieldName: 'int_val' },
  FP16: { number: 19, name: 'DT_HALF', field: 13, fieldName: 'half_val' },
  UINT32: { number: 22, name: 'DT_UINT32', field: 16, fieldName: 'uint32_val' },
  UINT64: { number: 23, name: 'DT_UINT64', field: 17, fieldName: 'uint64_val' },
};

const BY_NUMBER = new Map<number, DataType>();
const FIELD_NAMES = new Map<number, string>();
for (const [datatype, type] of Object.entries(TENSORFLOW_TYPES)) {
  BY_NUMBER.set(type.number, datatype as DataType);
  FIELD_NAMES.set(type.field, type.fieldName);
}

export function datatypeOfNumber(number: number): DataType | undefined {
  return BY_NUMBER.get(number);
}

/** The name of a field that carries elements, or undefined for any other field. */
export function valueFieldName(field: number): string | undefined {
  return FIELD_NAMES.get(field);
}
