import type { ModelConfig } from '../config/model-config.ts';
import { SwitchyardError } from '../shared/errors.ts';

/**
 * Unanswered requests from which on one executor surely has no place for another of the version: its queue, a batch that
 * runs, and one whose answers are on their way. 0: it has one always, or only the executor can tell.
 */
export function queueBound({ batching, backend, instanceGroups, isolation }: ModelConfig): number {
  const { maxQueueSize } = batching.defaultQueuePolicy;
  if (maxQueueSize === 0 || batching.priorityLevels > 0) return 0;
  // Others run several batches at once, or answer a request in parts.
  if (backend !== 'onnxruntime' || isolation !== 'thread' || instanceGroups.some(({ kind }) => kind !== 'cpu'))
    return 0;
  return maxQueueSize + 2 * Math.max(1, batching.enabled ? batching.maxBatchSize : 1);
}

/** @param level ' at …' where not all requests wait in one queue */
export function queueFull(model: string, limit: number, level = ''): SwitchyardError {
  const message = `Exceeds maximum queue size of model '${model}'${level} (${limit} on each executor); retry later`;
  return new SwitchyardError('overloaded', message, { retryAfterMs: 1000 });
}
