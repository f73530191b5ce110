import { dirname } from 'node:path';
import type { TensorSpec } from '../../config/model-config.ts';
import { invalidArgument, SwitchyardError, toSwitchyardError } from '../../shared/errors.ts';
import { native } from '../../tensor/native.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import type { Backend, BackendModel, ExecuteOptions, LoadSpec, RuntimeSignature } from '../backend.ts';
import { gpuInstances, hasFixedTensors, instanceDevices, slotsFor } from '../instances.ts';
import { carriedRuntime, cudaRuntimeName, runtimeLibrary } from './cuda-provider.ts';
import { locateModel, type ModelFiles } from './files.ts';
import { graphBuckets, planGpu } from './gpu-options.ts';
import { loadError, runError } from './messages.ts';
import { TensorNames } from './names.ts';
import { operatorLibraries } from './operators.ts';
import { planSession, type SessionPlan } from './options.ts';
import { type OnnxRuntimeWay, onnxRuntimeWay } from './runtime-way.ts';
import { type NativeSession, type NativeTensor, type NativeValueInfo, openSession } from './session.ts';
import { SharedOnnxModel } from './shared-model.ts';
import { nativeOperators, nativeOptions, nativeProviders, openShared, sharedProblem } from './shared-session.ts';
import { StagedOnnxModel } from './staged-model.ts';
import { openStager } from './stager.ts';
import { datatypeOf, fromNative, toNative } from './tensors.ts';

/** Weights live in the file's bytes once more after prepacking, and runs need an arena. */
const RESIDENT_FACTOR = 2;
const SESSION_BYTES = 512 * 1024;

/** ONNX Runtime on the calling thread: `execute` blocks it, and so does `load`, except of shared sessions on the CPU. */
export class OnnxBackend implements Backend {
  readonly name = 'onnxruntime';
  readonly blocking = true;
  readonly #way: OnnxRuntimeWay;

  /** Throws where SWITCHYARD_ONNX_RUNTIME names no way. */
  constructor(way: OnnxRuntimeWay = onnxRuntimeWay()) {
    this.#way = way;
  }

  prepare(): void {
    if (this.#way !== 'node') sharedProblem();
  }

  /** @throws SwitchyardError failed_precondition, unsupported or invalid_argument, free of machine paths */
  async load(spec: LoadSpec): Promise<BackendModel> {
    const files = await locateModel(spec);
    const { parameters, raw, instanceGroups } = spec.config;
    const plan = planSession(parameters, raw.optimization, spec.device);
    const onCpu = plan.options.executionProviders?.every((each) => (each as { name: string }).name === 'cpu') ?? true;
    const memoryBytes = Math.ceil(files.bytes * RESIDENT_FACTOR) + SESSION_BYTES;
    const operators = await operatorLibraries(spec);
    const job: LoadJob = { spec, files, plan, operators: nativeOperators(operators), memoryBytes };
    // Also before onnxruntime-node loads a model: the first to open the runtime decides on the threads that models share.
    const shared = this.#way !== 'node' && usable(this.#way);
    try {
      if (!shared) {
        if (operators.length > 0) throw needsAddon(spec);
        for (const warning of plan.warnings)
          process.emitWarning(`model "${spec.model}" version ${spec.version}: ${warning}`);
        return loadOwn(job);
      }
      if (onCpu) return await loadShared(job);
      const missing = process.env.SWITCHYARD_ONNX_CUDA_PROBLEM;
      if (missing)
        throw new SwitchyardError('failed_precondition', `model "${spec.model}" was not put on a GPU: ${missing}`);
      const gpus = gpuInstances(instanceDevices(instanceGroups));
      const staged = gpus.length > 0 && hasFixedTensors(spec.config);
      return staged ? await loadStaged(job, gpus) : await loadOnGpu(job);
    } catch (error) {
      if (error instanceof SwitchyardError) throw error;
      throw loadError(spec.model, spec.version, files.name, [spec.directory, spec.modelDirectory], error);
    }
  }
}

interface LoadJob {
  spec: LoadSpec;
  files: ModelFiles;
  plan: SessionPlan;
  operators: string[][];
  memoryBytes: number;
}

/** Whether the addon's sessions can be used. Throws where they cannot and must. */
function usable(way: OnnxRuntimeWay): boolean {
  const problem = sharedProblem();
  if (problem === '') return true;
  if (way === 'auto') return false;
  const remedy = 'set models.onnxRuntime to auto or node, or run: npm run build:native';
  throw new SwitchyardError('failed_precondition', `models.onnxRuntime is native, but ${problem}; ${remedy}`);
}

/** onnxruntime-node has no way to register operators. */
function needsAddon({ model, version }: LoadSpec): SwitchyardError {
  const why = sharedProblem() || 'models.onnxRuntime is node';
  return new SwitchyardError(
    'failed_precondition',
    `model "${model}" version ${version} was not loaded: its custom operators need the addon's ONNX Runtime, and ${why}; set models.onnxRuntime to auto, or run: npm run build:native`,
  );
}

function loadOwn({ spec, files, plan, memoryBytes }: LoadJob): BackendModel {
  const session = openSession(files.path, plan.options);
  try {
    const signature = signatureOf(session.inputMetadata, session.outputMetadata, false);
    return new OnnxModel(spec.model, session, signature, memoryBytes);
  } catch (error) {
    session.dispose();
    throw toSwitchyardError(error);
  }
}

async function loadShared(
  { spec, files, plan, operators, memoryBytes }: LoadJob,
  providers: string[][] = [],
): Promise<BackendModel> {
  const session = await openShared(files.path, files.identity, plan, providers, operators);
  try {
    const signature = signatureOf(session.inputs, session.outputs, true);
    const bytes = session.fresh ? memoryBytes : SESSION_BYTES;
    return new SharedOnnxModel(spec.model, session, signature, bytes, providers.length === 0);
  } catch (error) {
    session.close();
    throw toSwitchyardError(error);
  }
}

/** A model whose tensors have no fixed size: ONNX Runtime copies them to the GPU and back, and its thread waits. */
function loadOnGpu(job: LoadJob): Promise<BackendModel> {
  const { parameters, raw } = job.spec.config;
  const { providers, graphs } = planGpu(parameters, raw.optimization);
  if (graphs)
    throw invalidArgument(
      'CUDA graphs need tensors of fixed size: give input and output with all their dims, or drop the graphs',
    );
  const device = job.spec.device >= 0 ? job.spec.device : Number(parameters.device_id ?? 0);
  return loadShared(job, nativeProviders(providers, device));
}

async function loadStaged(
  { spec, files, plan, operators, memoryBytes }: LoadJob,
  gpus: readonly { device: number; instances: number }[],
): Promise<BackendModel> {
  const { parameters, raw, signature, batching } = spec.config;
  const gpu = planGpu(parameters, raw.optimization);
  const { maxBatchSize } = signature;
  const buckets = gpu.graphs ? graphBuckets(maxBatchSize, batching.allowedBatchSizes, gpu.graphSizes) : [];
  const { numbers, entries } = nativeOptions(plan.options, plan.ownThreads ? 'own' : 'shared');
  const library = cudaRuntimeName(dirname(process.env.SWITCHYARD_ONNX_LIBRARY || runtimeLibrary(carriedRuntime())));
  const tensors = [signature.inputs, signature.outputs];
  const shapes = tensors.flatMap((list) => [list.length, ...list.flatMap(({ dims }) => [dims.length, ...dims])]);
  const names = tensors.flat().map(({ name }) => name);
  const opened = await Promise.allSettled(
    gpus.map(({ device, instances }) => {
      const head = [device, slotsFor(instances), maxBatchSize, gpu.memoryLimit, buckets.length, ...buckets];
      const extensions = [...operators, ...nativeProviders(gpu.providers, device)];
      return openStager(native!, device, (_, wake) =>
        native!.stageOpen(
          library,
          files.path,
          numbers,
          entries,
          extensions,
          Float64Array.from([...head, ...shapes]),
          names,
          wake,
        ),
      );
    }),
  );
  const stagers = opened.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []));
  const failed = opened.find((each) => each.status === 'rejected');
  if (failed !== undefined) {
    for (const stager of stagers) stager.close();
    throw failed.reason;
  }
  const batch = maxBatchSize > 0 ? [-1] : [];
  const whole = (specs: TensorSpec[]) =>
    specs.map(({ name, datatype, dims }) => ({ name, datatype, dims: [...batch, ...dims] }));
  const staged = { inputs: whole(signature.inputs), outputs: whole(signature.outputs) };
  return new StagedOnnxModel(spec.model, stagers, staged, maxBatchSize > 0, memoryBytes);
}

