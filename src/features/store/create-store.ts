import type { FeaturesConfig } from '../../config/features-schema.ts';
import { MemoryStore } from './memory-store.ts';
import type { OnlineStore } from './online-store.ts';
import { RedisStore } from './redis-store.ts';

export function createOnlineStore({ redisUrl, memoryEntries, timeoutMs }: FeaturesConfig): OnlineStore {
  return redisUrl === undefined ? new MemoryStore(memoryEntries) : new RedisStore(redisUrl, timeoutMs);
}
