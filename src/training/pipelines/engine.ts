import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Happening } from '../../registry/commit.ts';
import { doesNotExist, shown } from '../../registry/errors.ts';
import { SwitchyardError } from '../../shared/errors.ts';
import { nameFiles } from './artifacts.ts';
import { resolvePipeline, runParameters } from './check.ts';
import type { EnvironmentSpec, ParameterSpec, PipelineDocument } from './document.ts';
import { kindOfStep, RunExecution, STOPPING } from './execution.ts';
import type { RawPipeline } from './load.ts';
import { pinSteps } from './pin.ts';
import type { StepContext, StepServices } from './steps/context.ts';
import { stepWorks } from './steps/steps.ts';
import { NO_OUTPUTS, type PipelineStore, type RunRow, type StepRow } from './store.ts';
import { COMMIT_TAG } from './tracking.ts';
import { type FullRunView, fullView } from './view.ts';

const LEASE_MS = 20_000;
const RENEW_MS = 5_000;

export interface EngineParts {
  store: PipelineStore;
  services: StepServices;
  /** Tells this server from others, and is the same after a restart. */
  owner: string;
  /** Scratch space. */
  folder: string;
  environments(): ReadonlyMap<string, StepContext['environment']>;
  log(level: 'info' | 'warn' | 'error', message: string, fields: object): void;
}

export interface RunRequest {
  pipeline: RawPipeline;
  environment: { name: string; spec: EnvironmentSpec };
  parameters: Readonly<Record<string, string | number | boolean>>;
  actor: string;
  /** Why it runs. */
  cause: string;
  trigger?: string;
  /** Default: drawn. The run that has this id already is the one that is meant. */
  id?: string;
  /** Git commit of its code; undefined: that of the configuration's folder, if it is in a repository. */
  commit?: string | undefined;
}

/** A run that this server executes. */
interface ActiveRun {
  /** Is heard also by an execution that has not begun. */
  stop: AbortController;
  done: Promise<void>;
}

/** Begins runs, executes those that are this server's, and takes over those that nobody executes any more. */
export class PipelineEngine {
  private readonly parts: EngineParts;
  private readonly works: ReturnType<typeof stepWorks>;
  private readonly active = new Map<string, ActiveRun>();
  private timer: NodeJS.Timeout | undefined;
  private stopping = false;

  constructor(parts: EngineParts) {
    this.parts = parts;
    this.works = stepWorks(parts.environments);
  }

  /** Goes on with what was under way. */
  async start(): Promise<void> {
    await rm(this.parts.folder, { recursive: true, force: true });
    await mkdir(this.parts.folder, { recursive: true, mode: 0o700 });
    await this.claim();
    this.timer = setInterval(() => void this.tick(), RENEW_MS);
    this.timer.unref();
  }

  /** Leaves everything as it is; jobs go on. */
  async close(): Promise<void> {
    this.stopping = true;
    clearInterval(this.timer);
    for (const { stop } of this.active.values()) stop.abort(STOPPING);
    await Promise.allSettled([...this.active.values()].map(({ done }) => done));
  }

