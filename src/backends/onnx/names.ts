import { invalidArgument } from '../../shared/errors.ts';
import type { DataType, Tensor } from '../../tensor/tensor.ts';
import type { RuntimeSignature } from '../backend.ts';

/** The tensors of a model by name, and the refusals that follow: the same for both ways into the runtime. */
export class TensorNames {
  readonly inputs: ReadonlyMap<string, { datatype: DataType; index: number }>;
  readonly outputs: ReadonlyMap<string, { datatype: DataType; index: number }>;
  /** After checkInputs: which of the model's inputs the k-th given one is. */
  readonly places: number[] = [];
  readonly #model: string;
  readonly #given: Uint8Array;

  constructor(model: string, signature: RuntimeSignature) {
    this.#model = model;
    this.inputs = new Map(signature.inputs.map(({ name, datatype }, index) => [name, { datatype, index }]));
    this.outputs = new Map(signature.outputs.map(({ name, datatype }, index) => [name, { datatype, index }]));
    this.#given = new Uint8Array(signature.inputs.length);
  }

  /**
   * Every input once, each in its datatype. A kernel may read a missing input without a check, so that none may be left
   * out is decided here. Throws invalid_argument.
   */
  checkInputs(inputs: readonly Tensor[]): void {
    this.#given.fill(0);
    for (let i = 0; i < inputs.length; i++) {
      const { name, datatype } = inputs[i];
      const known = this.inputs.get(name);
      if (known === undefined) throw this.#unknown('input', name, this.inputs);
      if (known.datatype !== datatype)
        throw invalidArgument(`input "${name}" is ${datatype}; model "${this.#model}" takes ${known.datatype}`);
      if (this.#given[known.index] === 1) throw invalidArgument(`input "${name}" is given twice`);
      this.#given[known.index] = 1;
      this.places[i] = known.index;
    }
    if (inputs.length === this.inputs.size) return;
    for (const [name, { index }] of this.inputs) {
      if (this.#given[index] === 0) throw invalidArgument(`input "${name}" of model "${this.#model}" is missing`);
    }
  }

  /** Throws invalid_argument for an output that the model does not have. */
  output(name: string): { datatype: DataType; index: number } {
    const known = this.outputs.get(name);
    if (known === undefined) throw this.#unknown('output', name, this.outputs);
    return known;
  }

  #unknown(kind: string, name: string, known: ReadonlyMap<string, unknown>) {
    return invalidArgument(`model "${this.#model}" has no ${kind} "${name}"; it has ${[...known.keys()].join(', ')}`);
  }
}
