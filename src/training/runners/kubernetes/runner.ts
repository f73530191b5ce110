import { setTimeout as sleep } from 'node:timers/promises';
import type { V1Job, V1Pod } from '@kubernetes/client-node';
import { invalidArgument } from '../../../shared/errors.ts';
import type { JobSpec } from '../../jobs/spec.ts';
import { checkRemote, masked, slice } from '../cluster.ts';
import type { AttemptSpec, AttemptStatus, LogChunk, Runner } from '../runner.ts';
import { Cluster, type ClusterSettings, mergePatch } from './cluster.ts';
import {
  agentManifest,
  agentName,
  CONTAINER,
  ENDED_BY,
  filesManifest,
  imageOf,
  jobManifest,
  type PodSettings,
  secretManifest,
} from './manifest.ts';
import { jobStatus, startProblem } from './pod-status.ts';

export interface KubernetesSettings extends ClusterSettings, PodSettings {
  /** Images that jobs may name; one that ends with "*" allows what begins so. */
  images: readonly string[];
  /** How long an image may take to become pullable. */
  pullSeconds: number;
}

const LOG_BYTES = 64 * 1024 ** 2;
const MAX_FILES_BYTES = 900_000;

/** Throws for what no pod can do, or may not. */
export function checkPod(spec: JobSpec, { images }: KubernetesSettings, kind: string): void {
  checkRemote(spec, kind);
  const image = imageOf(spec);
  if (image === undefined)
    throw invalidArgument(`spec.image: missing; the ${kind} runner runs the command in an image`);
  const allowed = images.some((one) => (one.endsWith('*') ? image.startsWith(one.slice(0, -1)) : image === one));
  if (!allowed)
    throw invalidArgument(
      `spec.image: ${JSON.stringify(image)} is not allowed; training.kubernetes.images has ${images.join(', ') || 'none'}`,
    );
  const bytes = Object.values(spec.files).reduce((sum, text) => sum + Buffer.byteLength(text), 0);
  if (bytes > MAX_FILES_BYTES)
    throw invalidArgument(
      `spec.files: ${bytes} bytes are more than the ${MAX_FILES_BYTES} that Kubernetes carries; put them into the image`,
    );
}

/** Runs attempts as Jobs of a Kubernetes cluster. Everything about an attempt is kept there, under its name. */
export class KubernetesRunner implements Runner {
  readonly kind = 'kubernetes';
  readonly local = false;
  private readonly settings: KubernetesSettings;
  private readonly cluster: Cluster;
  /** Of attempts that this process has started. */
  private readonly secrets = new Map<string, readonly string[]>();

  constructor(settings: KubernetesSettings) {
    this.settings = settings;
    this.cluster = new Cluster(settings);
  }

  check(spec: JobSpec): void {
    checkPod(spec, this.settings, this.kind);
    if (spec.nodes > 1)
      throw invalidArgument(
        `spec.nodes: ${spec.nodes} is not allowed; the kubernetes runner starts one pod: take the runner trainjob`,
      );
  }

  async start(attempt: AttemptSpec): Promise<void> {
    const { cluster, settings } = this;
    const { namespace } = cluster;
    this.secrets.set(attempt.name, attempt.secrets);
    await provide(cluster, attempt);
    await cluster.create(({ batch }) => batch.createNamespacedJob({ namespace, body: jobManifest(attempt, settings) }));
    const job = await this.job(attempt.name);
    await own(cluster, attempt, { apiVersion: 'batch/v1', kind: 'Job', uid: job?.metadata?.uid ?? '' });
  }

  private job(name: string): Promise<V1Job | undefined> {
    const { namespace } = this.cluster;
    return this.cluster.find<V1Job>(({ batch }) => batch.readNamespacedJob({ name, namespace }));
  }

  private pod(name: string): Promise<V1Pod | undefined> {
    return this.cluster.pod(`batch.kubernetes.io/job-name=${name}`);
  }

  async status(name: string): Promise<AttemptStatus | undefined> {
    const [job, pod] = await Promise.all([this.job(name), this.pod(name)]);
    if (job === undefined) return undefined;
    const status = jobStatus(job, pod);
    if (status.phase !== 'starting') return status;
    const problem = startProblem(pod, Date.now(), this.settings.pullSeconds * 1000);
    if (problem !== '') await this.endBy(name, problem);
    return status;
  }

  private async endBy(name: string, why: string): Promise<void> {
    const job = await this.job(name);
    if (job === undefined || job.metadata?.annotations?.[ENDED_BY] !== undefined) return;
    const over = job.status?.conditions?.some(
      ({ type, status }) => status === 'True' && /^(Complete|Failed)$/.test(type),
    );
    if (over === true) return;
    await this.cluster.patchJob(name, { metadata: { annotations: { [ENDED_BY]: why } }, spec: { suspend: true } });
  }

  async changed(_name: string, waitMs: number): Promise<void> {
    await sleep(waitMs);
  }

  async logs(name: string, offset: number, limit: number): Promise<LogChunk> {
    // Before the text: what is printed last comes before the end is told.
    const [job, pod] = await Promise.all([this.job(name), this.pod(name)]);
    const phase = job === undefined ? 'lost' : jobStatus(job, pod).phase;
    const over = phase !== 'starting' && phase !== 'running';
    const text = pod === undefined ? Buffer.alloc(0) : await this.cluster.log(pod, CONTAINER, LOG_BYTES);
    return slice(masked(text, this.secrets.get(name) ?? []), offset, limit, over);
  }

  /** The pod's own terminationGracePeriodSeconds, made of the job's graceSeconds, is what it gets. */
  async cancel(name: string, _graceMs: number): Promise<void> {
    await this.endBy(name, 'cancelled');
  }

  async remove(name: string): Promise<void> {
    const { namespace } = this.cluster;
    const propagationPolicy = 'Background';
    await this.cluster.find(({ batch }) => batch.deleteNamespacedJob({ name, namespace, propagationPolicy }));
    await withdraw(this.cluster, name);
    this.secrets.delete(name);
  }

  async close(): Promise<void> {}
}

/** Makes what a pod mounts: its environment and its files. */
export async function provide(cluster: Cluster, attempt: AttemptSpec): Promise<void> {
  const { namespace } = cluster;
  await cluster.create(({ core }) => core.createNamespacedSecret({ namespace, body: secretManifest(attempt) }));
  for (const body of [filesManifest(attempt), agentManifest(attempt)])
    if (body !== undefined) await cluster.create(({ core }) => core.createNamespacedConfigMap({ namespace, body }));
}

/** Lets what a pod mounts go with its owner. */
export async function own(
  cluster: Cluster,
  { name, spec, carried }: AttemptSpec,
  owner: { apiVersion: string; kind: string; uid: string },
): Promise<void> {
  const { namespace } = cluster;
  const body = { metadata: { ownerReferences: [{ ...owner, name }] } };
  const options = await mergePatch();
  await cluster.find(({ core }) => core.patchNamespacedSecret({ name, namespace, body }, options));
  const maps = [
    ...(Object.keys(spec.files).length === 0 ? [] : [name]),
    ...(carried === undefined ? [] : [agentName(name)]),
  ];
  for (const map of maps)
    await cluster.find(({ core }) => core.patchNamespacedConfigMap({ name: map, namespace, body }, options));
}

export async function withdraw(cluster: Cluster, name: string): Promise<void> {
  const { namespace } = cluster;
  await cluster.find(({ core }) => core.deleteNamespacedSecret({ name, namespace }));
  for (const map of [name, agentName(name)])
    await cluster.find(({ core }) => core.deleteNamespacedConfigMap({ name: map, namespace }));
}
