import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Happening } from '../../registry/commit.ts';
import { SwitchyardError, toSwitchyardError } from '../../shared/errors.ts';
import { digestsOf, nameFiles } from './artifacts.ts';
import { cacheKey } from './cache-key.ts';
import { kindOf, type PipelineDocument, type Step, type StepKind } from './document.ts';
import { nextSteps, type StepStatus } from './graph.ts';
import type { StepContext, StepOutcome, StepServices, StepWork } from './steps/context.ts';
import { NO_OUTPUTS, type PipelineStore, type RunRow, type StepOutputs, type StepRow } from './store.ts';
import { COMMIT_TAG, PARENT_TAG } from './tracking.ts';

const MAX_REASON = 8000;

export interface ExecutionParts {
  store: PipelineStore;
  services: StepServices;
  works: Readonly<Record<StepKind, StepWork>>;
  /** Scratch space of this run. */
  folder: string;
  /** Ends what is under way: for good (`cancelled`), or until the server is back (STOPPING). May be told beforehand. */
  stop: AbortController;
}

/** The signal's reason when the server stops: nothing is written about it, and the run goes on when it is back. */
export const STOPPING = new SwitchyardError('unavailable', 'the server stops');

/**
 * Executes one run, from wherever its rows say it is. Every fact is kept before the next thing begins, so a killed server
 * goes on here: steps that are jobs find their job by its key, the others are done again from their inputs.
 */
export class RunExecution {
  private readonly parts: ExecutionParts;
  private readonly run: RunRow;
  private readonly document: PipelineDocument;
  private readonly environment: StepContext['environment'];
  private readonly commit: string;
  private readonly rows: Map<string, StepRow>;
  private readonly outputs = new Map<string, StepOutputs>();
  private readonly stop: AbortController;
  private readonly stopped: Promise<void>;

  constructor(parts: ExecutionParts, run: RunRow, rows: readonly StepRow[], commit: string) {
    this.parts = parts;
    this.stop = parts.stop;
    this.stopped = new Promise((resolve) => {
      this.stop.signal.addEventListener('abort', () => resolve(), { once: true });
    });
    this.run = run;
    this.commit = commit;
    this.document = JSON.parse(run.document) as PipelineDocument;
    this.environment = { name: run.environment, spec: JSON.parse(run.environment_spec) };
    this.rows = new Map(rows.map((row) => [row.step, row]));
    for (const row of rows) {
      if (row.status === 'succeeded' || row.status === 'skipped')
        this.outputs.set(row.step, JSON.parse(row.outputs) as StepOutputs);
    }
  }

  /** Resolves with how the run ended; undefined: the server stops. */
  async execute(): Promise<{ status: 'succeeded' | 'failed' | 'held' | 'cancelled'; reason: string } | undefined> {
    const running = new Map<string, Promise<void>>();
    const { steps, maxParallel } = this.document.spec;
    // Steps that were running when the server stopped are begun again.
    for (const row of this.rows.values()) if (row.status === 'running') this.begin(row.step, running);
    for (;;) {
      if (this.stop.signal.aborted) {
        await Promise.allSettled(running.values());
        return this.aborted();
      }
      const statuses = new Map([...this.rows].map(([name, { status }]) => [name, status as StepStatus]));
      const { begin, over } = nextSteps(steps, statuses, maxParallel);
      if (over !== undefined) return { status: over, reason: this.summary(over) };
      for (const name of begin) {
        this.row(name).status = 'running';
        this.begin(name, running);
      }
      await Promise.race([...running.values(), this.stopped]);
    }
  }

  private begin(name: string, running: Map<string, Promise<void>>): void {
    running.set(
      name,
      this.doStep(name).finally(() => running.delete(name)),
    );
  }

  private async aborted() {
    if (this.stop.signal.reason === STOPPING) return undefined;
    const { message } = this.stop.signal.reason as SwitchyardError;
    for (const row of this.rows.values())
      if (row.status === 'running') await this.finish(row, { status: 'cancelled', reason: message });
    return { status: 'cancelled' as const, reason: message };
  }

