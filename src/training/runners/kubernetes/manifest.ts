import type { V1ConfigMap, V1Job, V1Secret } from '@kubernetes/client-node';
import { torchrunCommand } from '../../jobs/launcher.ts';
import type { JobSpec } from '../../jobs/spec.ts';
import { launchScript } from '../remote/agent.ts';
import { agentFiles } from '../remote/plan.ts';
import type { AttemptSpec } from '../runner.ts';

/** Where files lie, and where the command runs. */
export const WORK_FOLDER = '/work';
/** Where the agent and its plan lie. */
const AGENT_FOLDER = '/switchyard';
/** What the agent gets after the job's own time to end, to store what is there. */
const STORE_SECONDS = 60;
export const CONTAINER = 'job';
/** On objects that were told to end: 'cancelled', or why. */
export const ENDED_BY = 'switchyard.dev/ended-by';
const GPU = 'nvidia.com/gpu';

export interface PodSettings {
  namespace: string;
  /** Of the pods; they get no token of it. */
  serviceAccount: string;
  /** How long the cluster keeps an ended job that nobody has removed. */
  ttlSeconds: number;
  /** A volume claim on which checkpoints are kept, a folder per job. */
  checkpointClaim: string | undefined;
}

export function labelsOf({ jobId, attempt }: AttemptSpec): Record<string, string> {
  return {
    'app.kubernetes.io/managed-by': 'switchyard',
    'switchyard.dev/job': jobId,
    'switchyard.dev/attempt': String(attempt),
  };
}

export function imageOf(spec: JobSpec): string | undefined {
  return spec.image ?? spec.environment?.image;
}

/** The environment, which may hold secrets. */
export function secretManifest(attempt: AttemptSpec): V1Secret {
  return {
    metadata: { name: attempt.name, labels: labelsOf(attempt) },
    type: 'Opaque',
    stringData: { ...attempt.env },
  };
}

/** The job's files under keys of their own: paths are no keys. Undefined: it has none. */
export function filesManifest(attempt: AttemptSpec): V1ConfigMap | undefined {
  const files = Object.values(attempt.spec.files);
  if (files.length === 0) return undefined;
  return {
    metadata: { name: attempt.name, labels: labelsOf(attempt) },
    data: Object.fromEntries(files.map((text, i) => [fileKey(i), text])),
  };
}

/** The agent with its plan, under a name of its own. Undefined: the attempt needs none. */
export function agentManifest(attempt: AttemptSpec): V1ConfigMap | undefined {
  if (attempt.carried === undefined) return undefined;
  return {
    metadata: { name: agentName(attempt.name), labels: labelsOf(attempt) },
    data: agentFiles(attempt.carried),
  };
}

export function agentName(attempt: string): string {
  return `${attempt}-agent`;
}

/** A command in the hands of the attempt's agent, where it has one. */
export function withAgent({ carried }: AttemptSpec, words: readonly string[]): { command: string[]; args?: string[] } {
  if (carried === undefined) return { command: [...words] };
  return { command: ['sh', '-c', launchScript(AGENT_FOLDER), 'sh'], args: [...words] };
}

/** How long a pod has from TERM to KILL. */
function graceOf({ carried, spec }: AttemptSpec): number {
  return Math.ceil(spec.graceSeconds) + (carried === undefined ? 0 : STORE_SECONDS);
}

function fileKey(index: number): string {
  return `file-${index}`;
}

/** Volumes of a pod and where its container finds them. Nothing of the node can be among them. */
export function volumesOf({ name, jobId, spec, carried }: AttemptSpec, { checkpointClaim }: PodSettings) {
  const { disk } = spec.resources;
  const files = Object.keys(spec.files);
  const checkpoint = spec.checkpoint === undefined ? undefined : checkpointClaim;
  return {
    volumes: [
      { name: 'work', emptyDir: disk === undefined ? {} : { sizeLimit: String(disk) } },
      ...(files.length === 0 ? [] : [{ name: 'files', configMap: { name } }]),
      ...(carried === undefined ? [] : [{ name: 'agent', configMap: { name: agentName(name) } }]),
      ...(checkpoint === undefined ? [] : [{ name: 'checkpoint', persistentVolumeClaim: { claimName: checkpoint } }]),
    ],
    mounts: [
      { name: 'work', mountPath: WORK_FOLDER },
      ...files.map((path, i) => ({
        name: 'files',
        mountPath: `${WORK_FOLDER}/${path}`,
        subPath: fileKey(i),
        readOnly: true,
      })),
      ...(carried === undefined ? [] : [{ name: 'agent', mountPath: AGENT_FOLDER, readOnly: true }]),
      ...(checkpoint === undefined
        ? []
        : [{ name: 'checkpoint', mountPath: `${WORK_FOLDER}/${spec.checkpoint?.path}`, subPath: jobId }]),
    ],
  };
}

export function resourcesOf({ resources: { cpu, memory, gpu } }: JobSpec) {
  const amounts: Record<string, string> = { cpu: `${Math.round(cpu * 1000)}m` };
  if (memory !== undefined) amounts.memory = String(memory);
  if (gpu > 0) amounts[GPU] = String(gpu);
  return { requests: amounts, limits: amounts };
}

/**
 * The Job of one attempt. It is never tried again by the cluster: how often is the state machine's to say. Pods have no
 * rights on their node and none in the cluster, and nothing of the document can give them any.
 */
export function jobManifest(attempt: AttemptSpec, settings: PodSettings): V1Job {
  const { name, spec } = attempt;
  const { volumes, mounts } = volumesOf(attempt, settings);
  const labels = labelsOf(attempt);
  return {
    apiVersion: 'batch/v1',
    kind: 'Job',
    metadata: { name, labels },
    spec: {
      backoffLimit: 0,
      completions: 1,
      parallelism: 1,
      activeDeadlineSeconds: Math.ceil(spec.timeoutSeconds),
      ttlSecondsAfterFinished: settings.ttlSeconds,
      podReplacementPolicy: 'Failed',
      podFailurePolicy: {
        rules: [
          { action: 'FailJob', onPodConditions: [{ type: 'DisruptionTarget', status: 'True' }] },
          { action: 'FailJob', onExitCodes: { containerName: CONTAINER, operator: 'NotIn', values: [0] } },
        ],
      },
      template: {
        metadata: { labels },
        spec: {
          restartPolicy: 'Never',
          serviceAccountName: settings.serviceAccount,
          automountServiceAccountToken: false,
          enableServiceLinks: false,
          terminationGracePeriodSeconds: graceOf(attempt),
          securityContext: { seccompProfile: { type: 'RuntimeDefault' } },
          containers: [
            {
              name: CONTAINER,
              image: imageOf(spec),
              ...commandOf(attempt),
              workingDir: WORK_FOLDER,
              envFrom: [{ secretRef: { name } }],
              resources: resourcesOf(spec),
              volumeMounts: mounts,
              securityContext: { allowPrivilegeEscalation: false, privileged: false, capabilities: { drop: ['ALL'] } },
            },
          ],
          volumes,
        },
      },
    },
  };
}

function commandOf(attempt: AttemptSpec): { command?: string[]; args?: string[] } {
  const { command, args, procsPerNode } = attempt.spec;
  if (command === undefined) return args.length === 0 ? {} : { args };
  if (procsPerNode === 1)
    return attempt.carried === undefined ? { command, args } : withAgent(attempt, [...command, ...args]);
  const rank = { nodes: 1, procsPerNode, nodeRank: 0, masterAddress: '127.0.0.1', masterPort: 29_500 };
  return withAgent(attempt, torchrunCommand([...command, ...args], rank));
}
