import { invalidArgument, SwitchyardError } from '../shared/errors.ts';

/** Triton's trace settings in our own form. Plain data: the control thread pushes it to the gateway threads. */
export interface TraceSettings {
  /** trace_level TIMESTAMPS. */
  on: boolean;
  /** One request in so many is traced; 0: none but those whose caller traces. */
  rate: number;
  /** Traces to take in all; -1: no end. */
  count: number;
  /** Where the shared counters hold what is left of `count`. */
  counter: number;
}

/** Global settings and what single models override. */
export interface TraceSettingsState {
  global: TraceSettings;
  models: ReadonlyMap<string, Partial<TraceSettings>>;
}

const MODE = 'opentelemetry';
const FIELDS = ['trace_level', 'trace_rate', 'trace_count', 'log_frequency', 'trace_file', 'trace_mode'];

/** What holds for a model; '' = the global settings. */
export function effectiveTraceSettings(state: TraceSettingsState, model: string): TraceSettings {
  const own = model === '' ? undefined : state.models.get(model);
  return own === undefined ? state.global : { ...state.global, ...own };
}

/** The body of GET …/trace/setting. */
export function describeTraceSettings(settings: TraceSettings): Record<string, unknown> {
  return {
    trace_level: [settings.on ? 'TIMESTAMPS' : 'OFF'],
    trace_rate: String(settings.rate),
    trace_count: String(settings.count),
    log_frequency: '0',
    trace_file: '',
    trace_mode: MODE,
  };
}

function show(value: unknown): string {
  return JSON.stringify(value) ?? String(value);
}

/** gRPC sends every value as a list of strings; HTTP as a string, a number or a list. */
function single(field: string, value: unknown): string {
  const first: unknown = Array.isArray(value) && value.length === 1 ? value[0] : value;
  if (typeof first !== 'string' && typeof first !== 'number') {
    throw invalidArgument(`${field}: ${show(value)} is not allowed; give one string`);
  }
  return String(first);
}

function whole(field: string, value: unknown, least: number): number {
  const text = single(field, value);
  const parsed = /^-?\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
  if (!(parsed >= least && parsed <= 0x7fffffff)) {
    throw invalidArgument(`${field}: ${show(text)} is not allowed; give a whole number from ${least} to 2147483647`);
  }
  return parsed;
}

function level(value: unknown): boolean {
  const levels = Array.isArray(value) ? value : [value];
  if (levels.includes('TENSORS')) {
    throw new SwitchyardError('unsupported', 'trace_level: "TENSORS" is not supported; give "OFF" or "TIMESTAMPS"');
  }
  if (levels.length === 0 || !levels.every((one) => one === 'OFF' || one === 'TIMESTAMPS')) {
    throw invalidArgument(`trace_level: ${show(value)} is not allowed; give "OFF" or "TIMESTAMPS"`);
  }
  if (levels.includes('OFF') && levels.length > 1) throw invalidArgument('trace_level: "OFF" stands alone');
  return levels[0] === 'TIMESTAMPS';
}

/** Changes of one update: a value, or null = back to the inherited one (globally: to `initial`). */
function parseUpdate(
  update: Readonly<Record<string, unknown>>,
): Partial<Record<keyof TraceSettings, boolean | number | null>> {
  const changes: Partial<Record<keyof TraceSettings, boolean | number | null>> = {};
  for (const [field, value] of Object.entries(update)) {
    const cleared = value === null || (Array.isArray(value) && value.length === 0);
    switch (field) {
      case 'trace_level':
        changes.on = cleared ? null : level(value);
        break;
      case 'trace_rate':
        changes.rate = cleared ? null : whole(field, value, 0);
        break;
      case 'trace_count':
        changes.count = cleared ? null : whole(field, value, -1);
        break;
      case 'log_frequency':
        if (!cleared && whole(field, value, 0) !== 0) {
          throw new SwitchyardError(
            'unsupported',
            'log_frequency: traces go to a collector, not to files; only 0 is supported',
          );
        }
        break;
      case 'trace_file':
        if (!cleared && single(field, value) !== '') {
          throw new SwitchyardError(
            'unsupported',
            'trace_file cannot be set; traces go to the OpenTelemetry collector of the configuration',
          );
        }
        break;
      case 'trace_mode':
        if (!cleared && single(field, value) !== MODE) {
          throw new SwitchyardError(
            'unsupported',
            `trace_mode: ${show(value)} is not supported; only ${show(MODE)} is`,
          );
        }
        break;
      default:
        throw invalidArgument(`unknown trace setting ${show(field)}; known are ${FIELDS.join(', ')}`);
    }
  }
  return changes;
}

/**
 * The state after an update of a model, or of the global settings when `model` is ''. All of it is taken or none;
 * `initial` are the configured global values. Throws invalid_argument or unsupported.
 */
export function updateTraceSettings(
  state: TraceSettingsState,
  model: string,
  update: Readonly<Record<string, unknown>>,
  initial: TraceSettings,
): TraceSettingsState {
  const changes = parseUpdate(update);
  if (model === '') {
    const global: Record<string, unknown> = { ...state.global };
    for (const [key, value] of Object.entries(changes)) global[key] = value ?? initial[key as keyof TraceSettings];
    return { ...state, global: global as unknown as TraceSettings };
  }
  const own: Record<string, unknown> = { ...state.models.get(model) };
  for (const [key, value] of Object.entries(changes)) {
    if (value === null) delete own[key];
    else own[key] = value;
  }
  if (own.count === undefined) delete own.counter;
  const models = new Map(state.models);
  if (Object.keys(own).length === 0) models.delete(model);
  else models.set(model, own as Partial<TraceSettings>);
  return { ...state, models };
}

const MAX_COUNTERS = 1024;

/** The control thread's trace settings; `state` goes to the gateway threads after each update, `counters` once. */
export class TraceSettingsStore {
  state: TraceSettingsState;
  /** What is left of each trace_count, taken down by all gateway threads. */
  readonly counters = new SharedArrayBuffer(MAX_COUNTERS * 4);
  private readonly initial: TraceSettings;
  private readonly slots = new Map<string, number>([['', 0]]);

  constructor(initial: { on: boolean; rate: number; count: number }) {
    this.initial = { ...initial, counter: 0 };
    this.state = { global: this.initial, models: new Map() };
    new Int32Array(this.counters)[0] = initial.count;
  }

  /** Answers the settings of the model ('' = global) after the update, if any. Throws as updateTraceSettings does. */
  update(model: string, update: Readonly<Record<string, unknown>> | undefined): Record<string, unknown> {
    if (update !== undefined) {
      const next = updateTraceSettings(this.state, model, update, this.initial);
      this.state = 'trace_count' in update ? this.recount(next, model) : next;
    }
    return describeTraceSettings(effectiveTraceSettings(this.state, model));
  }

  private recount(state: TraceSettingsState, model: string): TraceSettingsState {
    const own = model === '' ? state.global : state.models.get(model);
    if (own?.count === undefined) return state;
    const slot = this.slots.get(model) ?? this.slots.size;
    if (slot >= MAX_COUNTERS) {
      throw new SwitchyardError(
        'overloaded',
        `trace_count: ${MAX_COUNTERS - 1} models have one already; clear some first`,
      );
    }
    this.slots.set(model, slot);
    Atomics.store(new Int32Array(this.counters), slot, own.count);
    if (model === '') return state;
    return { ...state, models: new Map(state.models).set(model, { ...own, counter: slot }) };
  }
}