  private summary(over: 'succeeded' | 'failed' | 'held'): string {
    if (over === 'succeeded') return '';
    const stuck = [...this.rows.values()].filter(({ status }) => status === over);
    return stuck
      .map(({ step, reason }) => `${step}: ${reason}`)
      .join('; ')
      .slice(0, MAX_REASON);
  }

  private row(name: string): StepRow {
    return this.rows.get(name) as StepRow;
  }

  /** Never rejects: a failure is the step's outcome. */
  private async doStep(name: string): Promise<void> {
    const row = this.row(name);
    try {
      await this.work(row);
    } catch (error) {
      if (this.stop.signal.aborted) return;
      const { message } = toSwitchyardError(error);
      await this.finish(row, { status: 'failed', reason: message }).catch((second: unknown) => {
        // Not even the failure can be kept: the database is away. The run's lease ends, and it is taken up again.
        this.stop.abort(STOPPING);
        throw second;
      });
    }
  }

  private async work(row: StepRow): Promise<void> {
    const step = this.document.spec.steps.find(({ name }) => name === row.step) as Step;
    const work = this.parts.works[row.kind as StepKind];
    const context: StepContext = {
      services: this.parts.services,
      run: this.run,
      document: this.document,
      environment: this.environment,
      step,
      row,
      outputs: this.outputs,
      commit: this.commit,
      signal: this.stop.signal,
    };
    const started_at = row.started_at ?? this.parts.services.now();
    const facts = await work.facts(context);
    const key = facts === undefined ? '' : cacheKey({ kind: row.kind as StepKind, ...facts });
    if (step.cache && key !== '' && (await this.skip(context, work, key, started_at))) return;
    await this.keep(row, { status: 'running', reason: '', cache_key: key, started_at });
    const tracking =
      work.isJob === true ? { runId: row.tracking_run, artifactUri: '' } : await this.trackingRun(row, facts?.body);
    const outcome = await this.attempts(context, work, tracking);
    if (work.isJob !== true) {
      const { artifacts } = outcome.outputs ?? NO_OUTPUTS;
      await nameFiles(this.parts.services.registry, tracking.artifactUri, artifacts, this.parts.services.now());
    }
    await this.finish(row, outcome);
  }

  /** Takes over what the same step with the same inputs gave before. False: there is nothing of that kind. */
  private async skip(
    { row, ...context }: StepContext,
    work: StepWork,
    key: string,
    started_at: number,
  ): Promise<boolean> {
    const { store, services } = this.parts;
    const done = await store.done(key);
    if (done === undefined) return false;
    const outputs = JSON.parse(done.outputs) as StepOutputs;
    if (!(await store.hasBlobs(digestsOf(outputs.artifacts)))) return false;
    if (work.stillThere !== undefined && !(await work.stillThere({ row, ...context }, outputs))) return false;
    const { runId, artifactUri } = await this.createRun(row, { skipped: done.run_id });
    // In one commit.
    await Promise.all([
      nameFiles(services.registry, artifactUri, outputs.artifacts, services.now()),
      services.calls.endRun(runId, 'FINISHED'),
    ]);
    await this.keep(row, {
      status: 'skipped',
      reason: `the same as in run ${done.run_id}`,
      cache_key: key,
      outputs: done.outputs,
      job_id: done.job_id,
      tracking_run: runId,
      skipped_from: done.run_id,
      started_at,
      ended_at: services.now(),
    });
    this.outputs.set(row.step, outputs);
    return true;
  }

  private async trackingRun(row: StepRow, body: unknown): Promise<{ runId: string; artifactUri: string }> {
    const { calls } = this.parts.services;
    if (row.tracking_run !== '') {
      await calls.restartRun(row.tracking_run);
      return { runId: row.tracking_run, artifactUri: await calls.artifactUri(row.tracking_run) };
    }
    const created = await this.createRun(row, {}, body);
    await this.keep(row, { tracking_run: created.runId });
    return created;
  }

