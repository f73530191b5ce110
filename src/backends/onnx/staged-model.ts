import { SwitchyardError } from '../../shared/errors.ts';
import { PiecedTensor } from '../../tensor/pieced.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import type { BackendModel, ExecuteOptions, RuntimeSignature } from '../backend.ts';
import { runError } from './messages.ts';
import { TensorNames } from './names.ts';
import { chooseStager, type Stager } from './stager.ts';
import { inputBytes } from './tensors.ts';

/** A model on one or several GPUs. `execute` copies the batch into pinned memory and returns; the GPU does the rest. */
export class StagedOnnxModel implements BackendModel {
  readonly signature: RuntimeSignature;
  readonly blocking = false;
  readonly takesPieces = true;
  readonly memoryBytes: number;
  readonly #model: string;
  readonly #names: TensorNames;
  readonly #batched: boolean;
  readonly #all: readonly string[];
  #stagers: readonly Stager[];
  #closedBusyMs = 0;

  /** `signature` in the order in which the stagers were given their tensors. */
  constructor(model: string, stagers: readonly Stager[], signature: RuntimeSignature, batched: boolean, bytes: number) {
    this.#model = model;
    this.#stagers = stagers;
    this.signature = signature;
    this.#batched = batched;
    this.memoryBytes = bytes;
    this.#names = new TensorNames(model, signature);
    this.#all = signature.outputs.map(({ name }) => name);
  }

  /** One batch for each slot of the GPUs that are not lost; 1 when all are, so that requests are refused and not kept. */
  get concurrency(): number {
    return Math.max(
      1,
      this.#stagers.reduce((sum, stager) => sum + stager.slots, 0),
    );
  }

  get gpuBusyMs(): number {
    return this.#stagers.reduce((sum, stager) => sum + stager.busyMs, this.#closedBusyMs);
  }

  absence(): string {
    return this.#stagers.some((stager) => stager.slots > 0) ? '' : 'every GPU it is on is lost; start the server again';
  }

  watchAbsence(changed: () => void): void {
    for (const stager of this.#stagers) stager.onLost = changed;
  }

  async execute(inputs: Tensor[], options: ExecuteOptions): Promise<Tensor[]> {
    this.#names.checkInputs(inputs);
    const feeds = new Array<readonly Uint8Array[]>(inputs.length);
    const { shape: first } = inputs[0];
    const rows = this.#batched ? (first[0] ?? 0) : 1;
    for (let i = 0; i < inputs.length; i++) feeds[this.#names.places[i]] = piecesOf(inputs[i]);
    const names = options.outputs.length === 0 ? this.#all : [...new Set(options.outputs)];
    const wanted = names.map((name) => this.#names.output(name));
    const stager = chooseStager(this.#stagers);
    if (stager === undefined) {
      const reason = this.#stagers.length === 0 ? 'is unloaded' : 'has no GPU with a free slot';
      throw new SwitchyardError('unavailable', `model "${this.#model}" ${reason}`);
    }
    let buffers: ArrayBuffer[];
    try {
      const indices = wanted.map(({ index }) => index);
      buffers = await stager.run(rows, feeds, indices);
    } catch (error) {
      if (error instanceof SwitchyardError) throw error;
      throw runError(this.#model, error);
    }
    return names.map((name, i) => {
      const { dims } = this.signature.outputs[wanted[i].index];
      const shape = this.#batched ? [rows, ...dims.slice(1)] : [...dims];
      return { name, datatype: wanted[i].datatype, shape, data: new Uint8Array(buffers[i]) };
    });
  }

  async unload(): Promise<void> {
    this.#closedBusyMs = this.gpuBusyMs;
    for (const stager of this.#stagers) stager.close();
    this.#stagers = [];
  }
}

/** Its bytes where they lie: the addon copies them straight into pinned memory. */
function piecesOf(input: Tensor): readonly Uint8Array[] {
  return input instanceof PiecedTensor ? input.pieces : [inputBytes(input)];
}
