import type { V1ContainerStatus, V1Job, V1Pod } from '@kubernetes/client-node';
import { exitReason, signalOf, statusOf, timeOf } from '../cluster.ts';
import type { AttemptStatus } from '../runner.ts';
import { ENDED_BY } from './manifest.ts';

/** A container that waits so will not start by waiting. */
const HOPELESS = ['InvalidImageName', 'ErrImageNeverPull', 'CreateContainerConfigError', 'CreateContainerError'];
/** The registry of images may come back, for a while. */
const PULLING = ['ErrImagePull', 'ImagePullBackOff', 'RegistryUnavailable'];

/** Why a pod cannot start; '' = it may. */
export function startProblem(pod: V1Pod | undefined, now: number, pullMs: number): string {
  const since = now - (timeOf(pod?.metadata?.creationTimestamp) ?? now);
  for (const { image, state } of pod?.status?.containerStatuses ?? []) {
    const { reason = '', message = '' } = state?.waiting ?? {};
    const detail = message === '' ? '' : `: ${message}`;
    if (HOPELESS.includes(reason)) return `the container cannot start: ${reason}${detail}`;
    if (PULLING.includes(reason) && since >= pullMs)
      return `image ${JSON.stringify(image)} cannot be pulled: ${reason}${detail}`;
  }
  return '';
}

/** How the container of a pod ended: code, and why. */
export function containerEnd(pod: V1Pod | undefined): Pick<AttemptStatus, 'exitCode' | 'signal' | 'reason'> {
  const { reason: podReason = '', message: podMessage = '', containerStatuses = [] } = pod?.status ?? {};
  const [ended] = containerStatuses.flatMap((status: V1ContainerStatus) => status.state?.terminated ?? []);
  const exitCode = ended?.exitCode ?? null;
  const signal = signalOf(exitCode);
  const disrupted = pod?.status?.conditions?.find(
    ({ type, status }) => type === 'DisruptionTarget' && status === 'True',
  );
  if (ended?.reason === 'OOMKilled') return { exitCode, signal, reason: 'killed: out of memory' };
  if (podReason !== '') return { exitCode, signal, reason: withMessage(podReason.toLowerCase(), podMessage) };
  if (disrupted !== undefined) return { exitCode, signal, reason: withMessage('evicted', disrupted.message ?? '') };
  if (exitCode !== null && exitCode !== 0) return { exitCode, signal, reason: exitReason(exitCode) };
  return { exitCode, signal, reason: '' };
}

function withMessage(text: string, message: string): string {
  return message === '' ? text : `${text}: ${message}`;
}

/** Where an attempt stands by its Job and newest pod. */
export function jobStatus(job: V1Job, pod: V1Pod | undefined): AttemptStatus {
  const { conditions = [], startTime, completionTime, active = 0 } = job.status ?? {};
  const holds = (type: string) => conditions.find((one) => one.type === type && one.status === 'True');
  const startedAt = timeOf(pod?.status?.startTime ?? startTime);
  const complete = holds('Complete');
  if (complete !== undefined) {
    const endedAt = timeOf(completionTime ?? complete.lastTransitionTime);
    return statusOf('succeeded', { exitCode: 0, startedAt, endedAt });
  }
  const failed = holds('Failed');
  if (failed !== undefined) {
    const times = { startedAt, endedAt: timeOf(failed.lastTransitionTime) };
    if (failed.reason === 'DeadlineExceeded') return statusOf('timedOut', { ...times, reason: 'it took too long' });
    const end = containerEnd(pod);
    return statusOf('failed', { ...times, ...end, reason: end.reason || failed.message || failed.reason || 'failed' });
  }
  const endedBy = job.metadata?.annotations?.[ENDED_BY];
  if (endedBy !== undefined) {
    // The pod gets its TERM and its time; until it is gone the job is not over.
    if (active > 0 || holds('Suspended') === undefined) return statusOf('running', { startedAt });
    const endedAt = timeOf(holds('Suspended')?.lastTransitionTime);
    if (endedBy === 'cancelled') return statusOf('cancelled', { startedAt, endedAt, reason: 'cancelled' });
    return statusOf('failed', { startedAt, endedAt, reason: endedBy });
  }
  return statusOf(pod?.status?.phase === 'Running' || pod?.status?.phase === 'Succeeded' ? 'running' : 'starting', {
    startedAt,
  });
}
