import type { ModelConfig, TensorSpec } from '../config/model-config.ts';
import { invalidArgument } from '../shared/errors.ts';
import { bytesOf } from '../tensor/placed.ts';
import { ELEMENT_BYTES, elementCount, MAX_RANK, type Tensor } from '../tensor/tensor.ts';
import type { InferRequest } from './types.ts';

/**
 * Checks a request against the model's signature and returns its rows. Inputs are put into the signature's order
 * in place. Throws invalid_argument naming the tensor, what was sent and what is expected.
 */
export function validateRequest(request: InferRequest, config: ModelConfig): number {
  const { signature } = config;
  const declared = signature.inputs;
  const { inputs } = request;
  let rows = 1;
  let first = true;
  for (let i = 0; i < inputs.length; i++) {
    const tensor = inputs[i];
    const spec = findSpec(declared, tensor.name, i);
    if (spec === undefined) {
      throw invalidArgument(
        `unexpected inference input '${tensor.name}' for model '${config.name}'; its inputs are ${declared.map((s) => `'${s.name}'`).join(', ')}`,
      );
    }
    for (let j = 0; j < i; j++) {
      if (inputs[j].name === tensor.name) throw invalidArgument(`input '${tensor.name}' is given twice`);
    }
    checkInput(tensor, spec, config);
    if (signature.maxBatchSize > 0) {
      if (first) rows = tensor.shape[0];
      else if (tensor.shape[0] !== rows) {
        throw invalidArgument(
          `input '${tensor.name}' batch size ${tensor.shape[0]} does not match ${rows} of the other inputs of model '${config.name}'`,
        );
      }
    }
    first = false;
  }
  if (inputs.length < declared.length) checkMissing(inputs, declared, config.name);
  if (signature.maxBatchSize > 0 && rows > signature.maxBatchSize) {
    throw invalidArgument(
      `inference request batch-size must be <= ${signature.maxBatchSize} for '${config.name}', got ${rows}; send it in parts`,
    );
  }
  return rows;
}

/** Bit mask of wanted outputs; 0 = all. Throws for names the model does not have. */
export function outputMask(request: InferRequest, config: ModelConfig): number {
  const wanted = request.outputs;
  if (wanted.length === 0) return 0;
  const declared = config.signature.outputs;
  let mask = 0;
  let all = wanted.length === declared.length;
  for (const output of wanted) {
    const index = declared.findIndex((spec) => spec.name === output.name);
    if (index < 0) {
      throw invalidArgument(
        `unexpected inference output '${output.name}' for model '${config.name}'; its outputs are ${declared.map((s) => `'${s.name}'`).join(', ')}`,
      );
    }
    if (index > 30) all = true;
    else mask |= 1 << index;
  }
  return all ? 0 : mask;
}

function findSpec(declared: TensorSpec[], name: string, position: number): TensorSpec | undefined {
  const guess = declared[position];
  if (guess !== undefined && guess.name === name) return guess;
  for (const spec of declared) if (spec.name === name) return spec;
  return undefined;
}

function checkInput(tensor: Tensor, spec: TensorSpec, config: ModelConfig): void {
  if (tensor.datatype !== spec.datatype) {
    throw invalidArgument(
      `inference input '${spec.name}' data-type is '${tensor.datatype}', but model '${config.name}' expects '${spec.datatype}'`,
    );
  }
  const { shape } = tensor;
  const lead = config.signature.maxBatchSize > 0 ? 1 : 0;
  const { dims } = spec;
  let fits = shape.length === dims.length + lead;
  for (let i = 0; fits && i < dims.length; i++) {
    fits = dims[i] === -1 ? shape[i + lead] >= 0 : dims[i] === shape[i + lead];
  }
  if (fits && lead === 1 && !(shape[0] >= 1)) fits = false;
  if (!fits) {
    const expected = lead === 1 ? [-1, ...dims] : dims;
    throw invalidArgument(
      `unexpected shape for input '${spec.name}' for model '${config.name}'. Expected [${expected.join(',')}], got [${shape.join(',')}]`,
    );
  }
  const count = elementCount(shape);
  if (count < 0) {
    throw invalidArgument(
      `shape [${shape.join(',')}] of input '${spec.name}' must be at most ${MAX_RANK} non-negative integers with a product below 2^53`,
    );
  }
  const size = ELEMENT_BYTES[spec.datatype];
  if (size > 0 && bytesOf(tensor) !== count * size) {
    throw invalidArgument(
      `input '${spec.name}' has ${bytesOf(tensor)} bytes, but shape [${shape.join(',')}] of ${spec.datatype} takes ${count * size}`,
    );
  }
}

function checkMissing(inputs: Tensor[], declared: TensorSpec[], model: string): void {
  for (const spec of declared) {
    if (!spec.optional && !inputs.some((tensor) => tensor.name === spec.name)) {
      throw invalidArgument(
        `expected ${declared.length} inputs but got ${inputs.length} inputs for model '${model}': input '${spec.name}' is missing`,
      );
    }
  }
}
