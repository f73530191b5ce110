import type { z } from 'zod';
import { invalidArgument } from '../../shared/errors.ts';
import {
  type EnvironmentSpec,
  environmentSchema,
  type ParameterSpec,
  type PipelineDocument,
  pipelineSchema,
} from './document.ts';
import { type Names, substitute } from './expressions.ts';
import { graphProblems } from './graph.ts';

/** A mistake in a document that was read already. */
export interface DocumentProblem {
  path: PropertyKey[];
  message: string;
}

type Scalar = string | number | boolean;
type Raw = Record<string, unknown>;
const isRecord = (value: unknown): value is Raw => typeof value === 'object' && value !== null && !Array.isArray(value);

/**
 * Everything wrong with a pipeline, as far as it can be told before it runs: what depends on parameters without a default
 * and on the environment is checked when they are known.
 */
export function pipelineProblems(raw: unknown): DocumentProblem[] {
  const spec = isRecord(raw) && isRecord(raw.spec) ? raw.spec : {};
  const parameters = isRecord(spec.parameters) ? spec.parameters : {};
  const names = new Map<string, Scalar>();
  for (const [name, value] of Object.entries(parameters)) {
    const fallback = isRecord(value) ? value.default : value;
    if (isScalar(fallback)) names.set(`parameters.${name}`, fallback);
  }
  const { value, unresolved } = substitute(raw, names);
  const problems: DocumentProblem[] = [];
  for (const { path, name } of unresolved) {
    const [root, first] = name.split('.');
    if (root === 'parameters' && !Object.hasOwn(parameters, first)) {
      const known = Object.keys(parameters).join(', ') || 'none';
      problems.push({ path, message: `there is no parameter ${first}; the parameters are ${known}` });
    } else if (root === 'environment' && !['name', 'aliases', 'data', 'settings'].includes(first)) {
      problems.push({ path, message: `environment.${first} is not known; there are name, aliases, data and settings` });
    }
  }
  const open = new Set(unresolved.map(({ path }) => path.map(String).join('\0')));
  const isOpen = (path: readonly PropertyKey[]): boolean => open.has(path.map(String).join('\0'));
  const result = pipelineSchema.safeParse(value);
  for (const issue of result.error?.issues ?? [])
    if (!isOpen(issue.path)) problems.push(...issueProblems(issue).filter(({ path }) => !isOpen(path)));
  if (Array.isArray(spec.steps)) {
    const steps = graphProblems((value as { spec: { steps: unknown[] } }).spec.steps);
    problems.push(...steps.map(({ path, message }) => ({ path: ['spec', 'steps', ...path], message })));
  }
  if (result.success) problems.push(...parameterProblems(result.data), ...gateProblems(result.data));
  return problems;
}

function parameterProblems({ spec }: PipelineDocument): DocumentProblem[] {
  return Object.entries(spec.parameters).flatMap(([name, parameter]) => {
    if (!isRecord(parameter) || parameter.default === undefined) return [];
    const problem = valueProblem(parameter as ParameterSpec, parameter.default as Scalar);
    return problem === undefined ? [] : [{ path: ['spec', 'parameters', name, 'default'], message: problem }];
  });
}

/** A gate that compares with a champion nobody evaluated would hold for ever. */
function gateProblems({ spec }: PipelineDocument): DocumentProblem[] {
  return spec.steps.flatMap(({ gate }, i) => {
    const rule = gate?.rules.findIndex(({ vs }) => vs !== undefined) ?? -1;
    const evaluation = spec.steps.find(({ name }) => name === gate?.evaluation.split('.')[0])?.evaluate;
    if (rule < 0 || evaluation === undefined || evaluation.against.length > 0) return [];
    const path = ['spec', 'steps', i, 'gate', 'rules', rule, 'vs'];
    return [
      { path, message: `step ${gate?.evaluation} does not evaluate the champion; add against: [champion] to it` },
    ];
  });
}

export function environmentProblems(raw: unknown): DocumentProblem[] {
  return (environmentSchema.safeParse(raw).error?.issues ?? []).flatMap(issueProblems);
}

export function issueProblems(issue: z.core.$ZodIssue): DocumentProblem[] {
  if (issue.code === 'unrecognized_keys')
    return issue.keys.map((key) => ({ path: [...issue.path, key], message: 'unknown setting' }));
  // Of a union the messages of all its forms; what was meant is the one that got furthest.
  if (issue.code === 'invalid_union' && issue.errors.length > 0) {
    const deepest = issue.errors.map((list) => list[0]).filter((one) => one !== undefined && one.path.length > 0);
    if (deepest.length === 1) return issueProblems({ ...deepest[0], path: [...issue.path, ...deepest[0].path] });
  }
  return [{ path: issue.path as PropertyKey[], message: issue.message }];
}

/** "spec.steps.0.name: …" */
export function describeProblems(problems: readonly DocumentProblem[]): string {
  return problems
    .map(({ path, message }) => `${path.length === 0 ? 'the document' : path.join('.')}: ${message}`)
    .join('; ');
}

function isScalar(value: unknown): value is Scalar {
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean';
}

