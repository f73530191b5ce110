import { createHash } from 'node:crypto';
import { join } from 'node:path';
import type { Happening } from '../registry/commit.ts';
import { toSwitchyardError } from '../shared/errors.ts';
import type { RunWish } from '../training/pipelines/pipelines.ts';
import type { FullRunView } from '../training/pipelines/view.ts';
import { nextDue } from '../training/triggers/causes.ts';
import type { MonitorDocument, RetrainSpec } from './document.ts';
import type { MonitorMetrics } from './metrics.ts';
import {
  decideRetraining,
  isOver,
  type RetrainState,
  type Want,
  withBreaker,
  withEnd,
  withStart,
} from './retraining.ts';
import type { RetrainingRow, RetrainingStore } from './retraining-store.ts';
import type { MonitorState } from './state.ts';
import type { MonitorStore } from './store.ts';
import type { DatasetPlace, Exported } from './types.ts';

/** Of what a schema has against data, in a message. */
const SHOWN = 5;

/** A canary as a route tells of it. */
export interface RolloutFacts {
  route: string;
  phase: string;
  reason: string;
  /** What the controller noted, oldest first. */
  history: { at: number; message: string }[];
}

/** A CSV file of labelled rows, and which they are. */
export interface LabelledRowsFile extends Omit<Exported, 'rows' | 'bytes'> {
  /** Of the dataset. */
  name: string;
  file: string;
  monitor: string;
  retraining: string;
  model: string;
}

export interface RetrainerParts {
  dataDir: string;
  /** The log thread; undefined: nothing is logged. */
  feed:
    | {
        labelledRows(monitor: string, since: number): Promise<number>;
        exportLabels(monitor: string, since: number, file: string): Promise<Exported>;
      }
    | undefined;
  /** Keeps what is learnt from as a version of a dataset, which is never changed. */
  keepRows(rows: LabelledRowsFile): Promise<DatasetPlace>;
  /** What contradicts a schema in a version of a dataset, as texts; none: it passes. Rejects with not_found. */
  checkRows(
    rows: DatasetPlace,
    schema: { schema: string; version?: number | undefined },
    monitor: string,
  ): Promise<string[]>;
  pipelines: { run(wish: RunWish): Promise<FullRunView>; getRun(id: string): Promise<FullRunView> };
  /** The last rollout of a version of a model, if a route has one. */
  rollout(model: string, version: string): RolloutFacts | undefined;
  log(level: 'info' | 'warn' | 'error', message: string, fields: object): void;
}

/** Carries out what retraining.ts decides, and follows each retraining to its promotion or its end. */
export class Retrainer {
  private readonly store: MonitorStore;
  private readonly retrainings: RetrainingStore;
  private readonly metrics: MonitorMetrics;
  private readonly parts: RetrainerParts;
  private readonly monitorsOf: (model: string) => readonly string[];

  /** @param monitorsOf names of the monitors that watch a model */
  constructor(
    store: MonitorStore,
    retrainings: RetrainingStore,
    metrics: MonitorMetrics,
    parts: RetrainerParts,
    monitorsOf: (model: string) => readonly string[],
  ) {
    this.monitorsOf = monitorsOf;
    this.store = store;
    this.retrainings = retrainings;
    this.metrics = metrics;
    this.parts = parts;
  }

  /** One look after another, never two at a time. `labels`: joined so far; undefined: the log thread has not told yet. */
  async look(document: MonitorDocument, spec: RetrainSpec, labels: number | undefined): Promise<void> {
    await this.watch(document, spec);
    await this.consider(document, spec, labels);
  }

  /** How the retraining that goes on stands. */
  private async watch({ metadata: { name }, spec: { model } }: MonitorDocument, spec: RetrainSpec): Promise<void> {
    const { store } = this;
    const { active } = (await store.state(name)).retrain;
    if (active === null) return;
    const row = await this.retrainings.get(active.id);
    if (row === undefined)
      return this.finish(name, { id: active.id, status: 'failed', version: '' }, 'it is not known');
    if (isOver(row.status))
      return this.finish(name, { id: row.id, status: row.status, version: row.version }, row.outcome);
    let run: FullRunView;
    try {
      run = await this.parts.pipelines.getRun(row.pipelineRun);
    } catch (error) {
      if (toSwitchyardError(error).code !== 'not_found') throw error;
      return this.finish(name, { id: row.id, status: 'failed', version: '' }, 'the server ended before it could begin');
    }
    if (run.status === 'failed' || run.status === 'cancelled')
      return this.finish(name, { id: row.id, status: 'failed', version: '' }, `pipeline run ${run.id}: ${run.reason}`);
    if (run.status !== 'succeeded') return;
    const version = registeredBy(run, model);
    if (version === undefined)
      return this.finish(
        name,
        { id: row.id, status: 'failed', version: '' },
        `pipeline run ${run.id} registered no version of ${model}`,
      );
    const { champion } = await store.state(name);
    if (champion === version)
      return this.finish(name, { id: row.id, status: 'promoted', version }, `version ${version} is ${spec.alias}`);
    if (row.status === 'running') {
      const outcome = `version ${version} passed its gate, and waits to be ${spec.alias}`;
      await this.retrainings.change(row.id, { status: 'canary', version, outcome });
      this.parts.log('info', 'a retrained version waits for its promotion', { monitor: name, version, run: run.id });
    }
    const rollout = this.parts.rollout(model, version);
    if (rollout?.phase === 'rolledBack')
      return this.finish(
        name,
        { id: row.id, status: 'notPromoted', version },
        `route ${rollout.route} rolled it back: ${rollout.reason}`,
      );
    if (Date.now() - (run.ended_at ?? row.createdAt) > spec.promoteWithin)
      return this.finish(
        name,
        { id: row.id, status: 'notPromoted', version },
        `version ${version} was not promoted in time`,
      );
  }

