import type { EventLogConfig } from '../../config/event-log-schema.ts';
import type { EntitySource, LogRule, Redaction } from '../../config/log-rule-schema.ts';
import type { DataType } from '../../tensor/tensor.ts';
import { strictestByField } from './stricter.ts';

/** A rule with nothing left open. */
export interface CompleteRule {
  enabled: boolean;
  sample: number;
  /** Undefined: all. */
  inputs: readonly string[] | undefined;
  outputs: readonly string[] | undefined;
  redact: readonly Redaction[];
  entity: EntitySource | undefined;
  payloadLimitBytes: number;
}

const DEFAULT_PAYLOAD_LIMIT = 256 * 1024;

/** Later rules win, setting by setting. Redactions add up: of one field the strictest holds, so no rule can undo one. */
export function mergeRules(...rules: readonly (LogRule | undefined)[]): CompleteRule {
  const merged: CompleteRule = {
    enabled: true,
    sample: 1,
    inputs: undefined,
    outputs: undefined,
    redact: [],
    entity: undefined,
    payloadLimitBytes: DEFAULT_PAYLOAD_LIMIT,
  };
  const redactions: Redaction[] = [];
  for (const rule of rules) {
    if (rule === undefined) continue;
    const { redact, ...plain } = rule;
    for (const [key, value] of Object.entries(plain)) if (value !== undefined) Object.assign(merged, { [key]: value });
    redactions.push(...(redact ?? []));
  }
  merged.redact = [...strictestByField(redactions).values()];
  return merged;
}

/** What a route says of logging. */
export interface RouteRule {
  route: string;
  /** Names of models for which requests come to it; undefined: they follow a pattern. */
  asked: readonly string[] | undefined;
  /** That its variants ask. */
  models: readonly string[];
  rule: LogRule | undefined;
}

/** A rule in use, and what the tap remembers of the requests it wrote by it. */
export interface Target {
  readonly rule: CompleteRule;
  readonly inputs: ReadonlySet<string> | undefined;
  readonly outputs: ReadonlySet<string> | undefined;
  /** Number in the ring; −1: not defined there yet. */
  index: number;
  /** Of what was defined; see the tap. */
  origins: Origin[];
  last: Origin | undefined;
  inputMemo: TensorMemo;
  outputMemo: TensorMemo;
}

/** Names and datatypes of tensors by position, the last seen, with their numbers. */
export interface TensorMemo {
  names: string[];
  indexes: number[];
  datatypes: DataType[];
  types: number[];
}

/** Everything about a request that many share. */
export interface Origin {
  index: number;
  /** The serving table it was looked up in. */
  table: object;
  route: string;
  variant: string;
  assigned: string;
  /** The model that answered, or should have. */
  served: string;
  version: string;
  requestedModel: string;
  tenant: string;
  protocol: string;
  role: string;
  detour: string;
  flags: number;
}

export function newTarget(rule: CompleteRule): Target {
  return {
    rule,
    inputs: rule.inputs === undefined ? undefined : new Set(rule.inputs),
    outputs: rule.outputs === undefined ? undefined : new Set(rule.outputs),
    index: -1,
    origins: [],
    last: undefined,
    inputMemo: newMemo(),
    outputMemo: newMemo(),
  };
}

function newMemo(): TensorMemo {
  return { names: [], indexes: [], datatypes: [], types: [] };
}

/** The targets of a gateway thread: by route and by the model that was asked for. */
export class Targets {
  private readonly config: Pick<EventLogConfig, 'rule' | 'models'>;
  private readonly general: Target;
  private readonly models = new Map<string, Target>();
  private routes = new Map<string, LogRule | undefined>();
  private byRoute = new Map<string, Target>();

  constructor(config: Pick<EventLogConfig, 'rule' | 'models'>) {
    this.config = config;
    this.general = newTarget(mergeRules(config.rule));
    for (const [model, rule] of Object.entries(config.models))
      this.models.set(model, newTarget(mergeRules(config.rule, rule)));
  }

  /** `rules`: what each route says of logging, by the route's name. */
  setRoutes(rules: ReadonlyMap<string, LogRule | undefined>): void {
    this.routes = new Map(rules);
    this.byRoute = new Map();
  }

  of(route: string, model: string): Target {
    const plain = this.models.get(model) ?? this.general;
    if (route === '') return plain;
    const rule = this.routes.get(route);
    if (rule === undefined) return plain;
    const key = plain === this.general ? route : `${route}\n${model}`;
    let target = this.byRoute.get(key);
    if (target === undefined) {
      target = newTarget(mergeRules(this.config.rule, this.config.models[model], rule));
      this.byRoute.set(key, target);
    }
    return target;
  }

  /** Forgets what was defined in the ring. */
  reset(): void {
    for (const target of [this.general, ...this.models.values(), ...this.byRoute.values()]) {
      target.index = -1;
      target.origins = [];
      target.last = undefined;
      target.inputMemo = newMemo();
      target.outputMemo = newMemo();
    }
  }
}
