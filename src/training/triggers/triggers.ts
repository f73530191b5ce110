import { createHash } from 'node:crypto';
import type { RegistryEvent } from '../../registry/events.ts';
import { SwitchyardError, toSwitchyardError } from '../../shared/errors.ts';
import type { EvaluationResult } from '../evaluation/result.ts';
import type { PipelineStore } from '../pipelines/store.ts';
import type { RegistryCalls } from '../pipelines/tracking.ts';
import {
  type Finding,
  lookAtCount,
  lookAtData,
  lookAtFigure,
  lookAtPrometheus,
  lookAtSchedule,
  nextDue,
} from './causes.ts';
import { decide, freshState, type TriggerState, withCause, withEnd, withStart } from './decide.ts';
import { causeOf, type TriggerDocument, type TriggerSpec } from './document.ts';
import { checkSignature, type SignedRequest } from './signature.ts';
import type { Firing, TriggerStore } from './store.ts';

const TICK_MS = 1000;
const LEASE_MS = 10_000;

export interface TriggersParts {
  store: TriggerStore;
  runs: PipelineStore;
  calls: RegistryCalls;
  owner: string;
  baseDir: string;
  documents(): ReadonlyMap<string, TriggerDocument>;
  /** Begins a run; the same id again is the same run. Resolves with its id. */
  begin(name: string, spec: TriggerSpec, cause: string, id: string): Promise<string>;
  now(): number;
  log(level: 'info' | 'warn' | 'error', message: string, fields: object): void;
}

export interface TriggerView {
  name: string;
  pipeline: string;
  cause: string;
  enabled: boolean;
  /** Why it would fire, were it let; null: no reason. */
  pending: string | null;
  running: boolean;
  last_run: string | null;
  /** Schedules: when it is due next. */
  next_due: number | null;
}

/**
 * Watches the causes of triggers and starts runs. Any server takes note of events; one of them, by lease, looks at clocks,
 * files and figures and starts what is due.
 */
export class Triggers {
  private readonly parts: TriggersParts;
  private readonly looked = new Map<string, number>();
  private timer: NodeJS.Timeout | undefined;
  private ticking: Promise<void> | undefined;

  constructor(parts: TriggersParts) {
    this.parts = parts;
  }

  start(): void {
    this.timer = setInterval(() => {
      this.ticking ??= this.tick().finally(() => {
        this.ticking = undefined;
      });
    }, TICK_MS);
    this.timer.unref();
  }

  async close(): Promise<void> {
    clearInterval(this.timer);
    await this.ticking;
  }

  async list(): Promise<TriggerView[]> {
    const documents = [...this.parts.documents().values()].sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
    const states = await this.parts.store.states(documents.map(({ metadata }) => metadata.name));
    return documents.map((document) => this.view(document, states.get(document.metadata.name) ?? freshState()));
  }

  /** Throws not_found. */
  async get(name: string): Promise<TriggerView> {
    const document = this.find(name);
    const states = await this.parts.store.states([name]);
    return this.view(document, states.get(name) ?? freshState());
  }

  async firings(name: string, before: number, limit: number): Promise<Firing[]> {
    this.find(name);
    return this.parts.store.firings(name, before, limit);
  }

  /** A person's word. It is a cause like others: debounce, single flight, cooldown and budget hold. */
  async fire(name: string, by: { actor: string; reason: string }): Promise<TriggerView> {
    this.find(name);
    await this.cause(name, `manual, by ${by.actor}${by.reason === '' ? '' : `: ${by.reason}`}`);
    await this.settle(name);
    return this.get(name);
  }

  /** A signed request to a trigger of CI or of a business metric. Throws permission_denied, conflict, invalid_argument. */
  async webhook(name: string, request: SignedRequest): Promise<TriggerView> {
    const { spec } = this.find(name);
    const variable = spec.when.ci?.secret ?? spec.when.business?.webhook?.secret;
    if (variable === undefined)
      throw new SwitchyardError(
        'failed_precondition',
        `trigger ${name} takes no requests; its cause is ${causeOf(spec)}`,
      );
    const secret = process.env[variable];
    if (secret === undefined || secret === '')
      throw new SwitchyardError(
        'failed_precondition',
        `the server has no variable ${variable} with the secret of trigger ${name}`,
      );
    const now = this.parts.now();
    const figure = spec.when.business === undefined ? undefined : readFigure(request.body);
    const text = Buffer.from(request.body).toString('utf8');
    await this.parts.store.update(name, now, (state) => {
      const delivered = checkSignature(request, secret, (state.memory.delivered ?? []) as string[], now);
      const memory = { ...state.memory, delivered };
      if (figure === undefined) return { state: withCause({ ...state, memory }, ciReason(text), now) };
      const found = lookAtFigure(spec.when.business!, 'the reported figure', figure, memory);
      const next = { ...state, memory: found.memory };
      return { state: found.cause === undefined ? next : withCause(next, found.cause, now) };
    });
    await this.settle(name);
    return this.get(name);
  }