  private createRun(row: StepRow, { skipped }: { skipped?: string }, body?: unknown) {
    const { calls } = this.parts.services;
    const tags = {
      [PARENT_TAG]: this.run.tracking_run,
      'switchyard.pipeline': this.run.pipeline,
      'switchyard.pipeline_run': this.run.id,
      'switchyard.step': row.step,
      'switchyard.step_kind': row.kind,
      ...(skipped === undefined ? {} : { 'switchyard.skipped_from': skipped }),
      ...(this.commit === '' ? {} : { [COMMIT_TAG]: this.commit }),
    };
    return calls.createRun({
      experiment: this.document.spec.experiment ?? this.run.pipeline,
      name: `${this.run.pipeline}/${row.step}`,
      tags,
      params: flatParams(body),
    });
  }

  /** With the step's own retries, for failures that may go away. */
  private async attempts(
    context: StepContext,
    work: StepWork,
    tracking: { runId: string; artifactUri: string },
  ): Promise<StepOutcome> {
    const { max, backoff } = context.step.retry;
    for (let attempt = 0; ; attempt++) {
      const folder = join(this.parts.folder, context.step.name);
      await rm(folder, { recursive: true, force: true });
      await mkdir(folder, { recursive: true });
      try {
        return await work.execute({
          ...context,
          folder,
          tracking,
          noteJob: (job_id, tracking_run) => this.keep(context.row, { job_id, tracking_run }),
        });
      } catch (error) {
        if (attempt >= max || this.stop.signal.aborted) throw error;
        await this.keep(context.row, {
          reason: `attempt ${attempt + 1} failed: ${toSwitchyardError(error).message}`.slice(0, MAX_REASON),
        });
        await sleep(backoff * 2 ** attempt, undefined, { signal: this.stop.signal });
      } finally {
        await rm(folder, { recursive: true, force: true }).catch(() => {});
      }
    }
  }

  private async finish(
    row: StepRow,
    outcome: Pick<StepOutcome, 'happenings'> & { status: StepRow['status']; reason?: string; outputs?: StepOutputs },
  ): Promise<void> {
    const { services } = this.parts;
    const isJob = this.parts.works[row.kind as StepKind].isJob === true;
    if (row.tracking_run !== '' && !isJob) {
      const ended = { succeeded: 'FINISHED', cancelled: 'KILLED' } as const;
      await services.calls.endRun(row.tracking_run, ended[outcome.status as keyof typeof ended] ?? 'FAILED');
    }
    const outputs = outcome.outputs ?? NO_OUTPUTS;
    this.outputs.set(row.step, outputs);
    const reason = (outcome.reason ?? '').slice(0, MAX_REASON);
    const set = { status: outcome.status, reason, outputs: JSON.stringify(outputs), ended_at: services.now() };
    await this.keep(row, set, outcome.happenings);
  }

  private async keep(row: StepRow, set: Partial<StepRow>, more: readonly Happening[] = []): Promise<void> {
    const { id, pipeline, environment } = this.run;
    const { step, status, reason } = { ...row, ...set };
    const data = { id, pipeline, environment, step, status, reason };
    const happening = { entity: 'pipeline_step', action: 'updated', data };
    await this.parts.store.updateStep(id, step, set, set.status === undefined ? more : [...more, happening]);
    Object.assign(row, set);
  }
}

const MAX_PARAMS = 50;

/** Settings of a step as params of its run: plain values at the top, everything else as JSON. */
function flatParams(body: unknown): Record<string, string> {
  const entries = Object.entries((body ?? {}) as Record<string, unknown>).filter(
    ([, value]) => value !== undefined && value !== null,
  );
  return Object.fromEntries(
    entries
      .slice(0, MAX_PARAMS)
      .map(([key, value]) => [key, typeof value === 'object' ? JSON.stringify(value).slice(0, 500) : String(value)]),
  );
}

export function kindOfStep(step: Step): StepKind {
  return kindOf(step) as StepKind;
}
