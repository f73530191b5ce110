import { createRequire } from 'node:module';
import type { Redis, RedisOptions } from 'ioredis';

const require = createRequire(import.meta.url);

/** A client of ioredis, whose files are read with the first one: most threads never need any. */
export function redisClient(url: string, options: RedisOptions): Redis {
  const { Redis } = require('ioredis') as typeof import('ioredis');
  return new Redis(url, options);
}

/**
 * A client for what a request may not wait for: each command has `commandTimeoutMs`, nothing is queued while the server
 * is away, and connecting goes on in the background for ever. Failures show where they strike a command.
 */
export function impatientRedis(url: string, commandTimeoutMs: number): Redis {
  const client = redisClient(url, {
    enableOfflineQueue: false,
    commandTimeout: commandTimeoutMs,
    connectTimeout: 1000,
    // A connection that has died without a word is given up, not waited on for ever.
    socketTimeout: 2000,
    maxRetriesPerRequest: 0,
    retryStrategy: (attempt) => Math.min(100 * attempt, 2000),
  });
  // Without a listener ioredis would print each failure.
  client.on('error', () => {});
  return client;
}
