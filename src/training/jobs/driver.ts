import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { TrainingConfig } from '../../config/training-schema.ts';
import type { RegistryDatabase } from '../../registry/database/database.ts';
import { artifactRoot, figuresOf } from '../../registry/tracking/job-runs.ts';
import { SwitchyardError } from '../../shared/errors.ts';
import { EnvironmentError, type Environments } from '../environments/environments.ts';
import type { JobGate } from '../gates/job-gate-schema.ts';
import { agentFailure, needsAgent, planAttempt, readCertificate, settleCheckpoint } from '../runners/remote/plan.ts';
import type { AttemptSpec, AttemptStatus, Runner } from '../runners/runner.ts';
import { bringCheckpoint, keepCheckpoint, placeCheckpoint } from '../work/checkpoint.ts';
import { readSecrets } from '../work/secrets.ts';
import { jobVariables, localVariables } from '../work/variables.ts';
import { fillWorkFolder, type WorkParts } from '../work/work-folder.ts';
import { Heartbeat } from './heartbeat.ts';
import { SYSTEM } from './jobs.ts';
import type { OutputKeeper } from './output-keeper.ts';
import { emptyProgress, type Point, readOutput } from './output-progress.ts';
import { attemptName, type JobRecord } from './record.ts';
import { logArtifact, readTail, storeCheckpoint, storeLog, storeOutputs } from './results.ts';
import { advance, isOver, type JobEvent } from './state.ts';
import { type JobStore, putAttempt } from './store.ts';

export interface DriverParts {
  serverId: string;
  database: RegistryDatabase;
  store: JobStore;
  keeper: OutputKeeper;
  runner(job: JobRecord): Runner;
  /** How long output may wait to be read, in milliseconds. */
  lookMs(): number;
  environments: Environments;
  work: WorkParts;
  /** Holds a folder per attempt of local runners. */
  folder: string;
  config: TrainingConfig;
  /** Judges what a job has registered. Resolves with what came out. */
  gate(job: { id: string; runId: string; actor: string }, gate: JobGate): Promise<string>;
  /** Where the registry is for jobs, and what lets one in. */
  tracking(job: JobRecord): { uri: string; token: string | undefined; certificate: string | undefined };
  log(level: 'info' | 'warn' | 'error', message: string, fields: object): void;
}

const CHUNK_BYTES = 256 * 1024;

/** The job belongs to another server now, or is gone. */
class NotOurs extends Error {}

/**
 * Takes one job from its resources to its end: prepares, starts, follows, collects. Each step is kept before the next
 * one, and can be done again: a server that starts anew goes on where the last one was.
 */
export class JobDriver {
  readonly id: string;
  private readonly parts: DriverParts;
  private job: JobRecord;
  private closed = false;
  private wake = (): void => {};
  /** Why it is being ended, when nobody asked for that. */
  private hung = '';

  constructor(job: JobRecord, parts: DriverParts) {
    this.id = job.id;
    this.job = job;
    this.parts = parts;
  }

  /** The job as this driver knows it. */
  get record(): JobRecord {
    return this.job;
  }

  /** Someone has asked for its end, or changed it. */
  changed(job: JobRecord): void {
    if (job.version <= this.job.version) return;
    this.job = job;
    this.wake();
  }

  /** Stops following; the job goes on. */
  close(): void {
    this.closed = true;
    this.wake();
  }

  /** Resolves when the job is over or waits for its next attempt, or after `close`. Never rejects. */
  async run(): Promise<void> {
    while (!this.closed) {
      try {
        if (this.job.state.status === 'provisioning') await this.prepare();
        else if (this.job.state.status === 'starting') await this.start();
        else if (this.job.state.status === 'running') await this.follow();
        else return;
      } catch (error) {
        if (error instanceof NotOurs) return;
        if (!(await this.report(error))) return;
      }
    }
  }

