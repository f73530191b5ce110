import { SwitchyardError } from '../../shared/errors.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import type { BackendModel, ExecuteOptions, RuntimeSignature } from '../backend.ts';
import { runError } from './messages.ts';
import { TensorNames } from './names.ts';
import type { SharedSession } from './shared-session.ts';
import { inputBytes } from './tensors.ts';

const MAX_RANK = 32;

/** A model on a session that all threads share. `execute` blocks the calling thread, and no other. */
export class SharedOnnxModel implements BackendModel {
  readonly signature: RuntimeSignature;
  readonly concurrency = 1;
  readonly memoryBytes: number;
  readonly #model: string;
  readonly #names: TensorNames;
  #session: SharedSession | undefined;
  /** What each run wants and brings, then what came out: see ortRun. */
  readonly #plan: Float64Array;
  readonly #feeds: Uint8Array[];
  readonly #shapes: (readonly number[])[];
  readonly #all: readonly string[];
  /** Absent on a GPU, where a thread has its own share of what the first run prepares. */
  readonly rehearse?: (inputs: Tensor[]) => Promise<void>;

  /** `rehearsable`: a run of any thread warms the session up for all. */
  constructor(
    model: string,
    session: SharedSession,
    signature: RuntimeSignature,
    memoryBytes: number,
    rehearsable: boolean,
  ) {
    this.#model = model;
    this.#session = session;
    this.signature = signature;
    this.memoryBytes = memoryBytes;
    this.#names = new TensorNames(model, signature);
    const [inputs, outputs] = [signature.inputs.length, signature.outputs.length];
    this.#plan = new Float64Array(1 + outputs + (inputs + outputs) * (1 + MAX_RANK));
    this.#feeds = new Array(inputs);
    this.#shapes = new Array(inputs);
    this.#all = signature.outputs.map(({ name }) => name);
    if (rehearsable) this.rehearse = (tensors) => this.#rehearse(tensors);
  }

  execute(inputs: Tensor[], options: ExecuteOptions): Tensor[] {
    const session = this.#opened();
    const names = options.outputs.length === 0 ? this.#all : [...new Set(options.outputs)];
    this.#fill(inputs, names);
    let buffers: ArrayBuffer[];
    try {
      buffers = session.run(this.#plan, this.#feeds);
    } catch (error) {
      throw runError(this.#model, error);
    }
    const outputs = new Array<Tensor>(names.length);
    let at = 0;
    for (let i = 0; i < names.length; i++) {
      const rank = this.#plan[at++];
      const shape = new Array<number>(rank);
      for (let d = 0; d < rank; d++) shape[d] = this.#plan[at++];
      const { datatype } = this.#names.output(names[i]);
      outputs[i] = { name: names[i], datatype, shape, data: new Uint8Array(buffers[i]) };
    }
    return outputs;
  }

  async unload(): Promise<void> {
    this.#session?.close();
    this.#session = undefined;
  }

  async #rehearse(inputs: Tensor[]): Promise<void> {
    const session = this.#opened();
    this.#fill(inputs, this.#all);
    try {
      // Copies: requests may run meanwhile, which fill in their own.
      await session.rehearse(this.#plan.slice(), [...this.#feeds]);
    } catch (error) {
      throw runError(this.#model, error);
    }
  }

  #opened(): SharedSession {
    if (this.#session === undefined) throw new SwitchyardError('unavailable', `model "${this.#model}" is unloaded`);
    return this.#session;
  }

  #fill(inputs: Tensor[], names: readonly string[]): void {
    this.#names.checkInputs(inputs);
    for (let i = 0; i < inputs.length; i++) {
      const place = this.#names.places[i];
      this.#feeds[place] = inputBytes(inputs[i]);
      this.#shapes[place] = inputs[i].shape;
    }
    const plan = this.#plan;
    let at = 0;
    plan[at++] = names.length;
    for (const name of names) plan[at++] = this.#names.output(name).index;
    for (const shape of this.#shapes) {
      plan[at++] = shape.length;
      for (const dim of shape) plan[at++] = dim;
    }
  }
}
