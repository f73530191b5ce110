import type { EnsembleStep, InstanceGroup, ModelConfig, TensorSpec, WarmupSpec } from '../../config/model-config.ts';
import { invalidArgument } from '../../shared/errors.ts';
import { MAX_RANK } from '../../tensor/tensor.ts';
import { chooseBackend, isRemote } from './backends.ts';
import { batchingConfig } from './batching.ts';
import { fromTritonType } from './datatypes.ts';
import { type Extensions, readExtensions } from './extensions.ts';
import type { RawConfig } from './map.ts';
import { asRawModel, type RawModel, type RawTensor, type RawWarmup } from './raw-types.ts';

export interface NormaliseContext {
  /** The folder's name; a `name` in the configuration must equal it. */
  name: string;
  /** Names of the files inside the versions' folders, to tell the backend by. */
  files: readonly string[];
  /** Output name → class labels, read from label_filename. */
  labels: Readonly<Record<string, string[]>>;
  /** Resolves a file name of model_warmup to where its bytes are. */
  warmupFile: (name: string) => string;
  /** GPUs that ONNX models can run on here; KIND_AUTO takes them when there are any. */
  gpus: number;
  defaultIsolation: 'thread' | 'process';
}

/** Context of a configuration that names no files: for tests and configurations from other servers. */
export function plainContext(name: string): NormaliseContext {
  return { name, files: [], labels: {}, warmupFile: (file) => file, gpus: 0, defaultIsolation: 'thread' };
}

/**
 * Triton's ModelConfig (only what was given) → our normal form with Triton's defaults. Tensors may still be missing or
 * lack dims: completeConfig adds them from the loaded model. Throws invalid_argument naming field, value and remedy.
 */
export function normaliseConfig(source: RawConfig, context: NormaliseContext): ModelConfig {
  const raw = asRawModel(source);
  if (raw.name !== undefined && raw.name !== '' && raw.name !== context.name) {
    throw invalidArgument(
      `name is "${raw.name}" but the model's folder is "${context.name}"; make them equal or leave name out`,
    );
  }
  const { backend, platform } = chooseBackend(raw, context.files);
  const parameters = flatParameters(raw);
  const extensions = readExtensions(parameters);
  const maxBatchSize = raw.max_batch_size ?? 0;
  if (maxBatchSize < 0) throw invalidArgument(`max_batch_size is ${maxBatchSize}; allowed: 0 (no batching) or more`);
  refuseUnserved(raw, backend);
  const customOperators = (raw.model_operations?.op_library_filename ?? []).length > 0;
  return {
    name: context.name,
    backend,
    platform,
    signature: {
      inputs: tensors(raw.input, 'input', maxBatchSize, extensions, {}),
      outputs: tensors(raw.output, 'output', maxBatchSize, extensions, context.labels),
      maxBatchSize,
    },
    batching: batchingConfig(raw, maxBatchSize, extensions.allowedBatchSizes),
    instanceGroups: instanceGroups(raw, backend, context.gpus),
    ensemble: raw.ensemble_scheduling === undefined ? undefined : ensembleSteps(raw.ensemble_scheduling.step ?? []),
    maxInflight: extensions.maxInflight || (raw.ensemble_scheduling?.max_inflight_requests ?? 0),
    versionPolicy: versionPolicy(raw.version_policy),
    versionLabels: extensions.versionLabels,
    responseCache: raw.response_cache?.enable ?? false,
    decoupled: raw.model_transaction_policy?.decoupled ?? false,
    isolation: extensions.isolation ?? (customOperators ? 'process' : context.defaultIsolation),
    warmup: (raw.model_warmup ?? []).map((warmup, i) => warmupSpec(warmup, i, context)),
    parameters,
    latencyTargetMs: extensions.latencyTargetMs,
    raw: { ...source, name: context.name, platform, backend: backend === 'ensemble' ? '' : backend },
  };
}

function refuseUnserved(raw: RawModel, backend: string): void {
  if ((raw.model_repository_agents?.agents ?? []).length > 0) {
    throw invalidArgument('model_repository_agents is not supported; leave it out');
  }
  if (isRemote(backend)) return;
  if (raw.sequence_batching !== undefined) {
    throw invalidArgument(
      'sequence_batching is not served by local models; keep the state in the client, or serve the model by a Triton behind backend "triton"',
    );
  }
  if ((raw.batch_input ?? []).length > 0 || (raw.batch_output ?? []).length > 0) {
    throw invalidArgument(
      'batch_input and batch_output are not supported; ragged inputs are padded by the gateway (allow_ragged_batch, switchyard.ragged_pad_value)',
    );
  }
}

/** Null-prototype: parameter names come from files and load requests. */
function flatParameters(raw: RawModel): Record<string, string> {
  const result: Record<string, string> = Object.create(null);
  for (const [key, value] of Object.entries(raw.parameters ?? {})) result[key] = value.string_value ?? '';
  return result;
}

function tensors(
  list: RawTensor[] | undefined,
  kind: 'input' | 'output',
  maxBatchSize: number,
  extensions: Extensions,
  labels: Readonly<Record<string, string[]>>,
): TensorSpec[] {
  const seen = new Set<string>();
  return (list ?? []).map((raw, i) => {
    const name = raw.name ?? '';
    if (name === '') throw invalidArgument(`${kind}[${i}] has no name`);
    if (seen.has(name)) throw invalidArgument(`${kind} "${name}" is declared twice`);
    seen.add(name);
    const dims = checkedDims(raw.dims ?? [], `${kind} "${name}" dims`);
    const spec: TensorSpec = { name, datatype: fromTritonType(raw.data_type) ?? 'FP32', dims };
    if (raw.optional) spec.optional = true;
    if (raw.allow_ragged_batch) {
      if (maxBatchSize === 0)
        throw invalidArgument(
          `input "${name}" has allow_ragged_batch but max_batch_size is 0; ragged inputs need a batch dimension`,
        );
      spec.ragged = true;
      spec.padValue = extensions.raggedPadValue;
    }
    if (raw.reshape !== undefined) spec.reshape = checkedReshape(raw.reshape.shape ?? [], dims, `${kind} "${name}"`);
    if (Object.hasOwn(labels, name)) spec.labels = labels[name];
    return spec;
  });
}

