import type { FieldRule } from '../config/data-schema.ts';
import type { ModelConfig } from '../config/model-config.ts';
import type { KeptReference, ModelValidation } from '../config/model-validation.ts';
import type { DoorStep } from '../pipeline/door-step.ts';
import type { InferRequest, RequestContext, ServingVersion } from '../pipeline/types.ts';
import { invalidArgument, SwitchyardError } from '../shared/errors.ts';
import { decodeBytes, encodeBytes } from '../tensor/bytes.ts';
import { numberReader } from '../tensor/elements.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { AnomalyKind } from './anomalies.ts';
import { DoorStatistics, type LiveStatistics, placeOf } from './live/door-statistics.ts';

export type { LiveStatistics };

/** What the record of a flagged request shows among its inputs: one text for each anomaly. */
export const ANOMALIES_COLUMN = 'switchyard.anomalies';

interface Finding {
  field: string;
  kind: AnomalyKind;
  message: string;
}

interface Check {
  field: string;
  input: string;
  /** In a row; -1: all of it. */
  at: number;
  rule: FieldRule;
  values: ReadonlySet<unknown> | undefined;
  /** For messages. */
  allowed: string;
}

/** A kept schema as gateway threads know it. */
export interface DoorSchema {
  version: number;
  fields: Readonly<Record<string, FieldRule>>;
  /** Why there is none; '': there is. */
  problem: string;
}
/** By `keptKey`. */
export type DoorSchemas = ReadonlyMap<string, DoorSchema>;

/** What one configuration asks for. */
interface Prepared {
  validation: ModelValidation;
  checks: readonly Check[];
  /** Why its requests cannot be checked by all that it names; '': they can. */
  problem: string;
}

const MAX_TOLD = 5;
const MAX_SHOWN = 10;
const utf8 = new TextDecoder();

/** How often requests of a model went against a rule: "model\0field\0kind\0policy" → requests. */
export type DoorCounts = Map<string, number>;

/** Of a reference, among the kept schemas that gateway threads know. */
export function keptKey({ name, version }: KeptReference): string {
  return `${name}/${version ?? 'latest'}`;
}

/** Checks requests on a gateway thread. Rules are prepared once for each configuration and state of the kept schemas. */
export class Door implements DoorStep {
  private prepared = new WeakMap<ModelConfig, Prepared>();
  private schemas: DoorSchemas = new Map();
  private readonly statistics = new DoorStatistics();
  private counts: DoorCounts = new Map();

  check({ model, version, config }: ServingVersion, request: InferRequest, context: RequestContext): void {
    const { validation } = config;
    if (validation === undefined) return;
    let prepared = this.prepared.get(config);
    if (prepared === undefined) {
      prepared = prepare(config, validation, this.schemas);
      this.prepared.set(config, prepared);
    }
    // Nothing unchecked is let in where what does not fit is to be kept out.
    if (prepared.problem !== '' && validation.policy === 'reject')
      throw new SwitchyardError('unavailable', `requests of model '${model}' cannot be checked: ${prepared.problem}`);
    const findings = findViolations(prepared.checks, request.inputs, config.signature.maxBatchSize > 0);
    if (findings.length > 0) this.act(model, validation.policy, findings, context);
    this.statistics.add(model, version, config, prepared.validation, request.inputs);
  }

  /** All kept schemas that served models name, as they are now. */
  setSchemas(schemas: DoorSchemas): void {
    this.schemas = schemas;
    this.prepared = new WeakMap();
  }

  /** Throws invalid_argument by the policy reject. */
  private act(
    model: string,
    policy: ModelValidation['policy'],
    findings: readonly Finding[],
    context: RequestContext,
  ): void {
    for (const { field, kind } of findings) {
      const key = `${model}\0${field}\0${kind}\0${policy}`;
      this.counts.set(key, (this.counts.get(key) ?? 0) + 1);
    }
    if (policy === 'reject') throw refused(model, findings);
    if (policy === 'flag') flag(context, findings);
  }

