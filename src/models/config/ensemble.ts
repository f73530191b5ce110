import type { EnsembleStep, ModelConfig, TensorSpec } from '../../config/model-config.ts';

/** The configuration of another model as an ensemble sees it; undefined: there is no such model or version. */
export type ModelLookup = (model: string, version: string) => ModelConfig | undefined;

interface Producer {
  spec: TensorSpec | undefined;
  batched: boolean;
  /** For messages: `input "x"` or `step 0 (m) output "y"`. */
  what: string;
  /** Index of the step that makes it; -1: the ensemble's own input. */
  step: number;
}

/**
 * Checks an ensemble against the models it composes: every tensor has one producer, no cycle, every mapped name exists,
 * datatypes and dims agree, batch sizes fit. Models whose lookup has an empty signature (not loaded yet) are checked by
 * wiring only. Returns what is wrong, naming the tensors, or '' if nothing is.
 */
export function ensembleProblem(ensemble: ModelConfig, lookup: ModelLookup): string {
  const steps = ensemble.ensemble ?? [];
  const models: ModelConfig[] = [];
  for (const step of steps) {
    const config = lookup(step.modelName, step.modelVersion);
    if (config === undefined) return `depends on model "${step.modelName}"${versionText(step)}, which is not available`;
    if (config.decoupled)
      return `has a step of model "${step.modelName}", which is decoupled; a step answers exactly once`;
    models.push(config);
  }
  return (
    recursion(ensemble.name, [ensemble.name], ensemble, lookup) ||
    wiringProblem(ensemble, steps, models) ||
    batchProblem(ensemble, models)
  );
}

/** Models an ensemble's steps name, each once. */
export function ensembleDependencies(config: ModelConfig): string[] {
  return [...new Set((config.ensemble ?? []).map((step) => step.modelName))];
}

function recursion(root: string, path: string[], config: ModelConfig, lookup: ModelLookup): string {
  for (const step of config.ensemble ?? []) {
    if (step.modelName === root) return `contains itself: ${[...path, root].join(' → ')}`;
    if (path.includes(step.modelName)) continue;
    const next = lookup(step.modelName, step.modelVersion);
    const problem = next ? recursion(root, [...path, step.modelName], next, lookup) : '';
    if (problem !== '') return problem;
  }
  return '';
}

function wiringProblem(ensemble: ModelConfig, steps: EnsembleStep[], models: ModelConfig[]): string {
  const batched = ensemble.signature.maxBatchSize > 0;
  const producers = new Map<string, Producer>();
  for (const input of ensemble.signature.inputs) {
    producers.set(input.name, { spec: input, batched, what: `ensemble input "${input.name}"`, step: -1 });
  }
  for (const [i, step] of steps.entries()) {
    const { signature } = models[i];
    for (const [output, tensor] of Object.entries(step.outputMap)) {
      const spec = signature.outputs.find((candidate) => candidate.name === output);
      if (spec === undefined && signature.outputs.length > 0)
        return `${label(step, i)} maps output "${output}", which the model does not have`;
      const rival = producers.get(tensor);
      const what = `${label(step, i)} output "${output}"`;
      if (rival) return `tensor "${tensor}" is made twice: by ${rival.what} and by ${what}`;
      producers.set(tensor, { spec, batched: signature.maxBatchSize > 0, what, step: i });
    }
  }
  for (const [i, step] of steps.entries()) {
    const { signature } = models[i];
    for (const [input, tensor] of Object.entries(step.inputMap)) {
      const spec = signature.inputs.find((candidate) => candidate.name === input);
      if (spec === undefined && signature.inputs.length > 0)
        return `${label(step, i)} maps input "${input}", which the model does not have`;
      const producer = producers.get(tensor);
      const what = `${label(step, i)} input "${input}"`;
      if (producer === undefined) return `${what} reads tensor "${tensor}", which no step and no ensemble input makes`;
      const problem = mismatch(tensor, producer, { spec, batched: signature.maxBatchSize > 0, what, step: i });
      if (problem !== '') return problem;
    }
    const missing = signature.inputs.find((input) => !input.optional && !Object.hasOwn(step.inputMap, input.name));
    if (missing) return `${label(step, i)} leaves input "${missing.name}" unmapped`;
  }
  for (const output of ensemble.signature.outputs) {
    const producer = producers.get(output.name);
    const what = `ensemble output "${output.name}"`;
    if (producer === undefined) return `${what} is made by no step`;
    const problem = mismatch(output.name, producer, { spec: output, batched, what, step: -1 });
    if (problem !== '') return problem;
  }
  return cycle(steps, producers);
}

/** Steps that can never start because they wait for each other. */
function cycle(steps: EnsembleStep[], producers: Map<string, Producer>): string {
  const done = new Set<number>([-1]);
  let waiting = steps.map((_, i) => i);
  while (waiting.length > 0) {
    const blocked = waiting.filter((i) =>
      Object.values(steps[i].inputMap).some((tensor) => !done.has(producers.get(tensor)?.step ?? -1)),
    );
    if (blocked.length === waiting.length) {
      const tensors = blocked.flatMap((i) => Object.values(steps[i].outputMap)).map((tensor) => `"${tensor}"`);
      return `has a cycle through ${blocked.map((i) => label(steps[i], i)).join(', ')} (tensors ${tensors.join(', ')})`;
    }
    for (const i of waiting) if (!blocked.includes(i)) done.add(i);
    waiting = blocked;
  }
  return '';
}

function mismatch(tensor: string, from: Producer, to: Producer): string {
  if (from.spec === undefined || to.spec === undefined) return '';
  if (from.spec.datatype !== to.spec.datatype) {
    return `tensor "${tensor}" is ${from.spec.datatype} from ${from.what} but ${to.spec.datatype} for ${to.what}`;
  }
  const a = from.batched ? [-1, ...from.spec.dims] : from.spec.dims;
  const b = to.batched ? [-1, ...to.spec.dims] : to.spec.dims;
  const agrees = a.length === b.length && a.every((dim, i) => dim === b[i] || dim === -1 || b[i] === -1);
  return agrees ? '' : `tensor "${tensor}" has shape [${a}] from ${from.what} but [${b}] for ${to.what}`;
}

function batchProblem(ensemble: ModelConfig, models: ModelConfig[]): string {
  const size = ensemble.signature.maxBatchSize;
  const small = models.find((model) => model.signature.inputs.length > 0 && model.signature.maxBatchSize < size);
  if (size === 0 || small === undefined) return '';
  return `has max_batch_size ${size}, larger than the ${small.signature.maxBatchSize} of its model "${small.name}"; lower it`;
}

function label(step: EnsembleStep, index: number): string {
  return `step ${index} (${step.modelName})`;
}

function versionText(step: EnsembleStep): string {
  return step.modelVersion === '' ? '' : ` version ${step.modelVersion}`;
}