/** Why a value is none for a parameter; undefined: it is one. */
function valueProblem(parameter: ParameterSpec, value: Scalar): string | undefined {
  if (!isRecord(parameter)) {
    const type = typeof parameter;
    return typeof value === type ? undefined : `must be a ${type}, as its default ${JSON.stringify(parameter)} is`;
  }
  const { type, values } = parameter as { type: string; values?: Scalar[] };
  const fits = type === 'integer' ? Number.isSafeInteger(value) : typeof value === type;
  if (!fits) return `must be of type ${type}, not ${JSON.stringify(value)}`;
  if (values === undefined || values.includes(value)) return undefined;
  return `${JSON.stringify(value)} is not allowed; allowed: ${values.join(', ')}`;
}

/** Values of all parameters of a run. Texts, as the command line gives them, become what the parameter is. Throws invalid_argument. */
export function runParameters(
  parameters: Readonly<Record<string, ParameterSpec>>,
  given: Readonly<Record<string, Scalar>>,
): Record<string, Scalar> {
  const unknown = Object.keys(given).find((name) => !Object.hasOwn(parameters, name));
  if (unknown !== undefined) {
    const known = Object.keys(parameters).join(', ') || 'none';
    throw invalidArgument(`parameter ${JSON.stringify(unknown)} is not known; the pipeline has ${known}`);
  }
  return Object.fromEntries(
    Object.entries(parameters).map(([name, parameter]) => {
      const fallback = isRecord(parameter) ? (parameter as { default?: Scalar }).default : (parameter as Scalar);
      const value = Object.hasOwn(given, name) ? fromText(parameter, given[name]) : fallback;
      if (value === undefined)
        throw invalidArgument(`parameter ${name} has no default; give it, for example --param ${name}=…`);
      const problem = valueProblem(parameter, value);
      if (problem !== undefined) throw invalidArgument(`parameter ${name}: ${problem}`);
      return [name, value];
    }),
  );
}

function fromText(parameter: ParameterSpec, value: Scalar): Scalar {
  if (typeof value !== 'string') return value;
  const type = isRecord(parameter) ? (parameter as { type: string }).type : typeof parameter;
  if (type === 'boolean' && (value === 'true' || value === 'false')) return value === 'true';
  if ((type === 'number' || type === 'integer') && value.trim() !== '' && Number.isFinite(Number(value)))
    return Number(value);
  return value;
}

export interface RunSettings {
  parameters: Readonly<Record<string, Scalar>>;
  environment: { name: string; spec: EnvironmentSpec };
}

/** The document as it runs: every expression replaced, the environment's job settings put in. Throws invalid_argument. */
export function resolvePipeline(raw: unknown, { parameters, environment }: RunSettings): PipelineDocument {
  const names = new Map<string, Scalar>([['environment.name', environment.name]]);
  for (const [name, value] of Object.entries(parameters)) names.set(`parameters.${name}`, value);
  for (const group of ['data', 'settings'] as const)
    for (const [name, value] of Object.entries(environment.spec[group]))
      names.set(`environment.${group}.${name}`, value);
  for (const [name, value] of Object.entries(allAliases(environment.spec)))
    names.set(`environment.aliases.${name}`, value);
  const { value, unresolved } = substitute(raw, names as Names);
  const open = unresolved.map(({ path, name }) => ({
    path,
    message: `\${${name}} has no value in the environment ${environment.name}; add it to the PipelineEnvironment`,
  }));
  const result = pipelineSchema.safeParse(value);
  const problems = [...open, ...(open.length > 0 ? [] : (result.error?.issues ?? []).flatMap(issueProblems))];
  if (result.success) {
    const steps = graphProblems(result.data.spec.steps);
    problems.push(...steps.map(({ path, message }) => ({ path: ['spec', 'steps', ...path], message })));
  }
  if (problems.length > 0 || !result.success) throw invalidArgument(describeProblems(problems));
  for (const step of result.data.spec.steps) {
    const body = step.train ?? step.run;
    if (body !== undefined) body.job = withTexts(merged(body.job, environment.spec.job));
  }
  return result.data;
}

/** champion and challenger are named so unless the environment says otherwise. */
export function allAliases({ aliases }: EnvironmentSpec): Record<string, string> {
  return { champion: 'champion', challenger: 'challenger', ...aliases };
}

/** Arguments and variables are texts: an expression may have put a number there. */
function withTexts(job: Raw): Raw {
  const text = (value: unknown): unknown =>
    typeof value === 'number' || typeof value === 'boolean' ? String(value) : value;
  const result = { ...job };
  for (const field of ['command', 'args']) {
    const list = result[field];
    if (Array.isArray(list)) result[field] = list.map(text);
  }
  if (isRecord(result.env))
    result.env = Object.fromEntries(Object.entries(result.env).map(([name, value]) => [name, text(value)]));
  return result;
}

/** Settings of `over` win; objects are merged. */
function merged(base: Raw, over: Raw): Raw {
  const result = { ...base };
  for (const [key, value] of Object.entries(over)) {
    const old = result[key];
    result[key] = isRecord(old) && isRecord(value) ? merged(old, value) : value;
  }
  return result;
}
