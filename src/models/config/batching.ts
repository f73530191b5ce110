import type { BatchingConfig, QueuePolicy } from '../../config/model-config.ts';
import { invalidArgument } from '../../shared/errors.ts';
import type { RawModel, RawQueuePolicy } from './raw-types.ts';

/** Batching settings with Triton's defaults. `allowed`: switchyard.allowed_batch_sizes. Throws invalid_argument. */
export function batchingConfig(raw: RawModel, maxBatchSize: number, allowed: number[]): BatchingConfig {
  const given = raw.dynamic_batching;
  const levels = given?.priority_levels ?? 0;
  const defaultLevel = given?.default_priority_level ?? 0;
  if (levels === 0 && defaultLevel !== 0) {
    throw invalidArgument(
      `dynamic_batching.default_priority_level is ${defaultLevel} without priority_levels; give both or neither`,
    );
  }
  if (levels > 0 && (defaultLevel < 1 || defaultLevel > levels)) {
    throw invalidArgument(
      `dynamic_batching.default_priority_level is ${defaultLevel}; allowed with priority_levels ${levels}: 1 to ${levels}`,
    );
  }
  const preferred = ascending(given?.preferred_batch_size ?? []);
  const wrong = preferred.find((size) => size < 1 || size > Math.max(1, maxBatchSize));
  if (wrong !== undefined) {
    throw invalidArgument(
      `dynamic_batching.preferred_batch_size holds ${wrong}; allowed: 1 to max_batch_size ${maxBatchSize}`,
    );
  }
  const sizes = ascending(allowed);
  const wrongSize = sizes.find((size) => size < 1 || size > Math.max(1, maxBatchSize));
  if (wrongSize !== undefined) {
    throw invalidArgument(
      `switchyard.allowed_batch_sizes holds ${wrongSize}; allowed: 1 to max_batch_size ${maxBatchSize}`,
    );
  }
  if (sizes.length > 0 && sizes[sizes.length - 1] !== maxBatchSize) {
    throw invalidArgument(
      `switchyard.allowed_batch_sizes ends with ${sizes[sizes.length - 1]}; its largest must be max_batch_size ${maxBatchSize}`,
    );
  }
  const policies = new Map<number, QueuePolicy>();
  for (const [level, policy] of Object.entries(given?.priority_queue_policy ?? {})) {
    if (Number(level) < 1 || Number(level) > levels) {
      throw invalidArgument(
        `dynamic_batching.priority_queue_policy has level ${level}; allowed: 1 to priority_levels ${levels}`,
      );
    }
    policies.set(Number(level), queuePolicy(policy));
  }
  return {
    enabled: given !== undefined && maxBatchSize > 0,
    maxBatchSize,
    preferredBatchSizes: preferred,
    maxQueueDelayMicros: given?.max_queue_delay_microseconds ?? 0,
    preserveOrdering: given?.preserve_ordering ?? false,
    priorityLevels: levels,
    defaultPriorityLevel: defaultLevel,
    defaultQueuePolicy: queuePolicy(given?.default_queue_policy),
    priorityQueuePolicy: policies,
    allowedBatchSizes: sizes,
  };
}

function queuePolicy(raw: RawQueuePolicy | undefined): QueuePolicy {
  return {
    timeoutAction: raw?.timeout_action === 'DELAY' ? 'DELAY' : 'REJECT',
    defaultTimeoutMicros: raw?.default_timeout_microseconds ?? 0,
    allowTimeoutOverride: raw?.allow_timeout_override ?? false,
    maxQueueSize: raw?.max_queue_size ?? 0,
  };
}

function ascending(sizes: readonly number[]): number[] {
  return [...new Set(sizes)].sort((a, b) => a - b);
}
