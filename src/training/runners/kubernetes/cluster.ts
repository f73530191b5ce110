import { readFileSync } from 'node:fs';
import type { BatchV1Api, CoreV1Api, CustomObjectsApi, V1Pod } from '@kubernetes/client-node';
import { SwitchyardError } from '../../../shared/errors.ts';

export interface ClusterSettings {
  /** A kubeconfig file; undefined: the pod's own service account, or the user's own file. */
  kubeconfig: string | undefined;
  /** One of its contexts; undefined: the current one. */
  context: string | undefined;
  namespace: string;
}

/** A connection to a Kubernetes API. Its library is loaded when the first job needs it. */
export class Cluster {
  readonly namespace: string;
  private readonly settings: ClusterSettings;
  private opened: Promise<{ batch: BatchV1Api; core: CoreV1Api; custom: CustomObjectsApi }> | undefined;

  constructor(settings: ClusterSettings) {
    this.settings = settings;
    this.namespace = settings.namespace;
  }

  private async open() {
    const { BatchV1Api, CoreV1Api, CustomObjectsApi, KubeConfig } = await import('@kubernetes/client-node');
    const config = new KubeConfig();
    const { kubeconfig, context } = this.settings;
    if (kubeconfig === undefined) config.loadFromDefault();
    else config.loadFromString(readFileSync(kubeconfig, 'utf8'));
    if (context !== undefined) {
      if (config.getContextObject(context) === null)
        throw new SwitchyardError('failed_precondition', `the kubeconfig has no context ${JSON.stringify(context)}`);
      config.setCurrentContext(context);
    }
    return {
      batch: config.makeApiClient(BatchV1Api),
      core: config.makeApiClient(CoreV1Api),
      custom: config.makeApiClient(CustomObjectsApi),
    };
  }

  /** Calls the API. Rejects with SwitchyardError: unavailable where trying again may help. */
  async call<T>(
    call: (api: { batch: BatchV1Api; core: CoreV1Api; custom: CustomObjectsApi }) => Promise<T>,
  ): Promise<T> {
    this.opened ??= this.open();
    try {
      return await call(await this.opened);
    } catch (error) {
      throw asError(error);
    }
  }

  /** As `call`; undefined for what is not there. */
  async find<T>(call: Parameters<Cluster['call']>[0]): Promise<T | undefined> {
    try {
      return (await this.call(call)) as T;
    } catch (error) {
      if (error instanceof SwitchyardError && error.code === 'not_found') return undefined;
      throw error;
    }
  }

  /** As `call`, for objects named by us: one that is there already is ours. */
  async create(call: Parameters<Cluster['call']>[0]): Promise<void> {
    try {
      await this.call(call);
    } catch (error) {
      if (!(error instanceof SwitchyardError) || error.code !== 'conflict') throw error;
    }
  }

  /** The newest pod with the labels, such as "a=b,c=d". */
  async pod(labelSelector: string): Promise<V1Pod | undefined> {
    const { namespace } = this;
    const { items } = await this.call(({ core }) => core.listNamespacedPod({ namespace, labelSelector }));
    const made = (pod: V1Pod): number => new Date(pod.metadata?.creationTimestamp ?? 0).getTime();
    return items.sort((a, b) => made(b) - made(a))[0];
  }

  /** What a pod's container has printed; none while it has not started. */
  async log(pod: V1Pod, container: string, limitBytes: number): Promise<Buffer> {
    const { namespace } = this;
    const name = pod.metadata?.name ?? '';
    try {
      const text = await this.call(({ core }) => core.readNamespacedPodLog({ name, namespace, container, limitBytes }));
      return Buffer.from(text ?? '');
    } catch (error) {
      if (error instanceof SwitchyardError && error.code !== 'unavailable') return Buffer.alloc(0);
      throw error;
    }
  }

  /** Sets annotations and fields by a merge patch of a Job. */
  async patchJob(name: string, body: object): Promise<void> {
    const { namespace } = this;
    const options = await mergePatch();
    await this.find(({ batch }) => batch.patchNamespacedJob({ name, namespace, body }, options));
  }
}

/** What makes the client send a JSON merge patch. */
export async function mergePatch() {
  const { PatchStrategy, setHeaderOptions } = await import('@kubernetes/client-node');
  return setHeaderOptions('Content-Type', PatchStrategy.MergePatch);
}

function asError(error: unknown): SwitchyardError {
  if (error instanceof SwitchyardError) return error;
  const { code, body, message } = error as { code?: unknown; body?: unknown; message?: string };
  const text = `Kubernetes: ${statusMessage(body) ?? message ?? String(error)}`;
  if (typeof code !== 'number') return new SwitchyardError('unavailable', text, { cause: error });
  if (code === 404) return new SwitchyardError('not_found', text);
  if (code === 409) return new SwitchyardError('conflict', text);
  if (code === 401 || code === 403) return new SwitchyardError('permission_denied', text);
  if (code === 429 || code >= 500) return new SwitchyardError('unavailable', text);
  return new SwitchyardError('invalid_argument', text);
}

function statusMessage(body: unknown): string | undefined {
  let status = body;
  if (typeof body === 'string') {
    try {
      status = JSON.parse(body);
    } catch {
      return body.slice(0, 500);
    }
  }
  const message = (status as { message?: unknown } | null | undefined)?.message;
  return typeof message === 'string' ? message.slice(0, 1000) : undefined;
}
