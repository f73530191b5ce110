import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { invalidArgument } from '../../../shared/errors.ts';
import { torchrunCommand } from '../../jobs/launcher.ts';
import type { JobSpec } from '../../jobs/spec.ts';
import { checkRemote, exitReason, masked, signalOf, slice, statusOf } from '../cluster.ts';
import { launchScript } from '../remote/agent.ts';
import { agentFiles } from '../remote/plan.ts';
import type { AttemptSpec, AttemptStatus, LogChunk, Runner } from '../runner.ts';
import { RayApi, type RayJob } from './api.ts';
import { zip } from './zip.ts';

export interface RaySettings {
  /** Of the dashboard. */
  address: string;
  /** A folder that all nodes share, for checkpoints. */
  checkpointDir: string | undefined;
  /** Throws when it cannot be read; undefined: the cluster asks for none. */
  token?: (() => string) | undefined;
}

/** Where a job finds its agent, below the folder it starts in. */
const AGENT_FOLDER = '.switchyard';

/** Keys of a Ray job's metadata. */
const TIMEOUT = 'switchyard.timeout_ms';

/** A command line that a shell takes apart into exactly these words. */
export function shellLine(words: readonly string[]): string {
  return words.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(' ');
}

/** Where an attempt stands by its Ray job. `timedOut`: this server stopped it for that. */
export function rayStatus(job: RayJob, timedOut: boolean): AttemptStatus {
  const times = { startedAt: job.start_time || null, endedAt: job.end_time || null };
  if (job.status === 'PENDING') return statusOf('starting', times);
  if (job.status === 'RUNNING') return statusOf('running', times);
  if (job.status === 'SUCCEEDED') return statusOf('succeeded', { ...times, exitCode: 0 });
  if (job.status === 'STOPPED')
    return timedOut
      ? statusOf('timedOut', { ...times, reason: 'it took too long' })
      : statusOf('cancelled', { ...times, reason: 'cancelled' });
  // Ray tells a signal as a negative code.
  const told = job.driver_exit_code;
  const exitCode = told === null ? null : told < 0 ? 128 - told : told;
  const reason = exitCode === null ? (job.message ?? 'failed').split('\n')[0].slice(0, 500) : exitReason(exitCode);
  return statusOf('failed', { ...times, exitCode, signal: signalOf(exitCode), reason });
}

/** Runs attempts as jobs of a Ray cluster. Everything about an attempt is kept there, under its name. */
export class RayRunner implements Runner {
  readonly kind = 'ray';
  readonly local = false;
  private readonly settings: RaySettings;
  private readonly api: RayApi;
  private readonly secrets = new Map<string, readonly string[]>();

  constructor(settings: RaySettings) {
    this.settings = settings;
    this.api = new RayApi(settings.address, settings.token);
  }

  check(spec: JobSpec): void {
    checkRemote(spec, this.kind);
    if (spec.command === undefined) throw invalidArgument('spec.command: missing; Ray starts a command, not an image');
    if (spec.nodes > 1)
      throw invalidArgument(
        `spec.nodes: ${spec.nodes} is not allowed; a Ray job asks for nodes by itself, with ray.init()`,
      );
    if (spec.resources.disk !== undefined)
      throw invalidArgument('spec.resources.disk: Ray limits no disk; leave it out');
  }