  /** Counts since the last call; undefined: none. */
  take(): DoorCounts | undefined {
    if (this.counts.size === 0) return undefined;
    const { counts } = this;
    this.counts = new Map();
    return counts;
  }

  /** What was asked since the last call, of versions that have training data to be compared with. */
  takeStatistics(): LiveStatistics[] {
    return this.statistics.take();
  }
}

function prepare(config: ModelConfig, validation: ModelValidation, schemas: DoorSchemas): Prepared {
  const { schema } = validation;
  if (schema === undefined) return { validation, checks: checksOf(validation.fields), problem: '' };
  const kept = schemas.get(keptKey(schema));
  const inputs = new Set(config.signature.inputs.map(({ name }) => name));
  const fields = { ...(kept === undefined ? {} : keptRules(schema, kept, inputs)), ...validation.fields };
  const problem = kept === undefined ? `schema ${keptKey(schema)} is not known yet` : kept.problem;
  return { validation: { ...validation, fields }, checks: checksOf(fields), problem };
}

/** The rules of a kept schema by the model's fields. Columns that are no inputs, such as labels, are left out. */
function keptRules(
  { columns }: KeptReference,
  { fields }: DoorSchema,
  inputs: ReadonlySet<string>,
): Record<string, FieldRule> {
  const rules: Record<string, FieldRule> = {};
  const renamed = new Set(Object.values(columns));
  for (const [column, rule] of Object.entries(fields))
    if (!renamed.has(column) && inputs.has(placeOf(column).input)) rules[column] = rule;
  for (const [field, column] of Object.entries(columns))
    if (Object.hasOwn(fields, column)) rules[field] = fields[column];
  return rules;
}

function checksOf(fields: Readonly<Record<string, FieldRule>>): Check[] {
  return Object.entries(fields).map(([field, rule]) => ({
    field,
    ...placeOf(field),
    rule,
    values: rule.values === undefined ? undefined : new Set(rule.values),
    allowed: rule.values === undefined ? '' : shownList(rule.values),
  }));
}

function shownList(values: readonly unknown[]): string {
  const shown = values
    .slice(0, MAX_SHOWN)
    .map((value) => JSON.stringify(value))
    .join(', ');
  return values.length > MAX_SHOWN ? `${shown} and ${values.length - MAX_SHOWN} more` : shown;
}

/** The first thing that is wrong with each field. */
function findViolations(checks: readonly Check[], inputs: readonly Tensor[], batched: boolean): Finding[] {
  const found: Finding[] = [];
  for (const check of checks) {
    const tensor = inputs.find(({ name }) => name === check.input);
    const violation = tensor === undefined ? absent(check) : violationOf(check, tensor, batched);
    if (violation !== undefined) found.push({ field: check.field, kind: violation[0], message: violation[1] });
  }
  return found;
}

type Violation = [kind: AnomalyKind, message: string] | undefined;

function absent({ field, rule }: Check): Violation {
  return rule.required ? ['MISSING_COLUMN', `input '${field}' is missing`] : undefined;
}

function violationOf(check: Check, tensor: Tensor, batched: boolean): Violation {
  const { rule, field } = check;
  const row = batched ? tensor.shape.slice(1) : tensor.shape;
  if (rule.shape !== undefined && check.at < 0) {
    const { shape } = rule;
    if (row.length !== shape.length || !shape.every((dim, i) => dim < 0 || dim === row[i]))
      return ['LENGTH', `'${field}' has rows of shape [${row.join(',')}]; allowed is [${shape.join(',')}]`];
  }
  const width = row.reduce((product, dim) => product * dim, 1);
  if (check.at >= width && width > 0) return ['MISSING_COLUMN', `'${field}' is missing: a row has ${width} values`];
  return tensor.datatype === 'BYTES' ? textViolation(check, tensor, width) : numberViolation(check, tensor, width);
}

