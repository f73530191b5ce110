import type { ModelSignature } from '../../config/model-config.ts';
import type { InferRequest, Parameters } from '../../pipeline/types.ts';
import { invalidArgument } from '../../shared/errors.ts';
import { writeU32 } from '../../tensor/bytes.ts';
import { checkTensor } from '../../tensor/check.ts';
import { ELEMENT_BYTES, type Tensor } from '../../tensor/tensor.ts';

/**
 * A body without JSON (Inference-Header-Content-Length: 0) is the bytes of the model's only input, for a batch of one;
 * at most one of its dims may be -1 and follows from the length. For BYTES the whole body is one element, without a
 * length prefix. All outputs are answered as binary. The tensor aliases `body` (except BYTES).
 */
export function decodeRawBody(
  model: string,
  version: string,
  body: Uint8Array,
  signature: ModelSignature,
): InferRequest {
  if (signature.inputs.length !== 1) {
    throw invalidArgument(
      `a body without JSON needs a model with exactly one input; '${model}' has ${signature.inputs.length}`,
    );
  }
  const spec = signature.inputs[0];
  const shape = signature.maxBatchSize > 0 ? [1, ...spec.dims] : [...spec.dims];
  const parameters: Parameters = Object.create(null);
  parameters.binary_data_output = true;
  const tensor: Tensor = { name: spec.name, datatype: spec.datatype, shape, data: body };
  const size = ELEMENT_BYTES[spec.datatype];
  if (size === 0) {
    tensor.data = new Uint8Array(body.length + 4);
    writeU32(tensor.data, 0, body.length);
    tensor.data.set(body, 4);
    tensor.shape = shape.map((dim) => (dim === -1 ? 1 : dim));
  } else {
    const free = shape.indexOf(-1);
    if (free >= 0) {
      if (shape.indexOf(-1, free + 1) >= 0) {
        throw invalidArgument(
          `input '${spec.name}' has more than one variable dimension [${shape}]; a body without JSON cannot tell them`,
        );
      }
      shape[free] = 1;
      const row = shape.reduce((product, dim) => product * dim, size);
      if (row === 0 || body.length % row !== 0) {
        throw invalidArgument(`the body of ${body.length} bytes is no multiple of the ${row} bytes of '${spec.name}'`);
      }
      shape[free] = body.length / row;
    }
  }
  checkTensor(tensor);
  return { model, version, id: '', inputs: [tensor], outputs: [], parameters };
}
