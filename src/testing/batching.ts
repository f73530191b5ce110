import type { QueueItem } from '../batching/types.ts';
import type { BatchingConfig, QueuePolicy } from '../config/model-config.ts';

/** Shared by the batching tests. */
export interface TestItem extends QueueItem {
  id: number;
}

export function policy(overrides: Partial<QueuePolicy> = {}): QueuePolicy {
  return {
    timeoutAction: 'REJECT',
    defaultTimeoutMicros: 0,
    allowTimeoutOverride: false,
    maxQueueSize: 0,
    ...overrides,
  };
}

export function batching(overrides: Partial<BatchingConfig> = {}): BatchingConfig {
  return {
    enabled: true,
    maxBatchSize: 8,
    preferredBatchSizes: [],
    maxQueueDelayMicros: 0,
    preserveOrdering: false,
    priorityLevels: 0,
    defaultPriorityLevel: 0,
    defaultQueuePolicy: policy(),
    priorityQueuePolicy: new Map(),
    allowedBatchSizes: [],
    ...overrides,
  };
}

export function queueItem(id: number, overrides: Partial<TestItem> = {}): TestItem {
  return {
    id,
    rows: 1,
    shapeKey: 'a',
    priority: 1,
    deadline: Infinity,
    enqueuedAt: 0,
    queueTimeoutAt: Infinity,
    cancelled: false,
    slot: -1,
    ...overrides,
  };
}