  private async finish(
    name: string,
    end: { id: string; status: RetrainingRow['status']; version: string },
    outcome: string,
    happened: Happening[] = [],
  ): Promise<void> {
    const { store } = this;
    const now = Date.now();
    await this.retrainings.change(end.id, { status: end.status, outcome, version: end.version, endedAt: now });
    await store.update(
      name,
      now,
      (state) => ({ ...state, retrain: withEnd(state.retrain, end, now) }),
      () => happened,
    );
    this.metrics.retraining(name, end.status);
    const level = end.status === 'promoted' ? 'info' : 'warn';
    this.parts.log(level, 'a retraining ended', { monitor: name, retraining: end.id, status: end.status, outcome });
  }

  private async consider(document: MonitorDocument, spec: RetrainSpec, told: number | undefined): Promise<void> {
    const { feed } = this.parts;
    const { name } = document.metadata;
    const { store } = this;
    const now = Date.now();
    let state = await store.state(name);
    const labels = told ?? state.retrain.labelsAt;
    // Labels are counted anew where they are joined by other settings: what was counted before says nothing of those.
    if (labels < state.retrain.labelsAt)
      state = (await store.update(name, now, (old) => ({ ...old, retrain: { ...old.retrain, labelsAt: 0 } }))).after;
    if (spec.on.schedule !== undefined && state.retrain.due === 0) {
      const due = nextDue(spec.on.schedule, now) ?? Number.MAX_SAFE_INTEGER;
      state = (await store.update(name, now, (old) => ({ ...old, retrain: { ...old.retrain, due } }))).after;
    }
    const want = wanted(spec, state, labels, now);
    if (want === undefined || feed === undefined) return this.waits(name, state.retrain, '');
    const since = spec.data.since === 'all' ? 0 : want.changedAt;
    const rows = await feed.labelledRows(name, since);
    const others = await this.othersOf(document);
    const decision = decideRetraining(spec, state.retrain, want, rows, now, others);
    if (decision.what === 'wait') return this.waits(name, state.retrain, `${want.reason}; ${decision.reason}`);
    if (decision.what === 'trip') {
      await store.update(name, now, (old) => ({ ...old, retrain: withBreaker(old.retrain, decision.reason, now) }));
      this.metrics.breaker(name, true);
      this.parts.log('error', 'retraining stops until a person resets the monitor', {
        monitor: name,
        reason: decision.reason,
      });
      return;
    }
    if (decision.what === 'start') await this.begin(document, spec, state, want, since, labels);
  }

  /** Why the rows must not be learnt from; undefined: they pass. */
  private async contradiction(
    rows: DatasetPlace,
    wanted: NonNullable<RetrainSpec['validate']>,
    monitor: string,
  ): Promise<string | undefined> {
    const which = `dataset ${rows.name}/${rows.version}`;
    try {
      const found = await this.parts.checkRows(rows, wanted, monitor);
      if (found.length === 0) return undefined;
      const rest = found.length > SHOWN ? `; and ${found.length - SHOWN} more` : '';
      return `${which} does not pass schema ${wanted.schema}: ${found.slice(0, SHOWN).join('; ')}${rest}`;
    } catch (error) {
      return `${which} cannot be validated: ${toSwitchyardError(error).message}`;
    }
  }

  /** Retrainings of the model that other monitors started, and that go on. */
  private async othersOf({ metadata: { name }, spec: { model } }: MonitorDocument) {
    const others: (NonNullable<RetrainState['active']> & { monitor: string })[] = [];
    for (const monitor of this.monitorsOf(model)) {
      const { active } = monitor === name ? { active: null } : (await this.store.state(monitor)).retrain;
      if (active !== null) others.push({ ...active, monitor });
    }
    return others;
  }

