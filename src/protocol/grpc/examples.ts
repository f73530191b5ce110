import type { TensorSpec } from '../../config/model-config.ts';
import { invalidArgument } from '../../shared/errors.ts';
import { encodeBytes } from '../../tensor/bytes.ts';
import { numberToBf16, numberToFp16 } from '../../tensor/half.ts';
import { ELEMENT_BYTES, type Tensor } from '../../tensor/tensor.ts';

/** tensorflow.Feature as the schema decodes it: 64-bit integers are decimal strings. */
export interface Feature {
  kind?: 'bytes_list' | 'float_list' | 'int64_list';
  bytes_list?: { value: Buffer[] };
  float_list?: { value: number[] };
  int64_list?: { value: string[] };
}

export interface Example {
  features?: { feature: Record<string, Feature> } | null;
}

export interface ExampleInput {
  kind?: 'example_list' | 'example_list_with_context';
  example_list?: { examples: Example[] };
  example_list_with_context?: { examples: Example[]; context?: Example | null };
}

/**
 * Turns examples into one tensor per model input, the examples along the first dimension: input 'x' is made of each
 * example's feature 'x', or of the shared context's. Throws invalid_argument naming the feature that does not fit.
 */
export function examplesToTensors(input: ExampleInput, specs: readonly TensorSpec[], batched: boolean): Tensor[] {
  const list = input.example_list ?? input.example_list_with_context;
  const examples = list?.examples ?? [];
  if (examples.length === 0) throw invalidArgument('input holds no examples; give at least one');
  const context = input.example_list_with_context?.context;
  return specs.map((spec) => {
    const features = examples.map((example, index) => findFeature(spec.name, example, context, index));
    return toTensor(spec, features, batched);
  });
}

function findFeature(name: string, example: Example, context: Example | null | undefined, index: number): Feature {
  const feature = own(example.features?.feature, name) ?? own(context?.features?.feature, name);
  if (feature === undefined) throw invalidArgument(`example ${index} has no feature '${name}', which the model takes`);
  return feature;
}

function own(features: Record<string, Feature> | undefined, name: string): Feature | undefined {
  return features !== undefined && Object.hasOwn(features, name) ? features[name] : undefined;
}

function toTensor(spec: TensorSpec, features: Feature[], batched: boolean): Tensor {
  const values = features.map((feature) => valuesOf(spec, feature));
  const length = values[0].length;
  for (const other of values) {
    if (other.length !== length) {
      throw invalidArgument(
        `feature '${spec.name}' has ${length} values in one example and ${other.length} in another`,
      );
    }
  }
  const dims = fitDims(spec, batched ? spec.dims : spec.dims.slice(1), length);
  const shape = [features.length, ...dims];
  const flat = values.flat();
  if (spec.datatype === 'BYTES')
    return { name: spec.name, datatype: 'BYTES', shape, data: encodeBytes(flat as Buffer[]) };
  const size = ELEMENT_BYTES[spec.datatype];
  const data = new Uint8Array(flat.length * size);
  const view = new DataView(data.buffer);
  for (let i = 0; i < flat.length; i++) writeElement(view, spec, i * size, flat[i] as number | string);
  return { name: spec.name, datatype: spec.datatype, shape, data };
}

function valuesOf(spec: TensorSpec, feature: Feature): (Buffer | number | string)[] {
  const wanted =
    spec.datatype === 'BYTES' ? 'bytes_list' : /^(FP|BF)/.test(spec.datatype) ? 'float_list' : 'int64_list';
  if (feature.kind === wanted) return feature[wanted]!.value;
  throw invalidArgument(`feature '${spec.name}' is a ${feature.kind ?? 'nothing'}; ${spec.datatype} takes a ${wanted}`);
}

/** The declared dims with at most one variable one solved so that they hold `length` values. */
function fitDims(spec: TensorSpec, declared: readonly number[], length: number): number[] {
  let known = 1;
  let open = -1;
  for (let i = 0; i < declared.length; i++) {
    if (declared[i] >= 0) known *= declared[i];
    else if (open < 0) open = i;
    else return [length];
  }
  const dims = [...declared];
  if (open >= 0) dims[open] = known === 0 ? 0 : length / known;
  if (open >= 0 ? !Number.isInteger(dims[open]) : known !== length) {
    throw invalidArgument(`feature '${spec.name}' has ${length} values per example; the model takes [${declared}]`);
  }
  return dims;
}

function writeElement(view: DataView, spec: TensorSpec, at: number, value: number | string): void {
  switch (spec.datatype) {
    case 'FP32':
      view.setFloat32(at, Number(value), true);
      return;
    case 'FP64':
      view.setFloat64(at, Number(value), true);
      return;
    case 'FP16':
      view.setUint16(at, numberToFp16(Number(value)), true);
      return;
    case 'BF16':
      view.setUint16(at, numberToBf16(Number(value)), true);
      return;
    case 'INT64':
    case 'UINT64':
      if (spec.datatype === 'UINT64' && BigInt(value) < 0n) throw outside(spec, value);
      view.setBigUint64(at, BigInt.asUintN(64, BigInt(value)), true);
      return;
    default: {
      const bits = ELEMENT_BYTES[spec.datatype] * 8;
      const whole = BigInt(value);
      const signed = spec.datatype.startsWith('INT');
      const fits = (signed ? BigInt.asIntN(bits, whole) : BigInt.asUintN(bits, whole)) === whole;
      if (!fits || (spec.datatype === 'BOOL' && whole > 1n)) throw outside(spec, value);
      if (bits === 32) view.setInt32(at, Number(whole) | 0, true);
      else if (bits === 16) view.setInt16(at, Number(whole), true);
      else view.setInt8(at, Number(whole));
    }
  }
}

function outside(spec: TensorSpec, value: number | string): Error {
  return invalidArgument(`feature '${spec.name}': ${value} is outside ${spec.datatype}`);
}
