import type { EnsembleStep, ModelConfig, ModelSignature, TensorSpec } from '../config/model-config.ts';

/** The configuration of a composing model; `version` '' = by its version policy. Undefined: there is no such model. */
export type ModelLookup = (model: string, version: string) => ModelConfig | undefined;

interface Place {
  spec: TensorSpec;
  signature: ModelSignature;
  /** Who says so, for messages. */
  who: string;
}

/**
 * Everything wrong with an ensemble, each message naming step, model and tensor; empty: it can be planned. Batch
 * dimensions follow Triton: a model with max_batch_size > 0 has one before its declared dims, so an ensemble that does
 * not batch may declare it itself, and one that does may not allow more rows than its batching steps.
 */
export function validateEnsemble(config: ModelConfig, lookup: ModelLookup): string[] {
  const steps = config.ensemble ?? [];
  const problems: string[] = [];
  if (steps.length === 0) return [`ensemble "${config.name}" has no steps`];
  const written = new Map<string, Place>();
  const writer = new Map<string, number>();
  const read: { tensor: string; place: Place }[] = [];
  const whole = `ensemble "${config.name}"`;
  for (const spec of config.signature.inputs) {
    written.set(spec.name, { spec, signature: config.signature, who: `${whole} input "${spec.name}"` });
  }
  steps.forEach((step, at) => {
    const label = `${whole} step ${at + 1} (model "${step.modelName}")`;
    const model = lookup(step.modelName, step.modelVersion);
    if (model === undefined) {
      const version = step.modelVersion === '' ? '' : ` version ${step.modelVersion}`;
      problems.push(`${label}: there is no model "${step.modelName}"${version}`);
      // Its tensors still count as written, lest one missing model be reported as many.
      for (const tensor of Object.values(step.outputMap)) writer.set(tensor, at);
      return;
    }
    if (model.decoupled) problems.push(`${label}: the model is decoupled; a step answers exactly once`);
    const limit = model.signature.maxBatchSize;
    if (limit > 0 && config.signature.maxBatchSize > limit) {
      problems.push(`${label}: max_batch_size is ${limit}, less than the ensemble's ${config.signature.maxBatchSize}`);
    }
    checkInputs(step, model, label, read, problems);
    checkOutputs(step, model, label, at, written, writer, problems);
  });
  for (const { tensor, place } of read) {
    const source = written.get(tensor);
    if (source?.spec.optional === true && source.signature === config.signature && place.spec.optional !== true) {
      problems.push(`${source.who} is optional, but ${place.who} is not`);
    }
    if (source !== undefined) compare(tensor, source, place, problems);
    else if (!writer.has(tensor)) problems.push(`${place.who} reads tensor "${tensor}", which nothing writes`);
  }
  for (const spec of config.signature.outputs) {
    const place = { spec, signature: config.signature, who: `${whole} output "${spec.name}"` };
    const source = written.get(spec.name);
    if (source !== undefined) compare(spec.name, source, place, problems);
    else if (!writer.has(spec.name)) problems.push(`${place.who}: no step writes it`);
  }
  const cycle = findCycle(steps, writer);
  if (cycle.length > 0) {
    const names = cycle.map((at) => `${at + 1} ("${steps[at].modelName}")`).join(', ');
    problems.push(`${whole}: steps ${names} wait for one another's tensors`);
  }
  const path = findRecursion(config, lookup);
  if (path !== undefined) problems.push(`${whole} contains itself: ${path.join(' → ')}`);
  return problems;
}

function checkInputs(
  step: EnsembleStep,
  model: ModelConfig,
  label: string,
  read: { tensor: string; place: Place }[],
  problems: string[],
): void {
  const { signature } = model;
  for (const [name, tensor] of Object.entries(step.inputMap)) {
    const spec = signature.inputs.find((input) => input.name === name);
    if (spec === undefined)
      problems.push(`${label}: the model has no input "${name}"; it has ${list(signature.inputs)}`);
    else read.push({ tensor, place: { spec, signature, who: `${label} input "${name}"` } });
  }
  for (const spec of signature.inputs) {
    if (spec.optional !== true && !Object.hasOwn(step.inputMap, spec.name)) {
      problems.push(`${label}: input "${spec.name}" is not mapped`);
    }
  }
}

function checkOutputs(
  step: EnsembleStep,
  model: ModelConfig,
  label: string,
  at: number,
  written: Map<string, Place>,
  writer: Map<string, number>,
  problems: string[],
): void {
  const { signature } = model;
  for (const [name, tensor] of Object.entries(step.outputMap)) {
    const spec = signature.outputs.find((output) => output.name === name);
    const before = written.get(tensor);
    if (spec === undefined) {
      problems.push(`${label}: the model has no output "${name}"; it has ${list(signature.outputs)}`);
      writer.set(tensor, at);
    } else if (before !== undefined) {
      problems.push(`${label} output "${name}" writes tensor "${tensor}", which is already ${before.who}`);
    } else {
      written.set(tensor, { spec, signature, who: `${label} output "${name}"` });
      writer.set(tensor, at);
    }
  }
}

function compare(tensor: string, source: Place, target: Place, problems: string[]): void {
  if (source.spec.datatype !== target.spec.datatype) {
    problems.push(
      `tensor "${tensor}": ${source.who} is ${source.spec.datatype}, ${target.who} is ${target.spec.datatype}`,
    );
  }
  const from = fullDims(source);
  const to = fullDims(target);
  const agree = from.length === to.length && from.every((dim, i) => dim === to[i] || dim === -1 || to[i] === -1);
  if (!agree) {
    problems.push(`tensor "${tensor}": ${source.who} has shape [${from}], ${target.who} has [${to}] (-1: any length)`);
  }
}

function fullDims({ spec, signature }: Place): number[] {
  return signature.maxBatchSize > 0 ? [-1, ...spec.dims] : spec.dims;
}

/** Steps that can never start because each waits for another of them; empty: none. */
function findCycle(steps: readonly EnsembleStep[], writer: ReadonlyMap<string, number>): number[] {
  let waiting = steps.map((_, at) => at);
  for (;;) {
    const blocked = waiting.filter((at) =>
      Object.values(steps[at].inputMap).some((tensor) => {
        const source = writer.get(tensor);
        return source !== undefined && waiting.includes(source);
      }),
    );
    if (blocked.length === waiting.length) return blocked;
    waiting = blocked;
  }
}

/** The way by which an ensemble reaches itself through other ensembles. */
function findRecursion(config: ModelConfig, lookup: ModelLookup): string[] | undefined {
  const visited = new Set<string>();
  const visit = (current: ModelConfig, path: string[]): string[] | undefined => {
    for (const step of current.ensemble ?? []) {
      if (step.modelName === config.name) return [...path, step.modelName];
      const next = lookup(step.modelName, step.modelVersion);
      if (next === undefined || visited.has(next.name)) continue;
      visited.add(next.name);
      const found = visit(next, [...path, next.name]);
      if (found !== undefined) return found;
    }
    return undefined;
  };
  return visit(config, [config.name]);
}

function list(specs: readonly TensorSpec[]): string {
  return specs.map((spec) => `"${spec.name}"`).join(', ') || 'none';
}
