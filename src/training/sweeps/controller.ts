import { type CommitContext, commit } from '../../registry/commit.ts';
import type { RegistryDatabase } from '../../registry/database/database.ts';
import { RegistryError } from '../../registry/errors.ts';
import { setJobRunStatus } from '../../registry/tracking/job-runs.ts';
import { readMetrics } from '../../registry/tracking/metric-backlog.ts';
import { addMetric, addMissingParams, metricPoints } from '../../registry/tracking/sweep-runs.ts';
import { SwitchyardError } from '../../shared/errors.ts';
import type { Jobs, JobView } from '../jobs/jobs.ts';
import { ActiveSweep, type End } from './active-sweep.ts';
import type { Params } from './algorithms/space.ts';
import type { SweepStore, TrialRow } from './store.ts';
import type { TrialStatus } from './sweeps.ts';
import { trialJob } from './template.ts';

/** Between two looks at what running trials report. */
const LOOK_MS = 1_000;
/** Looks between two at what other servers did: sweeps they took in or ended, jobs they ran. */
const LOOKS_AT_OTHERS = 5;

export interface ControllerParts {
  store: SweepStore;
  database: RegistryDatabase;
  /** For writes that webhooks hear of. */
  commits: CommitContext;
  jobs: Jobs;
  /** Whether it is this server's turn: one of several on a database moves the sweeps. */
  leading(): boolean;
  now(): number;
  onError(error: unknown, sweep: string): void;
}

interface Followed {
  sweep: ActiveSweep;
  /** Jobs to be looked at again. */
  dirty: Set<string>;
  /** Jobs whose cancelling was asked for. */
  cancelled: Set<string>;
  /** The rows in SQL are newer. */
  stale: boolean;
  busy: Promise<void> | undefined;
  again: boolean;
}

/**
 * Moves sweeps on: follows their trials' jobs, stops what is not worth its time, begins what comes next. Everything it
 * decides is in SQL before it acts, and acting twice does no harm; so whoever starts after a crash goes on where it ended.
 */
export class SweepController {
  private readonly parts: ControllerParts;
  private readonly followed = new Map<string, Followed>();
  private readonly unsubscribe: () => void;
  private readonly timer: NodeJS.Timeout;
  private closed = false;
  private looks = 0;

  constructor(parts: ControllerParts) {
    this.parts = parts;
    this.unsubscribe = parts.jobs.subscribe((job) => this.changed(job));
    this.timer = setInterval(() => this.look(), LOOK_MS);
    this.timer.unref();
  }

  /** Follows a sweep from here on; does nothing for one that is over, and on a server whose turn it is not. */
  async follow(id: string): Promise<void> {
    if (!this.mayFollow(id)) return;
    const [row, trials] = await Promise.all([this.parts.store.get(id), this.parts.store.trials(id)]);
    if (row === undefined || (row.status !== 'running' && row.status !== 'ending') || !this.mayFollow(id)) return;
    const followed: Followed = {
      sweep: new ActiveSweep(row, trials),
      dirty: new Set(),
      cancelled: new Set(),
      stale: false,
      busy: undefined,
      again: false,
    };
    this.followed.set(id, followed);
    lookAtAll(followed);
    this.wake(followed);
  }

  private mayFollow(id: string): boolean {
    return !this.closed && this.parts.leading() && !this.followed.has(id);
  }

  /** Ends a sweep early. */
  async end(id: string, end: End): Promise<void> {
    await this.parts.store.write((db) => this.parts.store.change(db, id, 'running', { status: 'ending', ...end }));
    const followed = this.followed.get(id);
    if (followed === undefined) return this.follow(id);
    followed.stale = true;
    this.wake(followed);
  }

  async close(): Promise<void> {
    this.closed = true;
    clearInterval(this.timer);
    this.unsubscribe();
    await Promise.all([...this.followed.values()].map(({ busy }) => busy));
  }

  private changed({ id, parent }: JobView): void {
    if (parent?.kind !== 'sweep') return;
    const followed = this.followed.get(parent.id);
    if (followed === undefined) return;
    followed.dirty.add(id);
    this.wake(followed);
  }

  private look(): void {
    if (!this.parts.leading()) {
      this.followed.clear();
      return;
    }
    if (this.looks++ % LOOKS_AT_OTHERS === 0) void this.lookAtOthers().catch((error) => this.parts.onError(error, ''));
    for (const followed of this.followed.values()) this.wake(followed);
  }

  private async lookAtOthers(): Promise<void> {
    for (const { sweep_id: id, status } of await this.parts.store.open()) {
      const followed = this.followed.get(id);
      if (followed === undefined) await this.follow(id);
      else {
        lookAtAll(followed);
        if (status !== followed.sweep.row.status) followed.stale = true;
      }
    }
  }

  /** One step at a time for each sweep; what happens meanwhile brings one more. */
  private wake(followed: Followed): void {
    if (this.closed || !this.parts.leading()) return;
    followed.again = true;
    followed.busy ??= this.steps(followed).finally(() => {
      followed.busy = undefined;
    });
  }