  /** False: the driver gives up for now, and whoever looks after drivers begins again. */
  private async report(error: unknown): Promise<boolean> {
    if (this.closed) return false;
    const known = error instanceof SwitchyardError;
    if (!known) this.parts.log('error', 'driving a job failed', { job: this.id, err: error });
    // What runs goes on, whatever fails here.
    if (this.job.state.status === 'running') return false;
    // It may run although its start was not told, and the next attempt would meet it.
    if (this.job.state.status === 'starting')
      await this.parts
        .runner(this.job)
        .cancel(this.name, 0)
        .catch(() => {});
    const again = !known || error.code === 'unavailable';
    const nextStep = again ? 'retry the job; the log of the server has more' : 'correct the job and submit it again';
    const reason = error instanceof Error ? error.message : String(error);
    return this.apply({ type: 'failed', reason, nextStep, again }).then(
      () => true,
      () => false,
    );
  }

  private async apply(event: JobEvent, change: Partial<JobRecord> = {}): Promise<void> {
    const { serverId, store } = this.parts;
    const { attempt } = this.job.state;
    const after = await store.change(
      this.id,
      SYSTEM,
      (job, now) => {
        if (job.owner !== serverId || job.state.attempt !== attempt) return undefined;
        const state = advance(job.state, event, job.document.spec.retry, now);
        return { ...job, ...change, state };
      },
      async (db, job, now) => {
        if (event.type === 'started') await putAttempt(db, job, 'running', now);
        if (event.type === 'ended') await putAttempt(db, job, event.status.phase, now);
        if (event.type === 'failed') await putAttempt(db, job, 'failed', now);
        return undefined;
      },
    );
    if (after === undefined) throw new NotOurs();
    this.job = after;
  }

  private get name(): string {
    return attemptName(this.id, this.job.state.attempt);
  }

  private workDir(attempt = this.job.state.attempt): string {
    return join(this.parts.folder, attemptName(this.id, attempt), 'work');
  }

  private async prepare(): Promise<void> {
    if (await this.cancelledBefore()) return;
    const { spec } = this.job.document;
    if (this.parts.runner(this.job).local) {
      try {
        await this.environment();
      } catch (error) {
        if (!(error instanceof EnvironmentError)) throw error;
        const { message, nextStep, passing, tail } = error;
        await this.apply({ type: 'failed', reason: message, nextStep, again: passing }, { logTail: tail });
        return;
      }
      const workDir = this.workDir();
      const path = spec.checkpoint?.path;
      const kept = path !== undefined && (await this.checkpoint(path));
      await rm(workDir, { recursive: true, force: true });
      await fillWorkFolder(workDir, spec, this.parts.work);
      await mkdir(join(workDir, '.tmp'), { recursive: true });
      if (kept) await placeCheckpoint(this.kept, join(workDir, path));
      else if (path !== undefined) await mkdir(join(workDir, path), { recursive: true });
    }
    if (await this.cancelledBefore()) return;
    await this.apply({ type: 'prepared' }, { output: emptyProgress(this.job.state.attempt) });
  }

  private async cancelledBefore(): Promise<boolean> {
    if (this.job.state.cancel === null) return false;
    await this.apply({ type: 'failed', reason: 'cancelled', nextStep: '', again: false });
    return true;
  }

  /** Folder of the virtual environment; undefined: none was asked for. */
  private async environment(): Promise<string | undefined> {
    const { environment, files } = this.job.document.spec;
    if (environment === undefined) return undefined;
    const { requirements, requirementsFile, python } = environment;
    const text = requirements ?? (requirementsFile === undefined ? '' : files[requirementsFile]);
    return this.parts.environments.provide(text, python);
  }

  /** Where the checkpoint of this attempt waits until the work folder is ready. */
  private get kept(): string {
    return join(this.parts.folder, this.name, 'checkpoint');
  }

