import type { RuntimeSignature } from '../../backends/backend.ts';
import type { ModelConfig, TensorSpec } from '../../config/model-config.ts';
import { invalidArgument } from '../../shared/errors.ts';
import { fromTritonType, toTritonType } from './datatypes.ts';
import { expandDefaults } from './expand.ts';
import { normaliseConfig, plainContext } from './normalise.ts';
import { asRawModel, type RawModel, type RawTensor } from './raw-types.ts';

/**
 * max_batch_size of a model that can batch and whose configuration does not say. Triton's default is 4; the batcher here
 * is work-conserving (it never waits to fill a batch), so a larger bound costs no latency and merges more under load.
 */
export const DEFAULT_MAX_BATCH_SIZE = 64;

/**
 * Completes a normalised configuration from what the runtime says of the loaded model: tensors, types, dims,
 * max_batch_size; `raw` becomes the whole configuration with defaults. Idempotent, so preflight, executors and the
 * manager may each apply it. Throws invalid_argument naming both values where the configuration contradicts the model.
 */
export function completeConfig(
  config: ModelConfig,
  signature: RuntimeSignature,
  defaultMaxBatchSize: number = DEFAULT_MAX_BATCH_SIZE,
): ModelConfig {
  const raw: RawModel = { ...asRawModel(config.raw) };
  chooseBatching(raw, signature, config.decoupled, defaultMaxBatchSize);
  const batched = (raw.max_batch_size ?? 0) > 0;
  raw.input = mergeTensors('input', raw.input ?? [], signature.inputs, batched);
  raw.output = mergeTensors('output', raw.output ?? [], signature.outputs, batched);
  return finishConfig(config, raw);
}

/** Completes a configuration that has no runtime behind it (an ensemble): only defaults are filled in. */
export function completeEnsemble(config: ModelConfig): ModelConfig {
  const raw: RawModel = { ...asRawModel(config.raw) };
  for (const kind of ['input', 'output'] as const) {
    if ((raw[kind] ?? []).length === 0)
      throw invalidArgument(`an ensemble must declare its tensors; ${kind} is missing`);
    for (const tensor of raw[kind] ?? []) requireType(kind, tensor);
  }
  return finishConfig(config, raw);
}

function finishConfig(config: ModelConfig, raw: RawModel): ModelConfig {
  raw.max_batch_size ??= 0;
  raw.version_policy ??= { latest: { num_versions: 1 } };
  raw.model_transaction_policy ??= {};
  raw.instance_group = printedGroups(config, raw);
  const labels: Record<string, string[]> = {};
  for (const output of config.signature.outputs) if (output.labels) labels[output.name] = output.labels;
  const complete = normaliseConfig(raw as Record<string, unknown>, { ...plainContext(config.name), labels });
  return {
    ...complete,
    warmup: config.warmup,
    instanceGroups: config.instanceGroups,
    isolation: config.isolation,
    ...(config.features === undefined ? {} : { features: config.features }),
    ...(config.validation === undefined ? {} : { validation: config.validation }),
    raw: expandDefaults(complete.raw),
  };
}

/** The groups as they are really placed: a count for each, and KIND_AUTO resolved. */
function printedGroups(config: ModelConfig, raw: RawModel): RawModel['instance_group'] {
  const kinds = { cpu: 'KIND_CPU', gpu: 'KIND_GPU', remote: 'KIND_MODEL' } as const;
  return config.instanceGroups.map((group, i) => ({
    name: `${config.name}_${i}`,
    ...raw.instance_group?.[i],
    kind: kinds[group.kind],
    count: Math.max(1, group.count),
    gpus: group.gpus,
  }));
}

