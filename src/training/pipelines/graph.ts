import { kindOf, type StepKind } from './document.ts';

/** What a step refers to: another step, and one of its outputs ('' = its main one). */
export interface Reference {
  step: string;
  output: string;
  /** Where it stands inside the step. */
  path: PropertyKey[];
}

export interface GraphProblem {
  /** Inside the list of steps. */
  path: PropertyKey[];
  message: string;
}

/** Fields that hold one reference, and those that hold references by name. */
const FIELDS: Readonly<Record<StepKind, { one: readonly string[]; many: readonly string[] }>> = {
  ingest: { one: [], many: [] },
  validate: { one: ['data', 'against'], many: [] },
  transform: { one: ['data', 'state'], many: ['also'] },
  split: { one: ['data'], many: [] },
  train: { one: [], many: ['inputs'] },
  run: { one: [], many: ['inputs'] },
  evaluate: { one: ['model', 'data'], many: [] },
  gate: { one: ['evaluation', 'version'], many: [] },
  register: { one: ['model', 'evaluation', 'gate'], many: ['files'] },
  deploy: { one: ['version', 'gate'], many: [] },
};

type Raw = Record<string, unknown>;
const isRecord = (value: unknown): value is Raw => typeof value === 'object' && value !== null && !Array.isArray(value);

/** References of a step, checked or not. */
export function referencesOf(step: unknown): Reference[] {
  if (!isRecord(step)) return [];
  const kind = kindOf(step);
  const body = kind === undefined ? undefined : step[kind];
  if (kind === undefined || !isRecord(body)) return [];
  const { one, many } = FIELDS[kind];
  const found: Reference[] = [];
  const add = (value: unknown, path: PropertyKey[]): void => {
    if (typeof value !== 'string' || !/^[A-Za-z][\w-]*(\.[A-Za-z][\w-]*)?$/.test(value)) return;
    const [name, output = ''] = value.split('.');
    found.push({ step: name, output, path: [kind, ...path] });
  };
  for (const field of one) add(body[field], [field]);
  for (const field of many) {
    const map = body[field];
    if (isRecord(map)) for (const [key, value] of Object.entries(map)) add(value, [field, key]);
  }
  return found;
}

/** Names of the steps that must be over before a step begins. */
export function neededBy(step: unknown): string[] {
  const needs =
    isRecord(step) && Array.isArray(step.needs) ? step.needs.filter((need) => typeof need === 'string') : [];
  return [...new Set([...needs, ...referencesOf(step).map((reference) => reference.step)])];
}

/** What a step gives, its main output first. */
export function outputsOf(step: unknown): string[] {
  if (!isRecord(step)) return [];
  const kind = kindOf(step);
  const body = kind === undefined ? undefined : step[kind];
  if (kind === undefined || !isRecord(body)) return [];
  switch (kind) {
    case 'ingest':
      return ['data'];
    case 'validate':
      return ['data', 'schema', 'report'];
    case 'transform':
      return ['data', 'state', ...Object.keys(isRecord(body.also) ? body.also : {})];
    case 'split':
      return Object.keys(isRecord(body.parts) ? body.parts : {});
    case 'train':
    case 'run':
      return Object.keys(isRecord(body.outputs) ? body.outputs : {});
    case 'evaluate':
      return ['evaluation'];
    case 'gate':
      return ['verdict'];
    case 'register':
      return ['version'];
    case 'deploy':
      return [];
  }
}

/** Which kinds of steps give what a field takes. */
const TAKES: Readonly<Record<string, readonly StepKind[]>> = {
  evaluation: ['evaluate'],
  gate: ['gate'],
  version: ['register'],
  against: ['validate'],
  state: ['transform'],
  data: ['ingest', 'validate', 'transform', 'split', 'train', 'run'],
  model: ['train', 'run'],
};

