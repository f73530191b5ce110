import type { InferRequest } from '../pipeline/types.ts';
import type { Tensor } from '../tensor/tensor.ts';

/** The tensors as plain objects, for comparisons that must not depend on how they hold their bytes. */
export function plainTensors(tensors: readonly Tensor[]): Tensor[] {
  return tensors.map(({ name, datatype, shape, data }) => ({ name, datatype, shape, data }));
}

export function plainRequest(request: InferRequest): InferRequest {
  return { ...request, inputs: plainTensors(request.inputs) };
}