/** Decides max_batch_size where it is not given, and checks it where it is. */
function chooseBatching(raw: RawModel, signature: RuntimeSignature, decoupled: boolean, fallback: number): void {
  const fixed = [...signature.inputs, ...signature.outputs].find((tensor) => tensor.dims[0] !== -1);
  if (raw.max_batch_size !== undefined) {
    if (raw.max_batch_size > 0 && fixed !== undefined) {
      throw invalidArgument(
        `max_batch_size is ${raw.max_batch_size}, but the model's tensor "${fixed.name}" has shape [${fixed.dims}] without a ` +
          'variable first dimension; set max_batch_size: 0, or export the model with a dynamic batch dimension',
      );
    }
    const limit = signature.maxBatchSize;
    if (limit !== undefined && raw.max_batch_size > limit) {
      throw invalidArgument(
        `max_batch_size is ${raw.max_batch_size}, but the remote model takes batches up to ${limit}; lower max_batch_size`,
      );
    }
    return;
  }
  const batchable = signature.inputs.length > 0 && fixed === undefined && signature.maxBatchSize !== 0 && !decoupled;
  if (!batchable || declaresBatchDimension(raw, signature)) {
    raw.max_batch_size = 0;
    return;
  }
  raw.max_batch_size = signature.maxBatchSize ?? fallback;
  if (raw.max_batch_size > 1 && raw.sequence_batching === undefined) raw.dynamic_batching ??= {};
}

/** Dims given with the model's full rank already hold the batch dimension, so they describe an unbatched model. */
function declaresBatchDimension(raw: RawModel, signature: RuntimeSignature): boolean {
  const whole = (given: RawTensor[] | undefined, actual: TensorSpec[]) =>
    (given ?? []).some((tensor) => {
      const dims = tensor.reshape?.shape ?? tensor.dims;
      return dims !== undefined && actual.find((spec) => spec.name === tensor.name)?.dims.length === dims.length;
    });
  return whole(raw.input, signature.inputs) || whole(raw.output, signature.outputs);
}

function mergeTensors(
  kind: 'input' | 'output',
  given: RawTensor[],
  actual: TensorSpec[],
  batched: boolean,
): RawTensor[] {
  if (actual.length === 0) {
    // A runtime that does not know its tensors (a JavaScript transform) leaves them to the configuration.
    if (given.length === 0)
      throw invalidArgument(`${kind} is missing: the model does not describe its tensors, so the configuration must`);
    for (const tensor of given) requireType(kind, tensor);
    return given;
  }
  const merged = given.map((tensor) => {
    const spec = actual.find((candidate) => candidate.name === tensor.name);
    if (spec === undefined) {
      throw invalidArgument(
        `${kind} "${tensor.name ?? ''}" is in the configuration but not in the model; the model has ${actual.map((s) => s.name).join(', ')}`,
      );
    }
    return mergeTensor(kind, tensor, spec, batched);
  });
  // A configuration may offer fewer outputs than the model has, but the model needs all of its inputs.
  if (kind === 'output' && given.length > 0) return merged;
  for (const spec of actual) {
    if (!given.some((tensor) => tensor.name === spec.name))
      merged.push(mergeTensor(kind, { name: spec.name }, spec, batched));
  }
  return merged;
}

function mergeTensor(kind: string, given: RawTensor, spec: TensorSpec, batched: boolean): RawTensor {
  const datatype = fromTritonType(given.data_type) ?? spec.datatype;
  if (datatype !== spec.datatype) {
    throw invalidArgument(
      `${kind} "${spec.name}" has data_type ${toTritonType(datatype)} in the configuration and ${toTritonType(spec.datatype)} in the model; make them equal or leave data_type out`,
    );
  }
  const actual = batched ? spec.dims.slice(1) : spec.dims;
  const dims =
    given.dims === undefined || (given.dims.length === 0 && given.reshape === undefined) ? actual : given.dims;
  const seen = given.reshape?.shape ?? dims;
  const agrees = seen.length === actual.length && seen.every((dim, i) => actual[i] === -1 || actual[i] === dim);
  // Triton lets dims [1] stand for a scalar per item or per request.
  const scalar = actual.length === 0 && seen.length === 1 && seen[0] === 1;
  if (!agrees && !scalar) {
    const note = batched ? ' after its batch dimension' : '';
    throw invalidArgument(
      `${kind} "${spec.name}" has dims [${seen}] in the configuration and [${actual}] in the model${note}; make them equal or leave dims out`,
    );
  }
  const merged: RawTensor = { ...given, name: spec.name, data_type: toTritonType(datatype), dims };
  if (scalar && given.reshape === undefined) merged.reshape = { shape: [] };
  if (kind === 'input' && spec.optional) merged.optional = true;
  return merged;
}

function requireType(kind: string, tensor: RawTensor): void {
  if (fromTritonType(tensor.data_type) === undefined) {
    throw invalidArgument(`${kind} "${tensor.name ?? ''}" has no data_type, and nothing else tells it`);
  }
}
