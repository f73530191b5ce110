import type { Tensor } from '../tensor/tensor.ts';
import { MemoryCache } from './memory-cache.ts';
import { RedisCache } from './redis-cache.ts';

/**
 * Outputs by request digest (cacheKey). Bytes are copied both ways: `set` keeps nothing of the caller's, and what `get`
 * answers is the caller's to transfer or change.
 */
export interface ResponseCache {
  /** Undefined: not there, or not to be had in time. Never rejects. A promise only when another process is asked. */
  get(key: string): Tensor[] | undefined | Promise<Tensor[] | undefined>;
  /** Never throws or rejects: an entry that cannot be kept is not kept. */
  set(key: string, outputs: readonly Tensor[]): void;
  readonly counters: CacheCounters;
  close(): Promise<void>;
}

export interface CacheCounters {
  hits: number;
  misses: number;
  /** Reads and writes that failed, or were skipped because the cache was failing. */
  errors: number;
  /** Entries refused for their size. */
  oversized: number;
  /** Bytes held in this thread; 0 for Redis. */
  bytes: number;
  entries: number;
}

export interface CacheConfig {
  /** Bytes held by this thread's cache. Means nothing with Redis. */
  maxBytes: number;
  /** Larger answers are not kept. Default 1 MiB. */
  maxEntryBytes?: number;
  ttlMs: number;
  /** Shared cache instead of memory. */
  redisUrl?: string;
}

/** One cache for one gateway thread. */
export function createResponseCache(config: CacheConfig): ResponseCache {
  const maxEntryBytes = config.maxEntryBytes ?? 1024 * 1024;
  return config.redisUrl === undefined
    ? new MemoryCache(config.maxBytes, maxEntryBytes, config.ttlMs)
    : new RedisCache(config.redisUrl, maxEntryBytes, config.ttlMs);
}
