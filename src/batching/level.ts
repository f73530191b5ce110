import type { BatchingConfig, QueuePolicy } from '../config/model-config.ts';
import { LaneSet } from './lane-set.ts';
import type { QueueItem } from './types.ts';

/** One priority level: its queue policy, what waits, and what the DELAY policy moved behind. */
export interface Level<T extends QueueItem> {
  readonly policy: QueuePolicy;
  /** Whether an item's timeout drops it (REJECT) rather than moving it behind the level's others (DELAY). */
  readonly rejects: boolean;
  readonly active: LaneSet<T>;
  readonly delayed: LaneSet<T>;
  /** Waiting items, delayed ones included, cancelled ones not. */
  size: number;
}

/** Level 1 first. Without priority levels there is one, with the default policy. The last one is that of copies. */
export function createLevels<T extends QueueItem>(config: BatchingConfig, key: (item: T) => number): Level<T>[] {
  const levels: Level<T>[] = [];
  const clients = Math.max(1, config.priorityLevels);
  for (let i = 1; i <= clients + 1; i++) {
    const own = config.priorityLevels > 0 && i <= clients ? config.priorityQueuePolicy.get(i) : undefined;
    const policy = own ?? config.defaultQueuePolicy;
    levels.push({
      policy,
      rejects: policy.timeoutAction === 'REJECT',
      active: new LaneSet<T>(key, config.preserveOrdering),
      delayed: new LaneSet<T>(key, config.preserveOrdering),
      size: 0,
    });
  }
  return levels;
}

/**
 * When an item's queue timeout strikes: the policy's default, or the request's own shorter one where the policy
 * allows that. `timeoutMs`: what the request asked for, 0 = nothing. Infinity: never.
 */
export function queueTimeoutAt(policy: QueuePolicy, now: number, timeoutMs: number): number {
  const standard = policy.defaultTimeoutMicros === 0 ? Infinity : policy.defaultTimeoutMicros / 1000;
  if (policy.allowTimeoutOverride && timeoutMs > 0 && timeoutMs < standard) return now + timeoutMs;
  return now + standard;
}
