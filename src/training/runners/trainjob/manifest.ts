import {
  imageOf,
  labelsOf,
  type PodSettings,
  resourcesOf,
  volumesOf,
  WORK_FOLDER,
  withAgent,
} from '../kubernetes/manifest.ts';
import type { AttemptSpec } from '../runner.ts';

export const GROUP = 'trainer.kubeflow.org';
export const VERSION = 'v1alpha1';
/** What the runtimes of Kubeflow's own manifests call the training step and its container. */
export const NODE = 'node';
/** When it is too late, in milliseconds since 1970: TrainJobs have no deadline of their own. */
export const DEADLINE = 'switchyard.dev/deadline';

/** A TrainJob as far as this runner reads and writes it. */
export interface TrainJob {
  apiVersion: string;
  kind: string;
  metadata: {
    name: string;
    uid?: string;
    creationTimestamp?: string;
    labels?: Record<string, string>;
    annotations?: Record<string, string>;
  };
  spec: Record<string, unknown>;
  status?: {
    conditions?: { type: string; status: string; reason?: string; message?: string; lastTransitionTime?: string }[];
    jobsStatus?: { name: string; ready: number; succeeded: number; failed: number; active: number }[];
  };
}

/** The TrainJob of one attempt: the runtime says how nodes find each other, and tells torchrun by PET_ variables. */
export function trainJobManifest(attempt: AttemptSpec, settings: PodSettings, runtime: string, now: number): TrainJob {
  const { name, spec, env } = attempt;
  const { volumes, mounts } = volumesOf(attempt, settings);
  return {
    apiVersion: `${GROUP}/${VERSION}`,
    kind: 'TrainJob',
    metadata: {
      name,
      labels: labelsOf(attempt),
      annotations: { [DEADLINE]: String(now + spec.timeoutSeconds * 1000) },
    },
    spec: {
      runtimeRef: { apiGroup: GROUP, kind: 'ClusterTrainingRuntime', name: runtime },
      labels: labelsOf(attempt),
      trainer: {
        image: imageOf(spec),
        ...commandOf(attempt),
        env: Object.keys(env).map((key) => ({ name: key, valueFrom: { secretKeyRef: { name, key } } })),
        numNodes: spec.nodes,
        numProcPerNode: spec.procsPerNode,
        resourcesPerNode: resourcesOf(spec),
      },
      podSpecOverrides: [
        {
          targetJobs: [{ name: NODE }],
          serviceAccountName: settings.serviceAccount,
          volumes,
          containers: [{ name: NODE, volumeMounts: mounts }],
        },
      ],
    },
  };
}

/** A TrainJob has no work folder: the command is started from it by a shell that only changes there. */
function commandOf(attempt: AttemptSpec): { command?: string[]; args?: string[] } {
  const { command, args, nodes, procsPerNode } = attempt.spec;
  if (command === undefined) return args.length === 0 ? {} : { args };
  const whole = [...command, ...args];
  const python = /^(.*\/)?python3?(\.\d+)?$/.test(whole[0]);
  const torchrun = ['torchrun', ...(python ? whole.slice(1) : ['--no-python', ...whole])];
  const words = nodes * procsPerNode > 1 ? torchrun : whole;
  const shell = ['sh', '-c', `cd ${WORK_FOLDER} && exec "$@"`, 'sh'];
  if (attempt.carried === undefined) return { command: shell, args: words };
  const { command: agent, args: rest } = withAgent(attempt, words);
  return { command: [...shell, ...agent], args: rest };
}