class OnnxModel implements BackendModel {
  readonly signature: RuntimeSignature;
  readonly concurrency = 1;
  readonly memoryBytes: number;
  readonly #model: string;
  #session: NativeSession | undefined;
  readonly #names: TensorNames;
  readonly #fetchAll: Record<string, null>;
  readonly #runOptions = {};

  constructor(model: string, session: NativeSession, signature: RuntimeSignature, memoryBytes: number) {
    this.#model = model;
    this.#session = session;
    this.signature = signature;
    this.memoryBytes = memoryBytes;
    this.#names = new TensorNames(model, signature);
    this.#fetchAll = emptyRecord();
    for (const name of this.#names.outputs.keys()) this.#fetchAll[name] = null;
  }

  execute(inputs: Tensor[], options: ExecuteOptions): Tensor[] {
    if (this.#session === undefined) throw new SwitchyardError('unavailable', `model "${this.#model}" is unloaded`);
    this.#names.checkInputs(inputs);
    const feeds = emptyRecord<NativeTensor>();
    for (const input of inputs) feeds[input.name] = toNative(input);
    const fetches = options.outputs.length === 0 ? this.#fetchAll : this.#fetches(options.outputs);
    let results: Record<string, NativeTensor>;
    try {
      results = this.#session.run(feeds, fetches, this.#runOptions);
    } catch (error) {
      throw runError(this.#model, error);
    }
    const names = options.outputs.length === 0 ? this.#names.outputs.keys() : options.outputs;
    const outputs: Tensor[] = [];
    for (const name of names) outputs.push(fromNative(name, this.#names.output(name).datatype, results[name]));
    return outputs;
  }

  async unload(): Promise<void> {
    this.#session?.dispose();
    this.#session = undefined;
  }

  #fetches(names: readonly string[]): Record<string, null> {
    const fetches = emptyRecord<null>();
    for (const name of names) {
      this.#names.output(name);
      fetches[name] = null;
    }
    return fetches;
  }
}

/** Names come from models and clients: `__proto__` must be a name like any other. */
function emptyRecord<T = null>(): Record<string, T> {
  return Object.create(null) as Record<string, T>;
}

function signatureOf(inputs: NativeValueInfo[], outputs: NativeValueInfo[], bf16: boolean): RuntimeSignature {
  return {
    inputs: inputs.map((info) => specOf('input', info, bf16)),
    outputs: outputs.map((info) => specOf('output', info, bf16)),
  };
}

function specOf(kind: string, info: NativeValueInfo, bf16: boolean): TensorSpec {
  if (!info.isTensor) {
    throw invalidArgument(`${kind} "${info.name}" is a sequence, map or optional; only tensors can be served`);
  }
  return { name: info.name, datatype: datatypeOf(info.type, `${kind} "${info.name}"`, bf16), dims: [...info.shape] };
}