/** Everything about the steps' connections that cannot work: names, references, kinds, cycles. */
export function graphProblems(steps: readonly unknown[]): GraphProblem[] {
  const problems: GraphProblem[] = [];
  const byName = new Map<string, { step: Raw; at: number }>();
  steps.forEach((step, at) => {
    if (!isRecord(step) || typeof step.name !== 'string') return;
    if (byName.has(step.name))
      problems.push({ path: [at, 'name'], message: `there is another step ${JSON.stringify(step.name)}` });
    else byName.set(step.name, { step, at });
  });
  const known = [...byName.keys()].join(', ');
  steps.forEach((step, at) => {
    if (!isRecord(step)) return;
    const needs = Array.isArray(step.needs) ? step.needs : [];
    needs.forEach((need, i) => {
      if (typeof need === 'string' && !byName.has(need))
        problems.push({ path: [at, 'needs', i], message: unknownStep(need, known) });
    });
    for (const reference of referencesOf(step)) {
      const message = referenceProblem(reference, byName.get(reference.step)?.step, known);
      if (message !== undefined) problems.push({ path: [at, ...reference.path], message });
    }
  });
  const cycle = findCycle(byName);
  if (cycle !== undefined) {
    const at = byName.get(cycle[0])?.at ?? 0;
    problems.push({
      path: [at, 'name'],
      message: `the steps wait for one another: ${[...cycle, cycle[0]].join(' → ')}; take one of these references or needs away`,
    });
  }
  return problems;
}

function unknownStep(name: string, known: string): string {
  return `there is no step ${JSON.stringify(name)}; the steps are ${known}`;
}

function referenceProblem(
  { step, output, path }: Reference,
  target: Raw | undefined,
  known: string,
): string | undefined {
  if (target === undefined) return unknownStep(step, known);
  const kind = kindOf(target);
  if (kind === undefined) return undefined;
  const field = String(path[1]);
  const takes = TAKES[field === 'also' ? 'data' : field];
  if (takes !== undefined && !takes.includes(kind))
    return `step ${step} does ${kind}, and ${field} takes what ${takes.join(', ')} steps give`;
  const outputs = outputsOf(target);
  if (outputs.length === 0) return `step ${step} gives nothing; name its outputs first`;
  if (output !== '' && !outputs.includes(output))
    return `step ${step} has no output ${JSON.stringify(output)}; it gives ${outputs.join(', ')}`;
  if (output === '' && outputs.length > 1 && ['split', 'train', 'run'].includes(kind))
    return `step ${step} gives ${outputs.join(', ')}; say which one: ${step}.${outputs[0]}`;
  return undefined;
}

function findCycle(byName: ReadonlyMap<string, { step: Raw }>): string[] | undefined {
  const state = new Map<string, 'open' | 'done'>();
  const way: string[] = [];
  const visit = (name: string): string[] | undefined => {
    if (state.get(name) === 'done' || !byName.has(name)) return undefined;
    if (state.get(name) === 'open') return way.slice(way.indexOf(name));
    state.set(name, 'open');
    way.push(name);
    for (const need of neededBy(byName.get(name)?.step)) {
      const cycle = visit(need);
      if (cycle !== undefined) return cycle;
    }
    way.pop();
    state.set(name, 'done');
    return undefined;
  };
  for (const name of byName.keys()) {
    const cycle = visit(name);
    if (cycle !== undefined) return cycle;
  }
  return undefined;
}

/** 'waiting' until everything needed is done; then it runs. */
export type StepStatus = 'waiting' | 'running' | 'succeeded' | 'skipped' | 'failed' | 'held' | 'cancelled';

const DONE: ReadonlySet<StepStatus> = new Set(['succeeded', 'skipped']);

/**
 * What to do next in a run: steps to begin, at most `maxParallel` running at once, in the order of the document. After a
 * failure nothing new begins, and what runs is waited for.
 */
export function nextSteps(
  steps: readonly { name: string }[],
  status: ReadonlyMap<string, StepStatus>,
  maxParallel: number,
): { begin: string[]; over: 'succeeded' | 'failed' | 'held' | undefined } {
  const all = steps.map(({ name }) => status.get(name) ?? 'waiting');
  const running = all.filter((one) => one === 'running').length;
  const stopped = all.includes('failed') ? 'failed' : all.includes('held') ? 'held' : undefined;
  if (stopped !== undefined) return { begin: [], over: running === 0 ? stopped : undefined };
  if (all.every((one) => DONE.has(one))) return { begin: [], over: 'succeeded' };
  const ready = steps.filter(
    (step) =>
      (status.get(step.name) ?? 'waiting') === 'waiting' &&
      neededBy(step).every((need) => DONE.has(status.get(need) ?? 'waiting')),
  );
  return { begin: ready.slice(0, Math.max(0, maxParallel - running)).map(({ name }) => name), over: undefined };
}