  private async steps(followed: Followed): Promise<void> {
    try {
      while (followed.again && !this.closed) {
        followed.again = false;
        await this.step(followed);
      }
    } catch (error) {
      // The next look tries again.
      this.parts.onError(error, followed.sweep.id);
      lookAtAll(followed);
    }
  }

  private async reload(followed: Followed): Promise<void> {
    const { store } = this.parts;
    followed.stale = false;
    const [row, trials] = await Promise.all([store.get(followed.sweep.id), store.trials(followed.sweep.id)]);
    if (row !== undefined) followed.sweep.row = row;
    followed.sweep.trials = trials;
  }

  private async step(followed: Followed): Promise<void> {
    const { sweep, dirty } = followed;
    if (followed.stale) await this.reload(followed);
    for (const trial of sweep.open()) {
      if (trial.job_id === null) await this.submit(followed, trial);
      if (trial.job_id !== null && dirty.delete(trial.job_id)) await this.takeOver(followed, trial);
    }
    if (sweep.row.status === 'running') {
      await this.judge(followed);
      const end = sweep.end();
      if (end !== undefined) await this.beginEnd(followed, end);
      else await this.begin(followed);
    }
    if (sweep.row.status !== 'ending') return;
    for (const trial of sweep.open()) await this.cancelJob(followed, trial);
    if (sweep.open().length === 0) await this.finish(followed);
  }

  private async beginEnd(followed: Followed, end: End): Promise<void> {
    const { store } = this.parts;
    const set = { status: 'ending', ...end };
    const changed = await store.write((db) => store.change(db, followed.sweep.id, 'running', set));
    if (changed) followed.sweep.row = { ...followed.sweep.row, ...set };
    else await this.reload(followed);
  }

  private async begin(followed: Followed): Promise<void> {
    const { sweep } = followed;
    for (;;) {
      const trial = sweep.next(this.parts.now());
      if (trial === undefined) {
        // The grid may have shown its end just now.
        const end = sweep.end();
        if (end !== undefined) await this.beginEnd(followed, end);
        return;
      }
      // Another server may follow the same sweep: its trial is as good as ours.
      if (!(await this.parts.store.addTrial(trial))) return this.reload(followed);
      sweep.trials.push(trial);
      await this.submit(followed, trial);
    }
  }

  /** Gives a pending trial its job. The same trial gets the same job, however often it is tried. */
  private async submit(followed: Followed, trial: TrialRow): Promise<void> {
    const { sweep } = followed;
    const { jobs } = this.parts;
    const parent = { kind: 'sweep', id: sweep.id } as const;
    const document = trialJob(sweep.document, sweep.row, trial.number, JSON.parse(trial.params) as Params);
    try {
      if (sweep.row.status === 'ending') {
        const { jobs: found } = await jobs.list({ name: document.metadata.name, parent });
        if (found.length === 0) return await this.endTrial(followed, trial, 'cancelled', sweep.row.reason);
      }
      const job = await jobs.submit(document, { actor: sweep.row.actor, reason: `sweep ${sweep.row.name}`, parent });
      await this.setTrial(followed, trial, { status: 'running', job_id: job.id, run_id: job.runId });
      followed.dirty.add(job.id);
      followed.again = true;
    } catch (error) {
      if (!(error instanceof SwitchyardError) || error.code !== 'invalid_argument') throw error;
      await this.endTrial(followed, trial, 'failed', error.message);
    }
  }

  /** Takes over what became of a trial's job. */
  private async takeOver(followed: Followed, trial: TrialRow): Promise<void> {
    const job = await this.parts.jobs.get(trial.job_id ?? '');
    if (job === undefined) return this.endTrial(followed, trial, 'failed', 'its job was removed');
    if (job.endedAt === null) {
      if (trial.status === 'stopping' || followed.sweep.row.status === 'ending') await this.cancelJob(followed, trial);
      return;
    }
    const points = await this.read(followed.sweep, trial);
    const { status, reason } = verdictOf(followed.sweep, trial, job, points.length > 0);
    await this.fillRun(job.runId, trial);
    await this.endTrial(followed, trial, status, reason, {
      value: finite(status === 'complete' ? followed.sweep.result(points) : points.at(-1)?.value),
      last_step: points.at(-1)?.step ?? 0,
    });
  }

  private async read(sweep: ActiveSweep, trial: TrialRow) {
    const points = await readMetrics(this.parts.database, (db) =>
      metricPoints(db, trial.run_id ?? '', sweep.spec.objective.metric),
    );
    sweep.keepReports(trial.number, points);
    return points;
  }

  /** The params of a trial in its run, where the script has not logged them. A deleted run stays as it is. */
  private async fillRun(runId: string, trial: TrialRow): Promise<void> {
    const { database } = this.parts;
    const params = Object.entries(JSON.parse(trial.params) as Params).map(([key, value]) => [key, String(value)]);
    try {
      await database.write((db) => addMissingParams(db, database.kind, runId, Object.fromEntries(params)));
    } catch (error) {
      if (!(error instanceof RegistryError) || error.registryCode === 'TEMPORARILY_UNAVAILABLE') throw error;
    }
  }