  /** Something was committed. Never rejects. */
  async event({ type, data }: RegistryEvent): Promise<void> {
    try {
      for (const [name, { spec }] of this.parts.documents()) {
        const { performance, drift } = spec.when;
        if (drift !== undefined && type === 'drift.set') await this.drift(name, drift, data);
        if (performance?.model !== undefined && type === 'evaluation.created')
          await this.evaluated(name, performance, data);
        if (performance?.experiment !== undefined && hasFinished(type, data))
          await this.finished(name, performance, String(data.run_id));
      }
    } catch (error) {
      this.parts.log('warn', 'an event may have been missed by triggers', { err: error, event: type });
    }
  }

  private async drift(
    name: string,
    drift: NonNullable<TriggerSpec['when']['drift']>,
    data: RegistryEvent['data'],
  ): Promise<void> {
    const model = String(data.model ?? data.name ?? '');
    const level = String(data.level ?? 'alert');
    if (drift.model !== undefined && drift.model !== model) return;
    if (drift.level === 'alert' && level !== 'alert') return;
    if (level !== 'alert' && level !== 'warning') return;
    const why = typeof data.reason === 'string' && data.reason !== '' ? `: ${data.reason}` : '';
    await this.cause(name, `drift (${level})${model === '' ? '' : ` of ${model}`}${why}`);
  }

  private async evaluated(
    name: string,
    wanted: NonNullable<TriggerSpec['when']['performance']>,
    data: RegistryEvent['data'],
  ): Promise<void> {
    if (data.model !== wanted.model) return;
    const slices = (data.slices ?? []) as EvaluationResult['slices'];
    const part = wanted.slice === undefined ? data : slices.find((slice) => slice.name === wanted.slice);
    const figure = (part?.metrics as Record<string, number> | undefined)?.[wanted.metric];
    if (figure !== undefined) await this.figure(name, wanted, `${wanted.metric} of ${wanted.model}`, figure);
  }

  private async finished(
    name: string,
    wanted: NonNullable<TriggerSpec['when']['performance']>,
    runId: string,
  ): Promise<void> {
    const { run } = await this.parts.calls.call('mlflowGetRun', { run_id: runId });
    const { experiment } = await this.parts.calls.call('mlflowGetExperiment', {
      experiment_id: run.info.experiment_id,
    });
    if (experiment.name !== wanted.experiment) return;
    const metric = run.data.metrics?.find(({ key }: { key: string }) => key === wanted.metric);
    if (metric !== undefined) await this.figure(name, wanted, `${wanted.metric} of run ${runId}`, Number(metric.value));
  }

  private async figure(
    name: string,
    threshold: Parameters<typeof lookAtFigure>[0],
    what: string,
    figure: number,
  ): Promise<void> {
    const now = this.parts.now();
    await this.parts.store.update(name, now, (state) =>
      applied(state, lookAtFigure(threshold, what, figure, state.memory), now),
    );
  }

  private async cause(name: string, reason: string): Promise<void> {
    const now = this.parts.now();
    await this.parts.store.update(name, now, (state) => ({ state: withCause(state, reason, now) }));
  }

  /** Never rejects. */
  private async tick(): Promise<void> {
    const { store, runs, owner, log } = this.parts;
    try {
      const now = this.parts.now();
      const documents = this.parts.documents();
      if (documents.size === 0 || !(await runs.lease('triggers', owner, now, now + LEASE_MS))) return;
      const states = await store.states([...documents.keys()]);
      for (const [name, document] of documents) {
        const state = states.get(name) ?? freshState();
        try {
          const looked = await this.look(name, document.spec, state);
          if (looked.pending !== null || looked.running) await this.settle(name);
        } catch (error) {
          log('warn', 'a trigger cannot be looked at; it is tried again', { err: error, trigger: name });
        }
      }
    } catch (error) {
      log('warn', 'triggers cannot be looked after; it is tried again', { err: error });
    }
  }

  /** Looks at what has to be asked: clocks, files, figures. */
  private async look(name: string, spec: TriggerSpec, state: TriggerState): Promise<TriggerState> {
    const now = this.parts.now();
    const { schedule, data, count, business } = spec.when;
    const every = data?.every ?? count?.every ?? business?.every ?? 0;
    if (!spec.enabled || now - (this.looked.get(name) ?? 0) < every) return state;
    this.looked.set(name, now);
    let found: Finding | undefined;
    if (schedule !== undefined) found = lookAtSchedule(schedule, state.memory, now);
    else if (data !== undefined) found = await lookAtData(data, state.memory, this.parts.baseDir, now);
    else if (count !== undefined) found = await lookAtCount(count, state.memory, this.parts.baseDir);
    else if (business?.prometheus !== undefined)
      found = await lookAtPrometheus(business, state.memory, (problem) =>
        this.parts.log('warn', 'the figure of a trigger cannot be read', { trigger: name, problem }),
      );
    const finding = found;
    if (finding === undefined) return state;
    if (finding.cause === undefined && JSON.stringify(finding.memory) === JSON.stringify(state.memory)) return state;
    return this.parts.store.update(name, now, (current) => applied(current, finding, now));
  }

