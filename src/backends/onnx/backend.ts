import type { TensorSpec } from '../../config/model-config.ts';
import { invalidArgument, SwitchyardError, toSwitchyardError } from '../../shared/errors.ts';
import type { DataType, Tensor } from '../../tensor/tensor.ts';
import type { Backend, BackendModel, ExecuteOptions, LoadSpec, RuntimeSignature } from '../backend.ts';
import { locateModel } from './files.ts';
import { loadError, runError } from './messages.ts';
import { planSession } from './options.ts';
import { type NativeSession, type NativeTensor, type NativeValueInfo, openSession } from './session.ts';
import { datatypeOf, fromNative, toNative } from './tensors.ts';

/** Weights live in the file's bytes once more after prepacking, and runs need an arena. */
const RESIDENT_FACTOR = 2;
const SESSION_BYTES = 512 * 1024;

/** ONNX Runtime on the calling thread: `load` and `execute` block it. */
export class OnnxBackend implements Backend {
  readonly name = 'onnxruntime';
  readonly blocking = true;

  /** @throws SwitchyardError failed_precondition, unsupported or invalid_argument, free of machine paths */
  async load(spec: LoadSpec): Promise<BackendModel> {
    const files = await locateModel(spec);
    const plan = planSession(spec.config.parameters, spec.config.raw.optimization, spec.device);
    for (const warning of plan.warnings)
      process.emitWarning(`model "${spec.model}" version ${spec.version}: ${warning}`);
    let session: NativeSession;
    try {
      session = openSession(files.path, plan.options);
    } catch (error) {
      throw loadError(spec.model, spec.version, files.name, [spec.directory, spec.modelDirectory], error);
    }
    try {
      const memoryBytes = Math.ceil(files.bytes * RESIDENT_FACTOR) + SESSION_BYTES;
      return new OnnxModel(spec.model, session, memoryBytes);
    } catch (error) {
      session.dispose();
      throw toSwitchyardError(error);
    }
  }
}

class OnnxModel implements BackendModel {
  readonly signature: RuntimeSignature;
  readonly concurrency = 1;
  readonly memoryBytes: number;
  readonly #model: string;
  #session: NativeSession | undefined;
  readonly #inputs: Map<string, DataType>;
  readonly #outputs: Map<string, DataType>;
  readonly #fetchAll: Record<string, null>;
  readonly #runOptions = {};

  constructor(model: string, session: NativeSession, memoryBytes: number) {
    this.#model = model;
    this.#session = session;
    this.memoryBytes = memoryBytes;
    this.signature = {
      inputs: session.inputMetadata.map((info) => specOf('input', info)),
      outputs: session.outputMetadata.map((info) => specOf('output', info)),
    };
    this.#inputs = new Map(this.signature.inputs.map((input) => [input.name, input.datatype]));
    this.#outputs = new Map(this.signature.outputs.map((output) => [output.name, output.datatype]));
    this.#fetchAll = emptyRecord();
    for (const name of this.#outputs.keys()) this.#fetchAll[name] = null;
  }

  execute(inputs: Tensor[], options: ExecuteOptions): Tensor[] {
    if (this.#session === undefined) throw new SwitchyardError('unavailable', `model "${this.#model}" is unloaded`);
    const feeds = this.#feeds(inputs);
    const fetches = options.outputs.length === 0 ? this.#fetchAll : this.#fetches(options.outputs);
    let results: Record<string, NativeTensor>;
    try {
      results = this.#session.run(feeds, fetches, this.#runOptions);
    } catch (error) {
      throw runError(this.#model, error);
    }
    const outputs: Tensor[] = [];
    if (options.outputs.length === 0) {
      for (const [name, datatype] of this.#outputs) outputs.push(fromNative(name, datatype, results[name]));
    } else {
      for (const name of options.outputs) outputs.push(fromNative(name, this.#outputs.get(name)!, results[name]));
    }
    return outputs;
  }

  async unload(): Promise<void> {
    this.#session?.dispose();
    this.#session = undefined;
  }

  /** A kernel may read a missing input without a check, so that none may be left out is decided here. */
  #feeds(inputs: Tensor[]): Record<string, NativeTensor> {
    const feeds = emptyRecord<NativeTensor>();
    for (let i = 0; i < inputs.length; i++) {
      const input = inputs[i];
      const datatype = this.#inputs.get(input.name);
      if (datatype === undefined) throw this.#unknown('input', input.name, this.#inputs);
      if (datatype !== input.datatype) {
        throw invalidArgument(`input "${input.name}" is ${input.datatype}; model "${this.#model}" takes ${datatype}`);
      }
      if (feeds[input.name] !== undefined) throw invalidArgument(`input "${input.name}" is given twice`);
      feeds[input.name] = toNative(input);
    }
    if (inputs.length !== this.#inputs.size) {
      for (const name of this.#inputs.keys()) {
        if (feeds[name] === undefined) throw invalidArgument(`input "${name}" of model "${this.#model}" is missing`);
      }
    }
    return feeds;
  }

  #fetches(names: readonly string[]): Record<string, null> {
    const fetches = emptyRecord<null>();
    for (const name of names) {
      if (!this.#outputs.has(name)) throw this.#unknown('output', name, this.#outputs);
      fetches[name] = null;
    }
    return fetches;
  }

  #unknown(kind: string, name: string, known: Map<string, DataType>) {
    return invalidArgument(`model "${this.#model}" has no ${kind} "${name}"; it has ${[...known.keys()].join(', ')}`);
  }
}

/** Names come from models and clients: `__proto__` must be a name like any other. */
function emptyRecord<T = null>(): Record<string, T> {
  return Object.create(null) as Record<string, T>;
}

function specOf(kind: string, info: NativeValueInfo): TensorSpec {
  if (!info.isTensor) {
    throw invalidArgument(`${kind} "${info.name}" is a sequence, map or optional; only tensors can be served`);
  }
  return { name: info.name, datatype: datatypeOf(info.type, `${kind} "${info.name}"`), dims: [...info.shape] };
}
