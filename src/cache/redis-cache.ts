import type { Redis } from 'ioredis';
import { Breaker } from '../shared/breaker.ts';
import { impatientRedis } from '../shared/redis.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { decodeEntry, encodeEntry } from './entry-codec.ts';
import type { CacheCounters, ResponseCache } from './response-cache.ts';

const TIMEOUT_MS = 20;
const PREFIX = 'sy:cache:';

/**
 * Answers shared by a fleet. A cache may only make things faster: each command has 20 ms, three failures in a row skip
 * Redis for a second, and a missing or damaged entry is a miss.
 */
export class RedisCache implements ResponseCache {
  private readonly client: Redis;
  private readonly maxEntryBytes: number;
  private readonly ttlMs: number;
  private readonly breaker = new Breaker(3, 1000);
  readonly counters: CacheCounters = { hits: 0, misses: 0, errors: 0, oversized: 0, bytes: 0, entries: 0 };

  constructor(url: string, maxEntryBytes: number, ttlMs: number) {
    this.maxEntryBytes = maxEntryBytes;
    this.ttlMs = Math.max(1, Math.floor(ttlMs));
    this.client = impatientRedis(url, TIMEOUT_MS);
  }

  get(key: string): undefined | Promise<Tensor[] | undefined> {
    if (!this.usable()) return undefined;
    return this.read(key);
  }

  private usable(): boolean {
    if (this.client.status === 'ready' && this.breaker.allows()) return true;
    this.counters.errors++;
    return false;
  }

  private async read(key: string): Promise<Tensor[] | undefined> {
    let bytes: Buffer | null;
    try {
      bytes = await this.client.getBuffer(PREFIX + key);
    } catch {
      this.counters.errors++;
      this.breaker.failure();
      return undefined;
    }
    this.breaker.success();
    if (bytes === null) {
      this.counters.misses++;
      return undefined;
    }
    const outputs = decodeEntry(bytes);
    if (outputs === undefined) this.counters.errors++;
    else this.counters.hits++;
    return outputs;
  }

  set(key: string, outputs: readonly Tensor[]): void {
    const entry = encodeEntry(outputs);
    if (entry === undefined || entry.length > this.maxEntryBytes) {
      this.counters.oversized++;
      return;
    }
    if (!this.usable()) return;
    void this.write(key, entry);
  }

  private async write(key: string, entry: Buffer): Promise<void> {
    try {
      await this.client.set(PREFIX + key, entry, 'PX', this.ttlMs);
      this.breaker.success();
    } catch {
      this.counters.errors++;
      this.breaker.failure();
    }
  }

  async close(): Promise<void> {
    this.client.disconnect();
  }
}