  /** Does what is to be done about a pending cause, if anything is. */
  private async settle(name: string): Promise<void> {
    const { store, runs } = this.parts;
    const { spec } = this.find(name);
    const now = this.parts.now();
    let state = (await store.states([name])).get(name) ?? freshState();
    if (state.running) {
      const run = await runs.run(state.run);
      if (run?.status !== 'running')
        state = await store.update(name, now, (current) => ({
          state: current.running ? withEnd(current, run?.ended_at ?? now) : current,
        }));
    }
    const decision = decide(spec, state, now);
    if (decision.what === 'nothing' || state.pending === null) return;
    if (decision.what === 'fire') return this.launch(name, spec, state.pending, decision.reason);
    if (decision.what === 'refuse') {
      const firing = { outcome: 'refused' as const, reason: decision.reason, run: '' };
      await store.update(name, now, (current) => ({ state: { ...current, pending: null }, firing }));
      return;
    }
    const { kind, reason } = decision;
    if (kind === 'debounce' || state.pending.told === kind) return;
    const firing = { outcome: 'waiting' as const, reason: `${state.pending.reason}; ${reason}`, run: '' };
    await store.update(name, now, (current) => ({
      state: current.pending === null ? current : { ...current, pending: { ...current.pending, told: kind } },
      firing,
    }));
  }

  /** The run's id is made of the cause, so that a server killed in between begins it once. */
  private async launch(
    name: string,
    spec: TriggerSpec,
    pending: NonNullable<TriggerState['pending']>,
    reason: string,
  ): Promise<void> {
    const { store, log } = this.parts;
    const id = createHash('sha256').update(`${name}\0${pending.since}`).digest('hex').slice(0, 16);
    const now = this.parts.now();
    try {
      const run = await this.parts.begin(name, spec, reason, id);
      await store.update(name, now, (state) => ({
        state: withStart(state, run, now),
        firing: { outcome: 'fired', reason, run },
      }));
      log('info', 'a trigger fired', { trigger: name, run, reason });
    } catch (error) {
      const words = `${reason}; the run could not begin: ${toSwitchyardError(error).message}`;
      await store.update(name, now, (state) => ({
        state: { ...state, pending: null },
        firing: { outcome: 'failed', reason: words, run: '' },
      }));
      log('error', 'a trigger could not begin its run', { err: error, trigger: name });
    }
  }

  private find(name: string): TriggerDocument {
    const found = this.parts.documents().get(name);
    if (found !== undefined) return found;
    throw new SwitchyardError('not_found', `there is no trigger ${JSON.stringify(name.slice(0, 140))}`);
  }

  private view({ metadata, spec }: TriggerDocument, state: TriggerState): TriggerView {
    const { schedule } = spec.when;
    const due = typeof state.memory.due === 'number' ? state.memory.due : undefined;
    return {
      name: metadata.name,
      pipeline: spec.pipeline,
      cause: causeOf(spec),
      enabled: spec.enabled,
      pending: state.pending?.reason ?? null,
      running: state.running,
      last_run: state.run || null,
      next_due: schedule === undefined || !spec.enabled ? null : (due ?? nextDue(schedule, this.parts.now())),
    };
  }
}

/** Memory that others keep beside (delivered requests) stays. */
function applied(state: TriggerState, { memory, cause }: Finding, now: number): { state: TriggerState } {
  const next = { ...state, memory: { ...state.memory, ...memory } };
  return { state: cause === undefined ? next : withCause(next, cause, now) };
}

function readFigure(body: Uint8Array): number {
  try {
    const { value } = JSON.parse(Buffer.from(body).toString('utf8')) as { value?: unknown };
    if (typeof value === 'number' && Number.isFinite(value)) return value;
  } catch {
    // Told below.
  }
  throw new SwitchyardError('invalid_argument', 'the body must be {"value": <number>}');
}

/** What CI systems say about themselves, if they do. */
function ciReason(text: string): string {
  try {
    const body = JSON.parse(text) as Record<string, unknown>;
    const reason = body.reason ?? body.ref ?? body.after ?? body.commit;
    if (typeof reason === 'string' && reason !== '') return `CI: ${reason.slice(0, 500)}`;
  } catch {
    // Any body will do: the signature counts.
  }
  return 'CI';
}

/** A run has: by its own word, or by that of the job it belongs to. */
function hasFinished(type: string, { status }: RegistryEvent['data']): boolean {
  return (type === 'run.updated' && status === 'FINISHED') || (type === 'job.updated' && status === 'succeeded');
}
