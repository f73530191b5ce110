import type { TensorSpec } from '../../config/model-config.ts';
import { invalidArgument, SwitchyardError, toSwitchyardError } from '../../shared/errors.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import type { Backend, BackendModel, ExecuteOptions, LoadSpec, RuntimeSignature } from '../backend.ts';
import { locateModel, type ModelFiles } from './files.ts';
import { loadError, runError } from './messages.ts';
import { TensorNames } from './names.ts';
import { planSession, type SessionPlan } from './options.ts';
import { type OnnxRuntimeWay, onnxRuntimeWay } from './runtime-way.ts';
import { type NativeSession, type NativeTensor, type NativeValueInfo, openSession } from './session.ts';
import { SharedOnnxModel } from './shared-model.ts';
import { openShared, sharedProblem } from './shared-session.ts';
import { datatypeOf, fromNative, toNative } from './tensors.ts';

/** Weights live in the file's bytes once more after prepacking, and runs need an arena. */
const RESIDENT_FACTOR = 2;
const SESSION_BYTES = 512 * 1024;

/** ONNX Runtime on the calling thread: `load` and `execute` block it. */
export class OnnxBackend implements Backend {
  readonly name = 'onnxruntime';
  readonly blocking = true;
  readonly #way: OnnxRuntimeWay;

  /** Throws where SWITCHYARD_ONNX_RUNTIME names no way. */
  constructor(way: OnnxRuntimeWay = onnxRuntimeWay()) {
    this.#way = way;
  }

  /** @throws SwitchyardError failed_precondition, unsupported or invalid_argument, free of machine paths */
  async load(spec: LoadSpec): Promise<BackendModel> {
    const files = await locateModel(spec);
    const plan = planSession(spec.config.parameters, spec.config.raw.optimization, spec.device);
    for (const warning of plan.warnings)
      process.emitWarning(`model "${spec.model}" version ${spec.version}: ${warning}`);
    const memoryBytes = Math.ceil(files.bytes * RESIDENT_FACTOR) + SESSION_BYTES;
    const loaded = sharesSessions(this.#way, plan) ? loadShared : loadOwn;
    try {
      return loaded(spec.model, files, plan, memoryBytes);
    } catch (error) {
      if (error instanceof SwitchyardError) throw error;
      throw loadError(spec.model, spec.version, files.name, [spec.directory, spec.modelDirectory], error);
    }
  }
}

/** Whether the addon loads this model: as configured, where it can, and on the CPU only. */
function sharesSessions(way: OnnxRuntimeWay, plan: SessionPlan): boolean {
  const onCpu = plan.options.executionProviders?.every((each) => (each as { name: string }).name === 'cpu') ?? true;
  if (way === 'node' || !onCpu) return false;
  const problem = sharedProblem();
  if (problem === '') return true;
  if (way === 'auto') return false;
  const remedy = 'set models.onnxRuntime to auto or node, or run: npm run build:native';
  throw new SwitchyardError('failed_precondition', `models.onnxRuntime is native, but ${problem}; ${remedy}`);
}

function loadOwn(model: string, files: ModelFiles, plan: SessionPlan, memoryBytes: number): BackendModel {
  const session = openSession(files.path, plan.options);
  try {
    const signature = signatureOf(session.inputMetadata, session.outputMetadata, false);
    return new OnnxModel(model, session, signature, memoryBytes);
  } catch (error) {
    session.dispose();
    throw toSwitchyardError(error);
  }
}

function loadShared(model: string, files: ModelFiles, plan: SessionPlan, memoryBytes: number): BackendModel {
  const session = openShared(files.path, files.identity, plan.options);
  try {
    const signature = signatureOf(session.inputs, session.outputs, true);
    return new SharedOnnxModel(model, session, signature, session.fresh ? memoryBytes : SESSION_BYTES);
  } catch (error) {
    session.close();
    throw toSwitchyardError(error);
  }
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