  private async waits(name: string, { waiting }: RetrainState, reason: string): Promise<void> {
    // Figures in the reason change all the time; what it waits for is told once.
    const shape = (text: string): string => text.replace(/\d+/g, '0');
    if (shape(waiting) === shape(reason)) return;
    const { store } = this;
    await store.update(name, Date.now(), (state) => ({ ...state, retrain: { ...state.retrain, waiting: reason } }));
    if (reason !== '') this.parts.log('info', 'a retraining waits', { monitor: name, reason });
  }

  /** What is to be done is written down first: a server that ends in between does not do it twice. */
  private async begin(
    document: MonitorDocument,
    spec: RetrainSpec,
    state: MonitorState,
    want: Want,
    since: number,
    labels: number,
  ): Promise<void> {
    const { store } = this;
    const { name } = document.metadata;
    const now = Date.now();
    const id = createHash('sha256')
      .update(`${name}\0${want.key}\0${state.retrain.last?.id ?? ''}\0${state.generation}`)
      .digest('hex')
      .slice(0, 16);
    const file = join(this.parts.dataDir, 'monitoring', name, `${id}.csv`);
    const exported = await this.parts.feed!.exportLabels(name, since, file);
    const { rows: _, bytes: __, ...which } = exported;
    const { name: dataset, version } = await this.parts.keepRows({
      ...which,
      name: `retraining.${name}`.slice(0, 128),
      file,
      monitor: name,
      retraining: id,
      model: document.spec.model,
    });
    await this.retrainings.add({
      id,
      monitor: name,
      model: document.spec.model,
      fromVersion: want.version,
      cause: want.cause,
      reason: want.reason,
      changedAt: want.changedAt,
      status: 'running',
      outcome: '',
      dataset: { ...exported, file, name: dataset, version },
      pipelineRun: id,
      version: '',
      createdAt: now,
      endedAt: null,
    });
    await store.update(name, now, (old) => ({
      ...old,
      retrain: { ...withStart(spec, old.retrain, id, want, now), labelsAt: labels, due: 0 },
    }));
    const facts = { monitor: name, retraining: id, cause: want.cause, reason: want.reason, rows: exported.rows };
    if (spec.validate !== undefined) {
      const problem = await this.contradiction({ name: dataset, version }, spec.validate, name);
      if (problem !== undefined) {
        const data = {
          monitor: name,
          model: document.spec.model,
          version: want.version,
          level: 'alert',
          reason: problem,
        };
        const told = { name: document.spec.model, ...data, signal: 'validation', retraining: id };
        return this.finish(name, { id, status: 'failed', version: '' }, problem, [
          { entity: 'drift', action: 'set', data: told },
        ]);
      }
    }
    try {
      await this.parts.pipelines.run({
        pipeline: spec.pipeline,
        environment: spec.environment,
        parameters: { ...spec.parameters, [spec.data.parameter]: file },
        actor: `monitor ${name}`,
        reason: `${want.cause}: ${want.reason}`,
        idempotencyKey: id,
      });
      this.parts.log('info', 'a retraining began', facts);
    } catch (error) {
      const outcome = `the pipeline could not begin: ${toSwitchyardError(error).message}`;
      await this.finish(name, { id, status: 'failed', version: '' }, outcome);
    }
  }
}

/** Why a monitor wants to retrain now; undefined: it does not. The champion's windows count, not a candidate's. */
function wanted(spec: RetrainSpec, state: MonitorState, labels: number, now: number): Want | undefined {
  const { champion, retrain, alarms } = state;
  for (const [place, alarm] of Object.entries(alarms)) {
    const [signal, version] = place.split('/');
    const cause = signal === 'drift' ? 'drift' : 'quality';
    if (alarm.level !== 'alert' || version !== champion || !spec.on[cause]) continue;
    return { cause, version, reason: alarm.reason, changedAt: alarm.changedAt, key: `${place}/${alarm.since}` };
  }
  const fresh = labels - retrain.labelsAt;
  if (spec.on.labels !== undefined && fresh >= spec.on.labels)
    return { cause: 'labels', version: champion, reason: `${fresh} new labels`, changedAt: 0, key: `labels/${labels}` };
  if (spec.on.schedule !== undefined && retrain.due > 0 && now >= retrain.due) {
    const reason = `schedule ${spec.on.schedule.cron}, due ${new Date(retrain.due).toISOString()}`;
    return { cause: 'schedule', version: champion, reason, changedAt: 0, key: `schedule/${retrain.due}` };
  }
  return undefined;
}

/** The version of the model that a run registered. */
function registeredBy(run: FullRunView, model: string): string | undefined {
  for (const { kind, values } of run.steps) {
    const found = values.version as { name?: string; version?: string } | undefined;
    if (kind === 'register' && found?.name === model) return found.version;
  }
  return undefined;
}