function textViolation({ field, at, rule, values, allowed }: Check, { data }: Tensor, width: number): Violation {
  const { minLength, maxLength, maxUnknown, maxMissing } = rule;
  if (values === undefined && minLength === undefined && maxLength === undefined && maxMissing === undefined)
    return undefined;
  const elements = decodeBytes(data);
  let count = 0;
  let unknown = 0;
  let missing = 0;
  let first: Violation;
  for (let i = at < 0 ? 0 : at; i < elements.length; i += at < 0 ? 1 : width) {
    const text = utf8.decode(elements[i]);
    count++;
    if (text === '') missing++;
    else if (values !== undefined && !values.has(text)) {
      unknown++;
      first ??= [
        'VOCABULARY',
        `${place(field, i, width)} is ${JSON.stringify(text.slice(0, 100))}; allowed are ${allowed}`,
      ];
    }
    if (minLength !== undefined && text.length < minLength)
      return ['LENGTH', `${place(field, i, width)} has ${text.length} characters; at least ${minLength} are wanted`];
    if (maxLength !== undefined && text.length > maxLength)
      return ['LENGTH', `${place(field, i, width)} has ${text.length} characters; at most ${maxLength} are allowed`];
  }
  return first !== undefined && unknown > maxUnknown * count
    ? first
    : missingViolation(field, missing, count, maxMissing);
}

function numberViolation({ field, at, rule, values, allowed }: Check, tensor: Tensor, width: number): Violation {
  const { min, max, maxMissing, maxUnknown } = rule;
  if (min === undefined && max === undefined && maxMissing === undefined && values === undefined) return undefined;
  const read = numberReader(tensor) as (i: number) => number;
  const total = tensor.shape.reduce((product, dim) => product * dim, 1);
  const bool = tensor.datatype === 'BOOL';
  let count = 0;
  let missing = 0;
  let unknown = 0;
  let first: Violation;
  for (let i = at < 0 ? 0 : at; i < total; i += at < 0 ? 1 : width) {
    const value = read(i);
    count++;
    if (!Number.isFinite(value)) {
      missing++;
      continue;
    }
    if (min !== undefined && value < min)
      return ['BELOW_MIN', `${place(field, i, width)} is ${value}; at least ${min} is allowed`];
    if (max !== undefined && value > max)
      return ['ABOVE_MAX', `${place(field, i, width)} is ${value}; at most ${max} is allowed`];
    if (values !== undefined && !values.has(bool ? value === 1 : value)) {
      unknown++;
      first ??= ['VOCABULARY', `${place(field, i, width)} is ${value}; allowed are ${allowed}`];
    }
  }
  return first !== undefined && unknown > maxUnknown * count
    ? first
    : missingViolation(field, missing, count, maxMissing);
}

function missingViolation(field: string, missing: number, count: number, maxMissing: number | undefined): Violation {
  if (maxMissing === undefined || missing <= maxMissing * count) return undefined;
  return [
    'MISSING_VALUES',
    `'${field}' has ${missing} missing of ${count} values; a share of ${maxMissing} is allowed`,
  ];
}

function place(field: string, element: number, width: number): string {
  return `'${field}' in row ${width === 0 ? 0 : Math.floor(element / width)}`;
}

function refused(model: string, findings: readonly Finding[]) {
  const told = findings.slice(0, MAX_TOLD).map(({ message }) => message);
  const more = findings.length > MAX_TOLD ? `; and ${findings.length - MAX_TOLD} more` : '';
  return invalidArgument(`the request does not fit the schema of model '${model}': ${told.join('; ')}${more}`);
}

/** In a header of the answer, and in the record where one is kept. */
function flag(context: RequestContext, findings: readonly Finding[]): void {
  const names = findings.map(({ field, kind }) => `${field}:${kind}`);
  context.served ??= { id: '', variant: '', version: '' };
  const { served } = context;
  served.anomalies = served.anomalies === undefined ? names.join(', ') : `${served.anomalies}, ${names.join(', ')}`;
  const column: Tensor = { name: ANOMALIES_COLUMN, datatype: 'BYTES', shape: [names.length], data: encodeBytes(names) };
  served.joined = [...(served.joined ?? []), column];
}
