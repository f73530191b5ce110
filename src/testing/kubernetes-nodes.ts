import type { CoreV1Api, KubeConfig, V1Pod } from '@kubernetes/client-node';
import { mergePatch } from '../training/runners/kubernetes/cluster.ts';

/** What a pod shall do once it is on its node. kwok plays it; no program runs. */
export type PodPlay = 'complete' | 'run' | { exitCode: number; reason: string } | 'unscheduled';

const SOON = { delay: '100ms', 'jitter-delay': '100ms' };
const NEVER = { delay: '24h', 'jitter-delay': '24h' };

/** Annotations by which kwok's stages are told how long they wait. */
function stage(name: string, settings: Record<string, string>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(settings).map(([key, value]) => [`${name}.stage.kwok.x-k8s.io/${key}`, value]),
  );
}

/** The scheduler of a cluster of kwok's nodes: tells each new pod what it shall do, and puts it on the node. */
export class PodScheduler {
  readonly core: CoreV1Api;
  readonly config: KubeConfig;
  private readonly namespace: string;
  private readonly play: (pod: V1Pod) => PodPlay;
  private readonly timer: NodeJS.Timeout;
  private busy = false;

  constructor(namespace: string, play: (pod: V1Pod) => PodPlay, core: { config: KubeConfig; core: CoreV1Api }) {
    this.namespace = namespace;
    this.play = play;
    this.config = core.config;
    this.core = core.core;
    this.timer = setInterval(() => void this.look().catch((error: unknown) => console.error(error)), 100);
  }

  static async open(kubeconfig: string, namespace: string, play: (pod: V1Pod) => PodPlay): Promise<PodScheduler> {
    const { CoreV1Api, KubeConfig: Config } = await import('@kubernetes/client-node');
    const config = new Config();
    config.loadFromFile(kubeconfig);
    config.setCurrentContext('admin');
    return new PodScheduler(namespace, play, { config, core: config.makeApiClient(CoreV1Api) });
  }

  private async look(): Promise<void> {
    if (this.busy) return;
    this.busy = true;
    try {
      const { namespace } = this;
      const { items } = await this.core.listNamespacedPod({ namespace, fieldSelector: 'spec.nodeName=' });
      for (const pod of items) if (pod.metadata?.deletionTimestamp === undefined) await this.place(pod);
    } finally {
      this.busy = false;
    }
  }

  private async place(pod: V1Pod): Promise<void> {
    const play = this.play(pod);
    if (play === 'unscheduled') return;
    const { namespace } = this;
    const name = pod.metadata?.name ?? '';
    const failing = typeof play === 'object';
    const annotations = {
      ...stage('pod-create', SOON),
      ...stage('pod-ready', SOON),
      ...stage('pod-delete', SOON),
      ...stage('pod-complete', play === 'complete' ? SOON : NEVER),
      ...(failing
        ? stage('pod-container-running-failed', { ...SOON, 'exit-code': String(play.exitCode), reason: play.reason })
        : {}),
    };
    const labels = failing ? { 'pod-container-running-failed.stage.kwok.x-k8s.io': 'true' } : {};
    await this.core.patchNamespacedPod(
      { name, namespace, body: { metadata: { annotations, labels } } },
      await mergePatch(),
    );
    const target = { apiVersion: 'v1', kind: 'Node', name: 'node-1' };
    await this.core
      .createNamespacedPodBinding({ name, namespace, body: { metadata: { name }, target } })
      .catch((error: unknown) => {
        // The client reads an answer that the API does not give: a Status in place of a Binding.
        if ((error as { code?: number }).code !== undefined) throw error;
      });
  }

  close(): void {
    clearInterval(this.timer);
  }
}
