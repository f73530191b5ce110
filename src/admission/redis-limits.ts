import type { Redis } from 'ioredis';
import { RateLimiterRedis, RateLimiterRes } from 'rate-limiter-flexible';
import { Breaker } from '../shared/breaker.ts';
import { impatientRedis } from '../shared/redis.ts';
import type { LimitsConfig } from './admission-config.ts';
import { type LimitState, limitReached, type TenantState, untilTomorrowMs } from './tenant-limits.ts';

const TIMEOUT_MS = 50;

interface Limiters {
  config: LimitsConfig | undefined;
  rate: RateLimiterRedis | undefined;
  quota: RateLimiterRedis | undefined;
}

/**
 * Rates and quotas of a fleet, counted in Redis in fixed windows as long as burst / rate (whole seconds, at least one):
 * across a window's edge up to two windows' worth may pass at once. Concurrency stays a limit of each process.
 */
export class RedisLimits {
  private readonly client: Redis;
  private readonly breaker = new Breaker(3, 1000);
  private readonly limiters = new Map<string, Limiters>();
  /** Requests decided by local limits because Redis was away. */
  fallbacks = 0;

  constructor(url: string) {
    this.client = impatientRedis(url, TIMEOUT_MS);
  }

  /** Resolves when connected, or after `timeoutMs`: starting does not depend on Redis. */
  async connected(timeoutMs: number): Promise<boolean> {
    if (this.client.status === 'ready') return true;
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(false), timeoutMs);
      this.client.once('ready', () => {
        clearTimeout(timer);
        resolve(true);
      });
    });
  }

  /** True: Redis can be asked now. */
  usable(): boolean {
    return this.client.status === 'ready' && this.breaker.allows();
  }

  /**
   * Takes one request from the tenant's and the model's rate and quota. Resolves true when granted, false when Redis
   * did not answer in 50 ms and local limits must decide. Rejects: overloaded.
   */
  async consume(state: TenantState, tenant: string, model: string): Promise<boolean> {
    const limits = state.models?.get(model);
    try {
      await this.take(state.own, tenant, undefined);
      if (limits !== undefined) await this.take(limits, tenant, model);
      this.breaker.success();
      return true;
    } catch (error) {
      if (error instanceof Refused) {
        this.breaker.success();
        throw limitReached(error.what, tenant, error.model, error.retryAfterMs);
      }
      this.breaker.failure();
      return false;
    }
  }

  private async take(limits: LimitState, tenant: string, model: string | undefined): Promise<void> {
    const { rate, quota } = this.limitersOf(limits);
    const key = model === undefined ? tenant : `${tenant}\n${model}`;
    if (rate !== undefined) await consumeOne(rate, key, 'the rate limit', model);
    if (quota === undefined) return;
    const day = new Date().toISOString().slice(0, 10);
    await consumeOne(quota, `${key}\n${day}`, `the daily quota (${limits.dailyQuota})`, model);
  }

  private limitersOf(limits: LimitState): Limiters {
    let found = this.limiters.get(limits.key);
    if (found === undefined || found.config !== limits.config) {
      found = {
        config: limits.config,
        rate: limits.intervalNs > 0 ? this.rateLimiter(limits.config!) : undefined,
        quota: limits.dailyQuota > 0 ? this.limiter('sy:quota', limits.dailyQuota, 90_000) : undefined,
      };
      this.limiters.set(limits.key, found);
    }
    return found;
  }

  private rateLimiter(config: LimitsConfig): RateLimiterRedis {
    const rate = config.requestsPerSecond!;
    const burst = config.burst ?? Math.max(1, Math.ceil(rate));
    const seconds = Math.max(1, Math.ceil(1 / rate), Math.round(burst / rate));
    return this.limiter('sy:rate', Math.max(1, Math.floor(rate * seconds)), seconds);
  }

  private limiter(prefix: string, points: number, duration: number): RateLimiterRedis {
    return new RateLimiterRedis({
      storeClient: this.client,
      keyPrefix: prefix,
      points,
      duration,
      // A used-up window is refused from memory until it ends: an overload asks Redis nothing.
      inMemoryBlockOnConsumed: points + 1,
      rejectIfRedisNotReady: true,
    });
  }

  async close(): Promise<void> {
    this.client.disconnect();
  }
}

class Refused extends Error {
  readonly what: string;
  readonly model: string | undefined;
  readonly retryAfterMs: number;

  constructor(what: string, model: string | undefined, retryAfterMs: number) {
    super(what);
    this.what = what;
    this.model = model;
    this.retryAfterMs = retryAfterMs;
  }
}

async function consumeOne(
  limiter: RateLimiterRedis,
  key: string,
  what: string,
  model: string | undefined,
): Promise<void> {
  try {
    await limiter.consume(key);
  } catch (error) {
    if (!(error instanceof RateLimiterRes)) throw error;
    const day = what.startsWith('the daily');
    throw new Refused(what, model, day ? untilTomorrowMs(Date.now()) : Math.max(1, error.msBeforeNext));
  }
}
