import type { ModelSignature, TensorSpec } from '../../config/model-config.ts';
import { DATA_TYPES } from '../../tensor/tensor.ts';

const known = new WeakMap<ModelSignature, Uint8Array>();

/**
 * The inputs that a body may name, as the addon reads them (native/src/predict.h). Empty for signatures with an input of a
 * type that it leaves to the twin.
 */
export function expectedInputs(signature: ModelSignature): Uint8Array {
  let list = known.get(signature);
  if (list === undefined) {
    list = signature.inputs.every(isTaken) ? Buffer.concat(signature.inputs.map(entryOf)) : new Uint8Array(0);
    known.set(signature, list);
  }
  return list;
}

function isTaken({ name, datatype }: TensorSpec): boolean {
  return datatype !== 'BYTES' && datatype !== 'FP16' && datatype !== 'BF16' && Buffer.byteLength(name) <= 0xffff;
}

function entryOf({ name, datatype, dims }: TensorSpec): Uint8Array {
  const text = Buffer.from(name);
  const scalar = dims.length === 0 ? 1 : 0;
  return Buffer.concat([Uint8Array.of(DATA_TYPES.indexOf(datatype), scalar, text.length, text.length >> 8), text]);
}