  /** True: it is kept. False: the job begins without one. */
  private async checkpoint(path: string): Promise<boolean> {
    const { database, store, work } = this.parts;
    const { attempt, attemptsBefore } = this.job.state;
    const { resumeFrom } = this.job.document.spec;
    const rootOf = (runId: string): Promise<string> => database.read((db) => artifactRoot(db, runId));
    // An attempt before this one may never have started: then its checkpoint lies where it was being prepared, or one
    // further back. What earlier rounds left is with the run.
    const places = [join(this.workDir(), path)];
    for (let before = attempt - 1; before >= Math.max(1, attemptsBefore); before--)
      places.push(
        join(this.parts.folder, attemptName(this.id, before), 'checkpoint'),
        join(this.workDir(before), path),
      );
    if (await keepCheckpoint(this.kept, places)) return true;
    if (attempt > 1 && (await bringCheckpoint(this.kept, await rootOf(this.job.runId), work))) return true;
    if (resumeFrom === undefined) return false;
    const other = await store.get(resumeFrom);
    if (other !== undefined && (await bringCheckpoint(this.kept, await rootOf(other.runId), work))) return true;
    throw new SwitchyardError('failed_precondition', `spec.resumeFrom: job ${resumeFrom} has left no checkpoint`);
  }

  private async start(): Promise<void> {
    if (await this.cancelledBefore()) return;
    const { id, runId, experimentId, gpus, document } = this.job;
    const { spec, metadata } = document;
    const { config } = this.parts;
    const { attempt } = this.job.state;
    const runner = this.parts.runner(this.job);
    const secrets = readSecrets(spec.secretRefs, config.secrets, process.env);
    const told = this.parts.tracking(this.job);
    // A path of this machine is none elsewhere: there the agent has the certificate itself.
    const tracking = runner.local ? told : { ...told, certificate: undefined };
    const carried = runner.local ? undefined : await this.carry(readCertificate(told.certificate));
    const job = { id, name: metadata.name, attempt, runId, experimentId };
    const own = jobVariables({ spec, job, tracking, secrets });
    const environment = runner.local ? await this.environment() : undefined;
    const workDir = runner.local ? this.workDir() : '';
    const passed = config.process.passEnvironment;
    const local = runner.local ? localVariables(spec, { workDir, environment, gpus, passed, from: process.env }) : {};
    const what: AttemptSpec = {
      name: this.name,
      jobId: id,
      attempt,
      spec,
      env: { ...local, ...own, ...(carried?.plan.environment ? installerVariables(config) : {}) },
      secrets: [...Object.values(secrets), ...(tracking.token === undefined ? [] : [tracking.token])],
      workDir,
      python: environment === undefined ? undefined : join(environment, 'bin', 'python'),
      carried,
    };
    await runner.start(what);
    await this.apply({ type: 'started' });
  }

  private async carry(certificate: string | undefined): Promise<AttemptSpec['carried']> {
    const { runId, document, state } = this.job;
    const { spec } = document;
    if (!needsAgent(spec)) return undefined;
    const { work, store, config } = this.parts;
    const other = spec.resumeFrom === undefined ? undefined : await store.get(spec.resumeFrom);
    const { timeoutSeconds, keepDays } = config.environments;
    const of = { runId, attempt: state.attempt, resumeRun: other?.runId, timeoutSeconds, keepDays };
    return { plan: await planAttempt(spec, { ...work, ...of }), certificate };
  }

  private async follow(): Promise<void> {
    const runner = this.parts.runner(this.job);
    const heartbeat = new Heartbeat(this.job.document.spec.heartbeatSeconds);
    let asked = false;
    while (!this.closed) {
      const status = (await runner.status(this.name)) ?? gone();
      const over = status.phase !== 'starting' && status.phase !== 'running';
      const grew = await this.pump(runner, over);
      if (over) {
        await this.finish(runner, status);
        return;
      }
      if (this.job.state.cancel !== null && !asked) {
        asked = true;
        await runner.cancel(this.name, this.job.document.spec.graceSeconds * 1000);
      }
      const silence = await heartbeat.silence(grew, () => this.mark());
      if (silence !== '' && this.hung === '') {
        this.hung = silence;
        await runner.cancel(this.name, this.job.document.spec.graceSeconds * 1000);
      }
      await this.wait(runner.changed(this.name, this.parts.lookMs()), asked || this.hung !== '');
    }
  }

  /** Until the runner or someone here has news. */
  private async wait(news: Promise<void>, only: boolean): Promise<void> {
    if (this.closed) return;
    await Promise.race(only ? [news] : [news, new Promise<void>((resolve) => (this.wake = resolve))]);
    this.wake = () => {};
  }