  /** Throws invalid_argument for parameters and settings that do not fit. Resolves when the run is kept. */
  async begin(request: RunRequest): Promise<FullRunView> {
    const { services, store, owner } = this.parts;
    const { pipeline, environment, actor, cause, trigger = '' } = request;
    const declared =
      ((pipeline.document.spec ?? {}) as { parameters?: Record<string, ParameterSpec> }).parameters ?? {};
    const parameters = runParameters(declared, request.parameters);
    const resolved = resolvePipeline(pipeline.document, { parameters, environment });
    const id = request.id ?? randomBytes(8).toString('hex');
    if (request.id !== undefined && (await store.run(id)) !== undefined) return this.get(id);
    const { document, artifacts } = await pinSteps(resolved, services.jobs, actor);
    const commit = request.commit ?? (await gitCommit(services.baseDir));
    const tracking = await services.calls.createRun({
      experiment: document.spec.experiment ?? pipeline.name,
      name: pipeline.name,
      tags: {
        'switchyard.pipeline': pipeline.name,
        'switchyard.pipeline_run': id,
        'switchyard.environment': environment.name,
        'switchyard.cause': cause.slice(0, 1000),
        ...(commit === '' ? {} : { [COMMIT_TAG]: commit }),
      },
      params: Object.fromEntries(Object.entries(parameters).map(([name, value]) => [name, String(value)])),
    });
    const now = services.now();
    if (Object.keys(artifacts).length > 0) await nameFiles(services.registry, tracking.artifactUri, artifacts, now);
    const run = {
      id,
      pipeline: pipeline.name,
      environment: environment.name,
      status: 'running' as const,
      reason: '',
      document: JSON.stringify(document),
      environment_spec: JSON.stringify(environment.spec),
      parameters: JSON.stringify(parameters),
      actor,
      cause,
      trigger_name: trigger,
      tracking_run: tracking.runId,
      experiment_id: tracking.experimentId,
      owner,
      lease_until: now + LEASE_MS,
      cancelled_by: '',
      created_at: now,
      ended_at: null,
    };
    await store.createRun(run, freshSteps(id, document), runHappening('created', run));
    this.execute(id);
    return this.get(id);
  }

  /** Throws RESOURCE_DOES_NOT_EXIST. */
  async get(id: string): Promise<FullRunView> {
    const view = fullView(await this.find(id), await this.parts.store.steps(id));
    for (const step of view.steps) {
      if (step.status !== 'running' || step.job_id === null) continue;
      const job = await this.parts.services.jobs.get(step.job_id);
      if (job === undefined) continue;
      step.reason = `job ${job.status}${job.reason === '' ? '' : `: ${job.reason}`}`;
      if (job.progress !== null) step.progress = job.progress;
    }
    return view;
  }

  /** Resolves when it is asked for; the run ends soon after. No error for one that is over. */
  async cancel(id: string, by: { actor: string; reason: string }): Promise<FullRunView> {
    const run = await this.find(id);
    if (run.status !== 'running') return this.get(id);
    const words = `cancelled by ${by.actor}${by.reason === '' ? '' : `: ${by.reason}`}`;
    await this.parts.store.updateRun(id, { cancelled_by: words });
    this.active.get(id)?.stop.abort(new SwitchyardError('cancelled', words));
    return this.get(id);
  }

  /** Does again what failed, was held or cancelled, and goes on from there. Throws failed_precondition for any other run. */
  async resume(id: string): Promise<FullRunView> {
    const { store, services, owner } = this.parts;
    const run = await this.find(id);
    if (run.status === 'running' || run.status === 'succeeded') {
      const words = run.status === 'running' ? 'is under way' : 'has succeeded';
      throw new SwitchyardError(
        'failed_precondition',
        `run ${id} ${words}; only failed, held and cancelled runs are resumed`,
      );
    }
    await this.active.get(id)?.done;
    for (const step of await store.steps(id)) {
      if (step.status === 'succeeded' || step.status === 'skipped' || step.status === 'waiting') continue;
      const job_round = step.job_round + 1;
      // A job's run belongs to the job: another one gets another.
      const tracking_run = step.job_id === '' ? step.tracking_run : '';
      await store.updateStep(id, step.step, {
        status: 'waiting',
        reason: '',
        job_id: '',
        tracking_run,
        job_round,
        started_at: null,
        ended_at: null,
      });
    }
    const lease_until = services.now() + LEASE_MS;
    const again = { status: 'running' as const, reason: '' };
    await store.updateRun(
      id,
      { ...again, cancelled_by: '', ended_at: null, owner, lease_until },
      runHappening('updated', { ...run, ...again }),
    );
    await services.calls.restartRun(run.tracking_run);
    this.execute(id);
    return this.get(id);
  }

  /** Resolves when no run of this server is under way. */
  async idle(): Promise<void> {
    while (this.active.size > 0) await Promise.all([...this.active.values()].map(({ done }) => done));
  }

