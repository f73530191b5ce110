import { invalidArgument, SwitchyardError } from '../shared/errors.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { EnsemblePlan } from './ensemble-plan.ts';

/** A step whose inputs are all there; run it now, beside any others. */
export interface ReadyStep {
  /** Index to give back to `complete`. */
  step: number;
  modelName: string;
  /** '' = by version policy. */
  modelVersion: string;
  /** Under the composing model's names. */
  inputs: Tensor[];
  /** The composing model's outputs to ask for. */
  outputs: string[];
  /** True: the bytes of some input are still wanted by another step or by the answer, so they must not be given away. */
  shared: boolean;
}

export interface EnsembleProgress {
  ready: ReadyStep[];
  /** All requested outputs, in the order asked for; the run is over. */
  done?: Tensor[];
}

/**
 * One request's way through an ensemble: a state machine that its driver feeds with what the steps answered. Only
 * steps that the requested outputs need run. A tensor is let go when the last step that reads it has taken it.
 */
export class EnsembleRun {
  readonly #plan: EnsemblePlan;
  readonly #wanted: number[];
  readonly #needed: boolean[];
  readonly #started: boolean[];
  readonly #known: (Tensor | undefined)[];
  /** Known, or an optional input the request left out. */
  readonly #settled: boolean[];
  /** Steps yet to take each tensor, plus one where the answer holds it. */
  readonly #uses: number[];
  #missing: number;
  #over = false;

  /** `requested`: names of the wanted outputs, empty = all. Throws invalid_argument for a name the ensemble lacks. */
  constructor(plan: EnsemblePlan, requested: readonly string[] = []) {
    this.#plan = plan;
    this.#wanted = wantedTensors(plan, requested);
    this.#needed = neededSteps(plan, this.#wanted);
    this.#started = new Array<boolean>(plan.steps.length).fill(false);
    this.#known = new Array<Tensor | undefined>(plan.tensors.length).fill(undefined);
    this.#settled = new Array<boolean>(plan.tensors.length).fill(false);
    this.#uses = new Array<number>(plan.tensors.length).fill(0);
    for (const tensor of this.#wanted) this.#uses[tensor] = 1;
    plan.steps.forEach((step, at) => {
      if (this.#needed[at]) for (const input of step.inputs) this.#uses[input.tensor]++;
    });
    this.#missing = this.#wanted.length;
  }

  /** Tensors held for steps to come and for the answer. */
  get held(): number {
    return this.#known.reduce((count, tensor) => count + (tensor === undefined ? 0 : 1), 0);
  }

  /**
   * The request's inputs, under the ensemble's names. Throws invalid_argument when one that is not optional is
   * absent, twice there, or unknown.
   */
  start(inputs: readonly Tensor[]): EnsembleProgress {
    for (const input of inputs) {
      const at = this.#plan.inputs.get(input.name);
      if (at === undefined) {
        const allowed = [...this.#plan.inputs.keys()].map((name) => `"${name}"`).join(', ');
        throw invalidArgument(`unknown input "${input.name}" for model "${this.#plan.model}"; its inputs: ${allowed}`);
      }
      if (this.#settled[at]) throw invalidArgument(`input "${input.name}" is given twice`);
      this.#learn(at, input);
    }
    for (const [name, at] of this.#plan.inputs) {
      if (this.#settled[at]) continue;
      if (!this.#plan.optional.has(at)) {
        throw invalidArgument(`model "${this.#plan.model}" needs input "${name}", which the request lacks`);
      }
      this.#settled[at] = true;
    }
    return this.#progress();
  }

  /**
   * What a step answered, under the composing model's names; outputs nobody needs are ignored. After `fail`, or
   * twice for a step, nothing happens. Throws internal when a needed output is absent: the run has then failed.
   */
  complete(step: number, outputs: readonly Tensor[]): EnsembleProgress {
    const planned = this.#plan.steps[step];
    if (this.#over || !this.#started[step]) return { ready: [] };
    for (const binding of planned.outputs) {
      if (this.#uses[binding.tensor] === 0 || this.#settled[binding.tensor]) continue;
      const output = outputs.find((candidate) => candidate.name === binding.name);
      if (output === undefined) {
        this.fail();
        throw new SwitchyardError(
          'internal',
          `ensemble "${this.#plan.model}": model "${planned.modelName}" did not answer output "${binding.name}"`,
        );
      }
      const { datatype, shape, data } = output;
      this.#learn(binding.tensor, { name: this.#plan.tensors[binding.tensor], datatype, shape, data });
    }
    return this.#progress();
  }

  /** Ends the run and lets go of every tensor; steps still running are the driver's to cancel. */
  fail(): void {
    this.#over = true;
    this.#known.fill(undefined);
  }

  #learn(at: number, tensor: Tensor): void {
    this.#settled[at] = true;
    if (this.#uses[at] === 0) return;
    this.#known[at] = tensor;
    if (this.#wanted.includes(at)) this.#missing--;
  }

  #progress(): EnsembleProgress {
    const ready: ReadyStep[] = [];
    for (let at = 0; at < this.#plan.steps.length; at++) {
      const step = this.#plan.steps[at];
      if (!this.#needed[at] || this.#started[at]) continue;
      if (!step.inputs.every((input) => this.#settled[input.tensor])) continue;
      this.#started[at] = true;
      ready.push(this.#take(at));
    }
    if (this.#missing > 0) return { ready };
    const done = this.#wanted.map((at) => this.#known[at] as Tensor);
    this.fail();
    return { ready, done };
  }

  #take(at: number): ReadyStep {
    const step = this.#plan.steps[at];
    const inputs: Tensor[] = [];
    let shared = false;
    for (const { name, tensor } of step.inputs) {
      const known = this.#known[tensor];
      const left = --this.#uses[tensor];
      if (known === undefined) continue;
      const { datatype, shape, data } = known;
      inputs.push({ name, datatype, shape, data });
      if (left > 0) shared = true;
      else this.#known[tensor] = undefined;
    }
    const outputs = step.outputs.filter(({ tensor }) => this.#uses[tensor] > 0).map(({ name }) => name);
    return { step: at, modelName: step.modelName, modelVersion: step.modelVersion, inputs, outputs, shared };
  }
}

function wantedTensors(plan: EnsemblePlan, requested: readonly string[]): number[] {
  if (requested.length === 0) return [...plan.outputs.values()];
  return [...new Set(requested)].map((name) => {
    const at = plan.outputs.get(name);
    if (at !== undefined) return at;
    const allowed = [...plan.outputs.keys()].map((output) => `"${output}"`).join(', ');
    throw invalidArgument(`unknown output "${name}" of model "${plan.model}"; its outputs: ${allowed}`);
  });
}

/** The steps that produce the wanted tensors, and what those need in turn. */
function neededSteps(plan: EnsemblePlan, wanted: readonly number[]): boolean[] {
  const needed = new Array<boolean>(plan.steps.length).fill(false);
  const open = [...wanted];
  for (let tensor = open.pop(); tensor !== undefined; tensor = open.pop()) {
    const step = plan.producer[tensor];
    if (step < 0 || needed[step]) continue;
    needed[step] = true;
    for (const input of plan.steps[step].inputs) open.push(input.tensor);
  }
  return needed;
}
