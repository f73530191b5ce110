import type { TensorSpec } from '../../config/model-config.ts';
import { monotonicMs } from '../../shared/clock.ts';
import { SwitchyardError } from '../../shared/errors.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import type { Backend, BackendModel, ExecuteOptions, LoadSpec, RuntimeSignature } from '../backend.ts';
import { importModule, MODULE_FILE, type ScriptContext, type ScriptModule, scriptError } from './module.ts';
import { fromScriptOutputs, toScriptInputs } from './tensors.ts';

const NO_PARAMETERS: Readonly<Record<string, string | number | boolean>> = Object.freeze({});

/**
 * Transform steps and small models written as ES modules. The module runs with the rights of its executor; models
 * from others belong into `isolation: process`.
 */
export const javascriptBackend: Backend = {
  name: 'javascript',
  blocking: true,
  /** Throws failed_precondition when the module is missing, does not import, or its `initialize` throws. */
  async load(spec: LoadSpec): Promise<BackendModel> {
    const { outputs } = spec.config.signature;
    if (outputs.length === 0) {
      throw new SwitchyardError(
        'failed_precondition',
        `model "${spec.model}": the javascript backend needs its outputs declared in the configuration`,
      );
    }
    const { module, bytes } = await importModule(spec);
    try {
      await module.initialize?.({
        model: spec.model,
        version: spec.version,
        parameters: spec.config.parameters,
        config: spec.config.raw,
        directory: spec.directory,
      });
    } catch (thrown) {
      throw new SwitchyardError('failed_precondition', scriptError(thrown, 'initialize', spec).message, {
        cause: thrown,
      });
    }
    const model = new ScriptModel(spec, module, bytes);
    return module.executeStream === undefined ? model : Object.assign(model, { executeStream: model.stream });
  },
};

class ScriptModel implements BackendModel {
  readonly signature: RuntimeSignature;
  /** An async `execute` may have several batches in flight when the `concurrency` parameter says so. */
  readonly concurrency: number;
  readonly memoryBytes: number;
  readonly #spec: LoadSpec;
  readonly #module: ScriptModule;
  readonly #label: string;

  constructor(spec: LoadSpec, module: ScriptModule, bytes: number) {
    const { inputs, outputs, maxBatchSize } = spec.config.signature;
    const runtime = (tensor: TensorSpec): TensorSpec => {
      const dims = tensor.reshape ?? tensor.dims;
      return { ...tensor, dims: maxBatchSize > 0 ? [-1, ...dims] : dims };
    };
    this.signature = { inputs: inputs.map(runtime), outputs: outputs.map(runtime) };
    this.concurrency = concurrencyOf(spec);
    this.memoryBytes = bytes;
    this.#spec = spec;
    this.#module = module;
    this.#label = `model "${spec.model}" version ${spec.version}`;
  }

  execute(inputs: Tensor[], options: ExecuteOptions): Tensor[] | Promise<Tensor[]> {
    if (this.#module.execute === undefined) {
      throw new SwitchyardError(
        'unsupported',
        `${this.#label} is decoupled and exports no "execute": ask for it over a streaming method`,
      );
    }
    let answer: unknown;
    try {
      answer = this.#module.execute(toScriptInputs(inputs), this.#context(options));
    } catch (thrown) {
      throw scriptError(thrown, 'execute', this.#spec);
    }
    if (answer instanceof Promise) return this.#settle(answer, options);
    return fromScriptOutputs(answer, this.signature.outputs, options.outputs, this.#label);
  }

  /** One response for each value the module's generator yields. */
  async *stream(inputs: Tensor[], options: ExecuteOptions): AsyncIterable<Tensor[]> {
    try {
      const answers = this.#module.executeStream?.(toScriptInputs(inputs), this.#context(options));
      if (typeof answers?.[Symbol.asyncIterator] !== 'function') {
        throw new SwitchyardError('internal', `${this.#label}: executeStream must be an async generator function`);
      }
      for await (const answer of answers) {
        yield fromScriptOutputs(answer, this.signature.outputs, options.outputs, this.#label);
      }
    } catch (thrown) {
      throw scriptError(thrown, 'executeStream', this.#spec);
    }
  }

  async unload(): Promise<void> {
    try {
      await this.#module.finalize?.();
    } catch (thrown) {
      throw scriptError(thrown, 'finalize', this.#spec);
    }
  }

  async #settle(answer: Promise<unknown>, options: ExecuteOptions): Promise<Tensor[]> {
    let settled: unknown;
    try {
      settled = await answer;
    } catch (thrown) {
      throw scriptError(thrown, 'execute', this.#spec);
    }
    return fromScriptOutputs(settled, this.signature.outputs, options.outputs, this.#label);
  }

  #context(options: ExecuteOptions): ScriptContext {
    return {
      model: this.#spec.model,
      version: this.#spec.version,
      outputs: options.outputs,
      remainingMs: options.deadline === Infinity ? Infinity : Math.max(0, options.deadline - monotonicMs()),
      parameters: options.parameters ?? NO_PARAMETERS,
      signal: options.signal,
    };
  }
}

function concurrencyOf(spec: LoadSpec): number {
  const text = spec.config.parameters.concurrency;
  if (text === undefined) return 1;
  const value = Number(text);
  if (Number.isInteger(value) && value >= 1 && value <= 1024) return value;
  throw new SwitchyardError(
    'failed_precondition',
    `model "${spec.model}": parameter "concurrency" of ${MODULE_FILE} is "${text}"; allowed is a whole number from 1 to 1024`,
  );
}