  private async find(id: string): Promise<RunRow> {
    const run = await this.parts.store.run(id);
    if (run === undefined)
      throw doesNotExist(`There is no pipeline run ${shown(id)}; GET /api/v1/pipeline-runs lists them`);
    return run;
  }

  private execute(id: string): void {
    if (this.active.has(id) || this.stopping) return;
    const entry: ActiveRun = { stop: new AbortController(), done: Promise.resolve() };
    this.active.set(id, entry);
    entry.done = this.drive(id, entry.stop)
      .catch((error: unknown) =>
        this.parts.log('error', 'a pipeline run is stuck; it is taken up again', { err: error, run: id }),
      )
      .finally(() => this.active.delete(id));
  }

  private async drive(id: string, stop: AbortController): Promise<void> {
    const { store, services } = this.parts;
    const run = await this.find(id);
    const { run: tracked } = await services.calls.call('mlflowGetRun', { run_id: run.tracking_run });
    const commit = tracked.data.tags?.find(({ key }: { key: string }) => key === COMMIT_TAG)?.value ?? '';
    const execution = new RunExecution(
      {
        store,
        services,
        works: this.works,
        folder: join(this.parts.folder, id),
        stop,
      },
      run,
      await store.steps(id),
      commit,
    );
    if (run.cancelled_by !== '') stop.abort(new SwitchyardError('cancelled', run.cancelled_by));
    const ended = await execution.execute();
    await rm(join(this.parts.folder, id), { recursive: true, force: true });
    if (ended === undefined) return;
    const status = { succeeded: 'FINISHED', cancelled: 'KILLED', failed: 'FAILED', held: 'FAILED' } as const;
    await services.calls.endRun(run.tracking_run, status[ended.status]);
    await store.updateRun(id, { ...ended, ended_at: services.now() }, runHappening('updated', { ...run, ...ended }));
    this.parts.log('info', 'a pipeline run ended', { run: id, pipeline: run.pipeline, ...ended });
  }

  /** Never rejects. */
  private async tick(): Promise<void> {
    const { store, owner, services, log } = this.parts;
    try {
      for (const [id, { stop }] of this.active) {
        const { own, cancelledBy } = await store.renew(id, owner, services.now() + LEASE_MS);
        if (!own) stop.abort(STOPPING);
        else if (cancelledBy !== '') stop.abort(new SwitchyardError('cancelled', cancelledBy));
      }
      await this.claim();
    } catch (error) {
      log('warn', 'pipeline runs cannot be looked after; it is tried again', { err: error });
    }
  }

  private async claim(): Promise<void> {
    const now = this.parts.services.now();
    for (const id of await this.parts.store.claim(this.parts.owner, now, now + LEASE_MS)) this.execute(id);
  }
}

function freshSteps(id: string, { spec }: PipelineDocument): StepRow[] {
  return spec.steps.map((step) => ({
    run_id: id,
    step: step.name,
    kind: kindOfStep(step),
    status: 'waiting',
    reason: '',
    cache_key: '',
    outputs: JSON.stringify(NO_OUTPUTS),
    job_id: '',
    job_round: 0,
    tracking_run: '',
    skipped_from: '',
    started_at: null,
    ended_at: null,
  }));
}

/** Of the repository around a folder; '' = there is none, or no git. */
function gitCommit(folder: string): Promise<string> {
  return new Promise((resolve) => {
    execFile('git', ['-C', folder, 'rev-parse', 'HEAD'], { timeout: 2000 }, (error, stdout) => {
      const commit = error === null ? stdout.trim() : '';
      resolve(/^[0-9a-f]{40,64}$/.test(commit) ? commit : '');
    });
  });
}

/** What webhooks hear of a run. */
function runHappening(action: 'created' | 'updated', run: Omit<RunRow, 'run_key'>): Happening {
  const { id, pipeline, environment, status, reason, trigger_name: trigger, cause } = run;
  return { entity: 'pipeline_run', action, data: { id, pipeline, environment, status, reason, trigger, cause } };
}