  async start(attempt: AttemptSpec): Promise<void> {
    const { name, jobId, spec, env } = attempt;
    this.secrets.set(name, attempt.secrets);
    if ((await this.api.get(name)) !== undefined) return;
    const { command = [], args, procsPerNode, files, resources } = spec;
    const whole = [...command, ...args];
    const rank = { nodes: 1, procsPerNode, nodeRank: 0, masterAddress: '127.0.0.1', masterPort: 29_500 };
    const checkpoint = this.settings.checkpointDir;
    const folder = checkpoint === undefined || spec.checkpoint === undefined ? undefined : `${checkpoint}/${jobId}`;
    // Ray keeps the folder of a package among its own; a job finds its checkpoint where all nodes do.
    const line = shellLine(procsPerNode === 1 ? whole : torchrunCommand(whole, rank));
    const agent = carriedFiles(attempt, folder);
    const launch = agent === undefined ? '' : `${shellLine(['sh', '-c', launchScript(AGENT_FOLDER), 'sh'])} `;
    // The agent's plan makes each attempt's package one of its own: what is written there is nobody else's.
    const all = { ...files, ...agent };
    await this.api.submit({
      entrypoint: `exec ${launch}${line}`,
      submission_id: name,
      runtime_env: {
        ...(Object.keys(all).length === 0 ? {} : { working_dir: await this.upload(all) }),
        env_vars: { ...env, ...(folder === undefined ? {} : { SWITCHYARD_CHECKPOINT: folder }) },
      },
      metadata: { [TIMEOUT]: String(spec.timeoutSeconds * 1000), 'switchyard.job': jobId },
      entrypoint_num_cpus: resources.cpu,
      entrypoint_num_gpus: resources.gpu,
      entrypoint_memory: resources.memory ?? 0,
    });
  }

  private upload(files: Readonly<Record<string, string>>): Promise<string> {
    const bytes = zip(files);
    const digest = createHash('sha256').update(bytes).digest('hex').slice(0, 32);
    return this.api.upload(`_ray_pkg_${digest}.zip`, bytes);
  }

  async status(name: string): Promise<AttemptStatus | undefined> {
    const job = await this.api.get(name);
    if (job === undefined) return undefined;
    const late = isLate(job);
    const status = rayStatus(job, late);
    if (late && (status.phase === 'starting' || status.phase === 'running')) await this.api.stop(name);
    return status;
  }

  async changed(_name: string, waitMs: number): Promise<void> {
    await sleep(waitMs);
  }

  async logs(name: string, offset: number, limit: number): Promise<LogChunk> {
    // Before the text: what is printed last comes before the end is told.
    const job = await this.api.get(name);
    const over = job === undefined || !['PENDING', 'RUNNING'].includes(job.status);
    const text = job === undefined ? Buffer.alloc(0) : await this.api.log(name);
    return slice(masked(text, this.secrets.get(name) ?? []), offset, limit, over);
  }

  /** Ray sends TERM, and KILL after its own RAY_JOB_STOP_WAIT_TIME_S. */
  async cancel(name: string, _graceMs: number): Promise<void> {
    await this.api.stop(name);
  }

  async remove(name: string): Promise<void> {
    const job = await this.api.get(name);
    if (job === undefined) return;
    if (job.status === 'PENDING' || job.status === 'RUNNING') {
      await this.api.stop(name);
      const until = performance.now() + 10_000;
      while (['PENDING', 'RUNNING'].includes((await this.api.get(name))?.status ?? '') && performance.now() < until)
        await sleep(100);
    }
    await this.api.remove(name);
    this.secrets.delete(name);
  }

  async close(): Promise<void> {}
}

/** Whether it has had its time, or had had it when it was stopped. */
function isLate({ start_time, end_time, metadata }: RayJob): boolean {
  const limit = Number(metadata?.[TIMEOUT] ?? Number.POSITIVE_INFINITY);
  return start_time !== null && start_time > 0 && (end_time || Date.now()) - start_time > limit;
}

/** Ray tells every process of a job to end, and keeps nodes: so environments stay there for the next job. */
function carriedFiles(
  { carried }: AttemptSpec,
  checkpointFolder: string | undefined,
): Record<string, string> | undefined {
  if (carried === undefined) return undefined;
  const { checkpoint, environment } = carried.plan;
  const plan = {
    ...carried.plan,
    passSignals: false,
    checkpoint: checkpoint === null ? null : { ...checkpoint, path: checkpointFolder ?? checkpoint.path },
    environment: environment === null ? null : { ...environment, kept: true },
  };
  const files = agentFiles({ ...carried, plan });
  return Object.fromEntries(Object.entries(files).map(([name, text]) => [`${AGENT_FOLDER}/${name}`, text]));
}