  private async mark(): Promise<string> {
    const figures = await figuresOf(this.parts.database, [this.job.runId]);
    return figures.get(this.job.runId)?.mark ?? '';
  }

  /** Reads new output, and keeps what it says. True: there was some. */
  private async pump(runner: Runner, last: boolean): Promise<boolean> {
    let grew = false;
    for (;;) {
      const { output, document, state } = this.job;
      const before = output.attempt === state.attempt ? output : emptyProgress(state.attempt);
      const { bytes, end } = await runner.logs(this.name, before.offset, CHUNK_BYTES);
      if (bytes.length === 0) return grew;
      if (bytes.length !== this.unread) grew = true;
      const final = last && end;
      const { after, points } = readOutput(before, bytes, document.spec.metrics, Date.now(), final);
      this.unread = bytes.length - (after.offset - before.offset);
      if (after.offset === before.offset) return grew;
      if (points.length > 0 || after.progress !== before.progress || final) await this.keep(after, points, last);
      else this.job = { ...this.job, output: after };
      if (bytes.length < CHUNK_BYTES) return grew;
    }
  }

  /** Bytes of a line that was not whole when last looked at. */
  private unread = 0;

  /** Metrics and how far the output was read, in one write: neither twice nor lost. */
  private async keep(output: JobRecord['output'], points: readonly Point[], urgent: boolean): Promise<void> {
    const { attempt } = this.job.state;
    const own = new Set(Object.keys(this.job.output.steps));
    const kept = await this.parts.keeper.keep({ jobId: this.id, attempt, output, points, own }, urgent);
    if (kept === undefined) throw new NotOurs();
    this.job = { ...this.job, output: kept };
  }

  private async finish(runner: Runner, status: AttemptStatus): Promise<void> {
    const { spec } = this.job.document;
    const { work } = this.parts;
    // All of it was read before.
    const tail = await readTail(runner, this.name, this.job.output.offset);
    let event: JobEvent = { type: 'ended', status };
    if (this.hung !== '' && status.phase !== 'succeeded')
      event = {
        type: 'failed',
        reason: this.hung,
        nextStep: 'find out where it waits: its log ends there',
        again: true,
      };
    const agent = runner.local ? undefined : agentFailure(status, tail);
    if (agent !== undefined && event.type === 'ended') event = { type: 'failed', ...agent };
    const next = advance(this.job.state, event, spec.retry, Date.now());
    const root = await this.parts.database.read((db) => artifactRoot(db, this.job.runId)).catch(() => undefined);
    if (root !== undefined) {
      if (runner.local && status.phase === 'succeeded') {
        const missing = await storeOutputs(this.workDir(), spec.outputs, root, work);
        if (missing !== '')
          event = {
            type: 'failed',
            reason: missing,
            nextStep: 'let the job write it, or mark the output as optional',
            again: false,
          };
      }
      if (runner.local && spec.checkpoint !== undefined && isOver(next.status))
        await storeCheckpoint(this.workDir(), spec.checkpoint.path, root, work);
      if (!runner.local && spec.checkpoint !== undefined) await settleCheckpoint(root, this.job.state.attempt, work);
      await storeLog(runner, this.name, logArtifact(root, this.job.state.attempt), work);
    }
    if (spec.gate !== undefined && event.type === 'ended' && event.status.phase === 'succeeded')
      event = { ...event, status: { ...status, reason: await this.parts.gate(this.job, spec.gate) } };
    await this.apply(event, { logTail: tail });
  }
}

/** Options of pip may hold what lets one into an index: they travel with the secrets. */
function installerVariables({ environments }: TrainingConfig): Record<string, string> {
  return { SWITCHYARD_INSTALLER_ARGUMENTS: JSON.stringify(environments.arguments) };
}

function gone(): AttemptStatus {
  const reason = 'the runner knows nothing of it any more: somebody has removed it';
  return { phase: 'lost', exitCode: null, signal: null, reason, startedAt: null, endedAt: null };
}
