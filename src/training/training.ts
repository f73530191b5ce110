/**
 * Training jobs, wired: src/wiring reaches this through TrainingFront, which opens it behind the registry.
 *
 * - jobs/: documents (spec.ts, read.ts), the state machine (state.ts), what is kept (record.ts, store.ts), what may be
 *   submitted (intake.ts), who starts (lease.ts, pick.ts, scheduler.ts), one driver per running job (driver.ts), what is left
 *   of those that ended (leftovers.ts), and all of it together (service.ts).
 * - inputs/: what jobs read of datasets and feature views, decided once.
 * - environments/: virtual environments by what they hold. work/: the folder a job runs in.
 * - sweeps/: searches of hyperparameters, each trial a job.
 * - runners/: where attempts run, behind runner.ts.
 */
import { randomUUID } from 'node:crypto';
import { linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { totalmem } from 'node:os';
import { join, resolve } from 'node:path';
import type { TrainingConfig } from '../config/training-schema.ts';
import type { Registry } from '../registry/registry.ts';
import { signRunToken } from '../shared/run-token.ts';
import { USABLE_CORES } from '../shared/usable-cores.ts';
import { Environments } from './environments/environments.ts';
import { JobGates } from './gates/job-gate.ts';
import type { DataSources } from './inputs/data-source.ts';
import { JobMetrics } from './jobs/job-metrics.ts';
import { Lease } from './jobs/lease.ts';
import { JobService } from './jobs/service.ts';
import type { RunnerKind } from './jobs/spec.ts';
import { KubernetesRunner } from './runners/kubernetes/runner.ts';
import { ProcessRunner } from './runners/process/runner.ts';
import { RayRunner } from './runners/ray/runner.ts';
import type { Runner } from './runners/runner.ts';
import { TrainJobRunner } from './runners/trainjob/runner.ts';
import { openSweeps } from './sweeps/service.ts';
import type { Sweeps } from './sweeps/sweeps.ts';
import { readPlace } from './work/secrets.ts';

export interface TrainingSettings {
  dataDir: string;
  config: TrainingConfig;
  /** Where jobs reach the admin port. */
  tracking: { uri: string; certificate: string | undefined };
  /** Of the admin port; undefined: nobody needs one. */
  adminToken: string | undefined;
  /** Where inputs from datasets and feature views come from. */
  data: DataSources;
}

export interface TrainingLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export interface Training {
  jobs: JobService;
  sweeps: Sweeps;
  /** Prometheus text. */
  metrics(): string;
  /** Detaches: jobs go on. */
  close(): Promise<void>;
}

/** A job's token outlives its timeout by this: what it uploads in its last moments is taken. */
const TOKEN_SLACK_MS = 3_600_000;

export async function openTraining(
  settings: TrainingSettings,
  registry: Registry,
  log: TrainingLog,
): Promise<Training> {
  const { config } = settings;
  const folder = resolve(settings.dataDir, 'training');
  const attempts = join(folder, 'attempts');
  mkdirSync(attempts, { recursive: true, mode: 0o700 });
  const serverId = persistentId(folder);
  const capacity = {
    cpu: config.process.cpu ?? USABLE_CORES,
    memory: config.process.memoryBytes ?? Math.floor(totalmem() * 0.8),
    gpus: config.process.gpus,
  };
  const { diskBytes, minFreeBytes, logBytes, nice } = config.process;
  const local = { folder: attempts, memoryBytes: capacity.memory, diskBytes, minFreeBytes, logBytes, nice };
  const runners = new Map<RunnerKind, Runner>([['process', new ProcessRunner(local)]]);
  addClusterRunners(runners, config);
  const { database, storage, commits } = registry;
  const metrics = new JobMetrics();
  const gates = new JobGates(registry);
  const lease = new Lease(database, serverId, Math.round(config.leaseSeconds * 1000));
  const jobs = new JobService({
    serverId,
    database,
    commits,
    lease,
    runners,
    capacity,
    environments: new Environments({
      folder: join(folder, 'environments'),
      pythons: config.pythons,
      installer: config.environments.installer,
      arguments: config.environments.arguments,
      timeoutMs: config.environments.timeoutSeconds * 1000,
      keepMs: config.environments.keepDays * 86_400_000,
    }),
    work: { database, storage },
    gate: (job, gate) => gates.judge(job, gate),
    folder: attempts,
    config,
    data: settings.data,
    tracking: ({ id: jobId, runId, experimentId, document }) => {
      const expiresAt = Date.now() + document.spec.timeoutSeconds * 1000 + TOKEN_SLACK_MS;
      const claims = { jobId, runId, experimentId, expiresAt };
      const token = settings.adminToken === undefined ? undefined : signRunToken(settings.adminToken, claims);
      return { ...settings.tracking, token };
    },
    log: (level, message, fields) => log[level](fields, message),
  });
  jobs.subscribe((job) => metrics.observe(job));
  await jobs.start();
  const sweeps = await openSweeps({
    database,
    commits: registry.commits,
    jobs,
    leading: () => lease.leading(),
    now: Date.now,
    onError: (error, sweep) => log.error({ err: error, sweep }, 'a sweep does not go on'),
  });
  const count = async (): Promise<void> => {
    metrics.setCounts(await jobs.store.counts());
  };
  const timer = setInterval(() => void count().catch(() => {}), 5_000).unref();
  await count();
  return {
    jobs,
    sweeps,
    metrics: () => metrics.render(),
    close: async () => {
      clearInterval(timer);
      await sweeps.close();
      await jobs.close();
    },
  };
}

function addClusterRunners(runners: Map<RunnerKind, Runner>, { kubernetes, ray }: TrainingConfig): void {
  if (kubernetes !== undefined) {
    const { trainRuntime, ...given } = kubernetes;
    const { kubeconfig, context, checkpointClaim } = given;
    const settings = { ...given, kubeconfig, context, checkpointClaim };
    runners.set('kubernetes', new KubernetesRunner(settings));
    runners.set('trainjob', new TrainJobRunner(settings, trainRuntime));
  }
  if (ray === undefined) return;
  const { address, checkpointDir, token: place } = ray;
  const token = place === undefined ? undefined : () => readPlace('training.ray.token', place, process.env).trim();
  runners.set('ray', new RayRunner({ address, checkpointDir, token }));
}

/** Names this server for as long as its data folder lives: a process that starts anew is the same one. */
function persistentId(folder: string): string {
  const file = join(folder, 'server-id');
  const draft = join(folder, `.server-id-${process.pid}`);
  writeFileSync(draft, randomUUID());
  try {
    linkSync(draft, file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  } finally {
    rmSync(draft, { force: true });
  }
  return readFileSync(file, 'utf8');
}
