import { setTimeout as sleep } from 'node:timers/promises';
import type { V1Pod } from '@kubernetes/client-node';
import { invalidArgument } from '../../../shared/errors.ts';
import type { JobSpec } from '../../jobs/spec.ts';
import { masked, slice, statusOf, timeOf } from '../cluster.ts';
import { Cluster, mergePatch } from '../kubernetes/cluster.ts';
import { ENDED_BY } from '../kubernetes/manifest.ts';
import { containerEnd, startProblem } from '../kubernetes/pod-status.ts';
import { checkPod, type KubernetesSettings, own, provide, withdraw } from '../kubernetes/runner.ts';
import type { AttemptSpec, AttemptStatus, LogChunk, Runner } from '../runner.ts';
import { DEADLINE, GROUP, NODE, type TrainJob, trainJobManifest, VERSION } from './manifest.ts';

const LOG_BYTES = 64 * 1024 ** 2;
const TOO_LONG = 'it took too long';

/** Where an attempt stands by its TrainJob and the pod of its first node. */
export function trainJobStatus({ metadata, status = {} }: TrainJob, pod: V1Pod | undefined): AttemptStatus {
  const holds = (type: string) => status.conditions?.find((one) => one.type === type && one.status === 'True');
  const startedAt = timeOf(pod?.status?.startTime ?? metadata.creationTimestamp);
  const complete = holds('Complete');
  if (complete !== undefined)
    return statusOf('succeeded', { exitCode: 0, startedAt, endedAt: timeOf(complete.lastTransitionTime) });
  const failed = holds('Failed');
  if (failed !== undefined) {
    const end = containerEnd(pod);
    const reason = end.reason || failed.message || failed.reason || 'failed';
    return statusOf('failed', { ...end, reason, startedAt, endedAt: timeOf(failed.lastTransitionTime) });
  }
  const active = (status.jobsStatus ?? []).reduce((sum, one) => sum + one.active + one.ready, 0);
  const endedBy = metadata.annotations?.[ENDED_BY];
  const suspended = holds('Suspended');
  if (endedBy !== undefined && suspended !== undefined && active === 0) {
    const times = { startedAt, endedAt: timeOf(suspended.lastTransitionTime) };
    if (endedBy === 'cancelled') return statusOf('cancelled', { ...times, reason: 'cancelled' });
    return statusOf(endedBy === TOO_LONG ? 'timedOut' : 'failed', { ...times, reason: endedBy });
  }
  return statusOf(active > 0 ? 'running' : 'starting', { startedAt });
}

/** Runs attempts of one or many nodes as TrainJobs of Kubeflow's trainer. */
export class TrainJobRunner implements Runner {
  readonly kind = 'trainjob';
  readonly local = false;
  private readonly settings: KubernetesSettings;
  private readonly runtime: string;
  private readonly cluster: Cluster;
  private readonly secrets = new Map<string, readonly string[]>();

  /** @param runtime name of a ClusterTrainingRuntime. */
  constructor(settings: KubernetesSettings, runtime: string) {
    this.settings = settings;
    this.runtime = runtime;
    this.cluster = new Cluster(settings);
  }

  check(spec: JobSpec): void {
    checkPod(spec, this.settings, this.kind);
    if (spec.resources.disk !== undefined && spec.nodes > 1 && spec.checkpoint !== undefined)
      throw invalidArgument('spec.resources.disk: nodes that share a checkpoint have no disk of their own to limit');
  }

  private at(name?: string) {
    const { namespace } = this.cluster;
    return { group: GROUP, version: VERSION, namespace, plural: 'trainjobs', name: name ?? '' };
  }

  async start(attempt: AttemptSpec): Promise<void> {
    const { cluster, settings } = this;
    this.secrets.set(attempt.name, attempt.secrets);
    await provide(cluster, attempt);
    const body = trainJobManifest(attempt, settings, this.runtime, Date.now());
    await cluster.create(({ custom }) => custom.createNamespacedCustomObject({ ...this.at(), body }));
    const { apiVersion, kind } = body;
    const made = await this.job(attempt.name);
    await own(cluster, attempt, { apiVersion, kind, uid: made?.metadata.uid ?? '' });
  }

  private job(name: string): Promise<TrainJob | undefined> {
    return this.cluster.find<TrainJob>(({ custom }) => custom.getNamespacedCustomObject(this.at(name)));
  }

  private pod(name: string): Promise<V1Pod | undefined> {
    return this.cluster.pod(`jobset.sigs.k8s.io/jobset-name=${name},batch.kubernetes.io/job-completion-index=0`);
  }

  async status(name: string): Promise<AttemptStatus | undefined> {
    const [job, pod] = await Promise.all([this.job(name), this.pod(name)]);
    if (job === undefined) return undefined;
    const status = trainJobStatus(job, pod);
    if (status.phase !== 'starting' && status.phase !== 'running') return status;
    const late = Date.now() > Number(job.metadata.annotations?.[DEADLINE] ?? Number.POSITIVE_INFINITY);
    const problem = late ? TOO_LONG : startProblem(pod, Date.now(), this.settings.pullSeconds * 1000);
    if (problem !== '') await this.endBy(job, problem);
    return status;
  }

  private async endBy({ metadata }: TrainJob, why: string): Promise<void> {
    if (metadata.annotations?.[ENDED_BY] !== undefined) return;
    const body = { metadata: { annotations: { [ENDED_BY]: why } }, spec: { suspend: true } };
    const options = await mergePatch();
    await this.cluster.find(({ custom }) =>
      custom.patchNamespacedCustomObject({ ...this.at(metadata.name), body }, options),
    );
  }

  async changed(_name: string, waitMs: number): Promise<void> {
    await sleep(waitMs);
  }

  /** Of the first node. */
  async logs(name: string, offset: number, limit: number): Promise<LogChunk> {
    const [job, pod] = await Promise.all([this.job(name), this.pod(name)]);
    const phase = job === undefined ? 'lost' : trainJobStatus(job, pod).phase;
    const text = pod === undefined ? Buffer.alloc(0) : await this.cluster.log(pod, NODE, LOG_BYTES);
    const over = phase !== 'starting' && phase !== 'running';
    return slice(masked(text, this.secrets.get(name) ?? []), offset, limit, over);
  }

  async cancel(name: string, _graceMs: number): Promise<void> {
    const job = await this.job(name);
    const over = job?.status?.conditions?.some(
      ({ type, status }) => status === 'True' && /^(Complete|Failed)$/.test(type),
    );
    if (job !== undefined && over !== true) await this.endBy(job, 'cancelled');
  }

  async remove(name: string): Promise<void> {
    await this.cluster.find(({ custom }) => custom.deleteNamespacedCustomObject(this.at(name)));
    await withdraw(this.cluster, name);
    this.secrets.delete(name);
  }

  async close(): Promise<void> {}
}