function checkedDims(dims: number[], what: string): number[] {
  if (dims.length > MAX_RANK)
    throw invalidArgument(`${what} has ${dims.length} dimensions; allowed: up to ${MAX_RANK}`);
  const wrong = dims.find((dim) => dim < 1 && dim !== -1);
  if (wrong !== undefined) throw invalidArgument(`${what} holds ${wrong}; allowed: -1 (variable) or 1 and more`);
  return dims;
}

function checkedReshape(shape: number[], dims: number[], what: string): number[] {
  checkedDims(shape, `${what} reshape.shape`);
  const variable = (list: number[]) => list.filter((dim) => dim === -1).length;
  const product = (list: number[]) => list.reduce((size, dim) => (dim === -1 ? size : size * dim), 1);
  if (variable(shape) !== variable(dims) || (variable(dims) === 0 && product(shape) !== product(dims))) {
    throw invalidArgument(`${what} reshape.shape [${shape}] does not hold as many elements as dims [${dims}]`);
  }
  return shape;
}

function instanceGroups(raw: RawModel, backend: string, gpus: number): InstanceGroup[] {
  const groups = raw.instance_group ?? [];
  if (backend === 'ensemble') {
    if (groups.length > 0) throw invalidArgument('instance_group has no meaning for an ensemble; leave it out');
    return [];
  }
  const providers = raw.parameters?.execution_providers?.string_value ?? '';
  const mayUseGpu = backend === 'onnxruntime' && (providers === '' || /cuda|tensorrt/i.test(providers));
  const kindOf = (kind: string, given: number[]): InstanceGroup['kind'] => {
    if (isRemote(backend)) return 'remote';
    if (kind === 'KIND_GPU') return 'gpu';
    return kind === 'KIND_AUTO' && ((gpus > 0 && mayUseGpu) || given.length > 0) ? 'gpu' : 'cpu';
  };
  if (groups.length === 0) return [{ kind: kindOf('KIND_AUTO', []), count: 0, gpus: [] }];
  return groups.map((group, i) => {
    const count = group.count ?? 1;
    if (count < 0 || count > 1024) throw invalidArgument(`instance_group[${i}].count is ${count}; allowed: 1 to 1024`);
    const list = group.gpus ?? [];
    const kind = group.kind ?? 'KIND_AUTO';
    if (kind === 'KIND_CPU' && list.length > 0)
      throw invalidArgument(`instance_group[${i}] is KIND_CPU but lists gpus [${list}]; drop one of them`);
    return { kind: kindOf(kind, list), count: Math.max(1, count), gpus: list };
  });
}

function ensembleSteps(steps: NonNullable<NonNullable<RawModel['ensemble_scheduling']>['step']>): EnsembleStep[] {
  if (steps.length === 0) throw invalidArgument('ensemble_scheduling has no step');
  return steps.map((step, i) => {
    if (!step.model_name) throw invalidArgument(`ensemble_scheduling.step[${i}] has no model_name`);
    const version = step.model_version ?? -1;
    if (version !== -1 && version < 1) {
      throw invalidArgument(
        `ensemble_scheduling.step[${i}].model_version is ${version}; allowed: -1 (by version policy) or a version`,
      );
    }
    return {
      modelName: step.model_name,
      modelVersion: version === -1 ? '' : String(version),
      inputMap: step.input_map ?? {},
      outputMap: step.output_map ?? {},
    };
  });
}

function versionPolicy(raw: RawModel['version_policy']): ModelConfig['versionPolicy'] {
  if (raw?.all !== undefined) return { kind: 'all' };
  if (raw?.specific !== undefined) {
    const versions = raw.specific.versions ?? [];
    if (versions.length === 0) throw invalidArgument('version_policy.specific lists no versions');
    return { kind: 'specific', versions: [...new Set(versions)] };
  }
  const count = raw?.latest?.num_versions ?? 1;
  if (raw?.latest !== undefined && count < 1)
    throw invalidArgument(`version_policy.latest.num_versions is ${count}; allowed: 1 or more`);
  return { kind: 'latest', count };
}

function warmupSpec(raw: RawWarmup, index: number, context: NormaliseContext): WarmupSpec {
  const inputs: WarmupSpec['inputs'] = Object.create(null);
  for (const [name, input] of Object.entries(raw.inputs ?? {})) {
    const what = `model_warmup[${index}].inputs["${name}"]`;
    const datatype = fromTritonType(input.data_type);
    if (datatype === undefined) throw invalidArgument(`${what} has no data_type`);
    const dims = checkedDims(input.dims ?? [], `${what} dims`);
    if (dims.includes(-1))
      throw invalidArgument(`${what} dims are [${dims}]; a warm-up request needs fixed dimensions`);
    const file = input.input_data_file;
    if (file === undefined && !input.zero_data && !input.random_data) {
      throw invalidArgument(`${what} names no data; give zero_data, random_data or input_data_file`);
    }
    inputs[name] = {
      datatype,
      dims,
      source: file !== undefined ? { file: context.warmupFile(file) } : input.random_data ? 'random' : 'zero',
    };
  }
  return {
    name: raw.name ?? `warmup ${index}`,
    batchSize: raw.batch_size ?? 0,
    count: Math.max(1, raw.count ?? 1),
    inputs,
  };
}
