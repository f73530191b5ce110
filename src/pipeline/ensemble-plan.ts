import type { ModelConfig } from '../config/model-config.ts';

/** A tensor of the ensemble read or written by a step: the composing model's name for it and its index in the plan. */
export interface Binding {
  name: string;
  tensor: number;
}

export interface PlannedStep {
  modelName: string;
  modelVersion: string;
  inputs: Binding[];
  outputs: Binding[];
}

/** An ensemble with its tensor names resolved to indexes; computed once per loaded configuration. */
export interface EnsemblePlan {
  model: string;
  /** Ensemble tensor names by index. */
  tensors: string[];
  steps: PlannedStep[];
  /** Index of each declared input and output. */
  inputs: Map<string, number>;
  outputs: Map<string, number>;
  /** Step that writes each tensor; -1: an ensemble input. */
  producer: number[];
  /** Inputs a request may leave out. */
  optional: Set<number>;
}

/** Resolves a configuration that `validateEnsemble` found no fault with. */
export function planEnsemble(config: ModelConfig): EnsemblePlan {
  const tensors: string[] = [];
  const producer: number[] = [];
  const index = new Map<string, number>();
  const indexOf = (name: string): number => {
    let at = index.get(name);
    if (at === undefined) {
      at = tensors.push(name) - 1;
      index.set(name, at);
      producer.push(-1);
    }
    return at;
  };
  const bind = (map: Record<string, string>): Binding[] =>
    Object.entries(map).map(([name, tensor]) => ({ name, tensor: indexOf(tensor) }));
  const inputs = new Map(config.signature.inputs.map((input) => [input.name, indexOf(input.name)]));
  const steps = (config.ensemble ?? []).map((step, at) => {
    const planned = {
      modelName: step.modelName,
      modelVersion: step.modelVersion,
      inputs: bind(step.inputMap),
      outputs: bind(step.outputMap),
    };
    for (const output of planned.outputs) producer[output.tensor] = at;
    return planned;
  });
  return {
    model: config.name,
    tensors,
    steps,
    inputs,
    outputs: new Map(config.signature.outputs.map((output) => [output.name, indexOf(output.name)])),
    producer,
    optional: new Set(config.signature.inputs.filter((input) => input.optional).map((input) => indexOf(input.name))),
  };
}
