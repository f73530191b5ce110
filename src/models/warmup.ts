import type { ModelSignature, TensorSpec, WarmupSpec } from '../config/model-config.ts';
import { invalidArgument } from '../shared/errors.ts';
import { type DataType, ELEMENT_BYTES, elementCount, type Tensor } from '../tensor/tensor.ts';

export interface WarmupRequest {
  name: string;
  count: number;
  inputs: Tensor[];
}

/** Bytes one warm-up tensor may take. */
const MAX_TENSOR_BYTES = 1024 * 1024 * 1024;

/** A small seeded generator (mulberry32): the same warm-up data in preflight and in every executor. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

/**
 * The requests that warm a model: those it configures, or, without any, zeros at batch 1 and at the largest batch with
 * every variable dim of length `variableDim`. `readFile` answers the bytes of an input_data_file. Throws invalid_argument.
 */
export function warmupRequests(
  specs: readonly WarmupSpec[],
  signature: ModelSignature,
  readFile: (file: string) => Uint8Array,
  variableDim = 1,
): WarmupRequest[] {
  if (specs.length === 0) {
    const batches = signature.maxBatchSize > 1 ? [1, signature.maxBatchSize] : [Math.min(1, signature.maxBatchSize)];
    return batches.map((batch) => ({
      name: `zeros at batch ${Math.max(1, batch)}`,
      count: 1,
      inputs: signature.inputs
        .filter((input) => !input.optional)
        .map((input) => filledTensor(input, batch, variableDim, 'zero', 0)),
    }));
  }
  return specs.map((spec) => ({
    name: spec.name,
    count: spec.count,
    inputs: Object.entries(spec.inputs).map(([name, input], i) => {
      const declared = signature.inputs.find((candidate) => candidate.name === name);
      if (declared === undefined)
        throw invalidArgument(`model_warmup "${spec.name}" names input "${name}", which the model does not have`);
      if (declared.datatype !== input.datatype) {
        throw invalidArgument(
          `model_warmup "${spec.name}" gives input "${name}" as ${input.datatype}; the model takes ${declared.datatype}`,
        );
      }
      const batch = signature.maxBatchSize > 0 ? Math.max(1, spec.batchSize) : 0;
      if (batch > signature.maxBatchSize) {
        throw invalidArgument(
          `model_warmup "${spec.name}" has batch_size ${batch}; allowed: up to max_batch_size ${signature.maxBatchSize}`,
        );
      }
      const tensor: TensorSpec = { ...declared, dims: declared.reshape ?? input.dims };
      if (typeof input.source === 'string')
        return filledTensor({ ...tensor, reshape: undefined }, batch, 1, input.source, i + 1);
      return fileTensor(tensor, batch, readFile(input.source.file), `model_warmup "${spec.name}" input "${name}"`);
    }),
  }));
}

/** A tensor of zeros or seeded random values (floats in [0, 1), integers 0 or 1). `batch` 0: no batch dimension. */
export function filledTensor(
  spec: TensorSpec,
  batch: number,
  variableDim: number,
  source: 'zero' | 'random',
  seed: number,
): Tensor {
  const dims = (spec.reshape ?? spec.dims).map((dim) => (dim === -1 ? variableDim : dim));
  const shape = batch > 0 ? [batch, ...dims] : dims;
  const count = elementCount(shape);
  const bytes = count * (ELEMENT_BYTES[spec.datatype] || 5);
  if (count < 0 || bytes > MAX_TENSOR_BYTES)
    throw invalidArgument(
      `a warm-up tensor for "${spec.name}" of shape [${shape}] is larger than ${MAX_TENSOR_BYTES} bytes`,
    );
  return { name: spec.name, datatype: spec.datatype, shape, data: elements(spec.datatype, count, source, seed) };
}

function elements(datatype: DataType, count: number, source: 'zero' | 'random', seed: number): Uint8Array {
  const random = seededRandom(seed);
  if (datatype === 'BYTES') {
    const data = new Uint8Array(count * (source === 'zero' ? 4 : 5));
    if (source === 'zero') return data;
    for (let i = 0; i < count; i++) {
      data[i * 5] = 1;
      data[i * 5 + 4] = 97 + Math.floor(random() * 26);
    }
    return data;
  }
  const size = ELEMENT_BYTES[datatype];
  const data = new Uint8Array(count * size);
  if (source === 'zero') return data;
  const view = new DataView(data.buffer);
  for (let i = 0; i < count; i++) {
    const value = random();
    if (datatype === 'FP32') view.setFloat32(i * 4, value, true);
    else if (datatype === 'FP64') view.setFloat64(i * 8, value, true);
    // Truncated bit patterns of values in [0.5, 1): exact enough, and finite.
    else if (datatype === 'BF16') view.setUint16(i * 2, 0x3f00 | Math.floor(value * 128), true);
    else if (datatype === 'FP16') view.setUint16(i * 2, 0x3800 | Math.floor(value * 1024), true);
    else data[i * size] = value < 0.5 ? 0 : 1;
  }
  return data;
}

/** Triton repeats a file that holds one item's data for each row of the warm-up batch. */
function fileTensor(spec: TensorSpec, batch: number, bytes: Uint8Array, what: string): Tensor {
  const shape = batch > 0 ? [batch, ...spec.dims] : spec.dims;
  const item = elementCount(spec.dims) * ELEMENT_BYTES[spec.datatype];
  if (spec.datatype === 'BYTES' || bytes.length === item * Math.max(1, batch)) {
    return { name: spec.name, datatype: spec.datatype, shape, data: bytes };
  }
  if (bytes.length !== item)
    throw invalidArgument(`${what} has ${bytes.length} bytes in its file; its shape [${spec.dims}] needs ${item}`);
  const data = new Uint8Array(item * batch);
  for (let row = 0; row < batch; row++) data.set(bytes, row * item);
  return { name: spec.name, datatype: spec.datatype, shape, data };
}