  /** Looks at what running trials have reported since the last look. */
  private async judge(followed: Followed): Promise<void> {
    const { sweep } = followed;
    if (!sweep.strategy.judges) return;
    for (const trial of sweep.trials) {
      if (trial.status === 'complete' && !sweep.reports.has(trial.number)) await this.read(sweep, trial);
    }
    for (const trial of sweep.open()) {
      if (trial.status !== 'running') continue;
      const before = sweep.reports.get(trial.number)?.length ?? 0;
      const points = await this.read(sweep, trial);
      if (points.length === before) continue;
      const { rungs, stop } = sweep.judge(trial);
      const set = { rungs, last_step: points[points.length - 1].step };
      if (stop === '') {
        if (rungs !== trial.rungs) await this.setTrial(followed, trial, set);
        continue;
      }
      await this.setTrial(followed, trial, { ...set, status: 'stopping', reason: stop });
      await this.cancelJob(followed, trial);
    }
  }

  private async cancelJob({ sweep, cancelled }: Followed, trial: TrialRow): Promise<void> {
    if (trial.job_id === null || cancelled.has(trial.job_id)) return;
    const reason = trial.reason === '' ? sweep.row.reason : trial.reason;
    await this.parts.jobs.cancel(trial.job_id, { actor: sweep.row.actor, reason });
    cancelled.add(trial.job_id);
  }

  private async setTrial({ sweep }: Followed, trial: TrialRow, set: Partial<TrialRow>): Promise<void> {
    await this.parts.store.write((db) => this.parts.store.changeTrial(db, sweep.id, trial.number, set));
    Object.assign(trial, set);
  }

  /** Writes a trial's end, and the best value so far into the sweep's run. */
  private async endTrial(
    { sweep }: Followed,
    trial: TrialRow,
    status: TrialStatus,
    reason: string,
    figures: Pick<TrialRow, 'value' | 'last_step'> = { value: null, last_step: 0 },
  ): Promise<void> {
    const { store, commits, now } = this.parts;
    const set = { ...figures, status, reason, ended_at: now() };
    const before = sweep.best();
    Object.assign(trial, set);
    const best = sweep.best();
    const over = sweep.trials.length - sweep.open().length;
    const { number, run_id } = trial;
    const data = { sweep_id: sweep.id, number, run_id, status, value: figures.value, reason };
    await commit(commits, async (db, _, note) => {
      await store.changeTrial(db, sweep.id, number, set);
      note({ entity: 'sweep_trial', action: 'updated', data });
      if (best === undefined || best === before) return;
      const point = { key: sweep.spec.objective.metric, value: best, step: over, timestamp: set.ended_at };
      await addMetric(db, sweep.row.run_id, point);
    });
  }

  private async finish(followed: Followed): Promise<void> {
    const { store, database, commits, now } = this.parts;
    const { sweep_id: id, name, outcome, run_id, reason } = followed.sweep.row;
    const ended = now();
    const best = followed.sweep.best() ?? null;
    await commit(commits, async (db, _, note) => {
      if (!(await store.change(db, id, 'ending', { status: outcome, ended_at: ended }))) return;
      await setJobRunStatus(db, database.kind, run_id, RUN_STATUS[outcome as End['outcome']], ended);
      note({ entity: 'sweep', action: 'updated', data: { sweep_id: id, name, status: outcome, reason, best } });
    });
    this.followed.delete(id);
  }
}

function lookAtAll({ sweep, dirty }: Followed): void {
  for (const { job_id } of sweep.open()) if (job_id !== null) dirty.add(job_id);
}

const RUN_STATUS = { succeeded: 'FINISHED', failed: 'FAILED', cancelled: 'KILLED' } as const;

/** What a trial has become when its job is over. */
function verdictOf(
  { row, spec }: ActiveSweep,
  trial: TrialRow,
  job: JobView,
  reported: boolean,
): { status: TrialStatus; reason: string } {
  if (job.status === 'succeeded') {
    if (reported) return { status: 'complete', reason: '' };
    const others = Object.keys(job.metrics);
    const had = others.length === 0 ? 'no metric at all' : others.slice(0, 10).join(', ');
    return { status: 'failed', reason: `it reported no metric ${spec.objective.metric}; it reported ${had}` };
  }
  if (trial.status === 'stopping') return { status: 'stopped', reason: trial.reason };
  if (job.status !== 'cancelled') return { status: 'failed', reason: job.reason };
  if (row.status === 'ending' && row.outcome !== 'cancelled') return { status: 'stopped', reason: row.reason };
  return { status: 'cancelled', reason: job.reason };
}

/** As a column holds it. */
function finite(value: number | undefined): number | null {
  return value === undefined || Number.isNaN(value) ? null : value;
}
