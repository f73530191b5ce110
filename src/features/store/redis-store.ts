import type { ChainableCommander, Redis } from 'ioredis';
import { SwitchyardError } from '../../shared/errors.ts';
import { impatientRedis } from '../../shared/redis.ts';
import type { Field, View } from '../documents/catalog.ts';
import { type FeatureValue, parseExact, readFeature, valueText } from '../documents/values.ts';
import { type Answers, type Found, type Lookup, type OnlineStore, ownerOf, type Row } from './online-store.ts';

const PREFIX = 'sy:feature';
/** The hash's field that holds the event time. */
const TIME = '@t';
const RETRY_MS = 500;

/** KEYS: the row. ARGV: its time, when it expires (0: never), then fields and values. Returns 1 if it was kept. */
const WRITE = `
local before = redis.call('HGET', KEYS[1], '${TIME}')
if before and tonumber(before) > tonumber(ARGV[1]) then return 0 end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], '${TIME}', ARGV[1], unpack(ARGV, 3))
if ARGV[2] ~= '0' then redis.call('PEXPIREAT', KEYS[1], ARGV[2]) end
return 1`;
/**
 * KEYS: rows. ARGV: fields. One command for many rows: making and answering a command costs the gateway thread more than
 * the fields of its row.
 */
const READ = `
local rows = {}
for i = 1, #KEYS do rows[i] = redis.call('HMGET', KEYS[i], unpack(ARGV)) end
return rows`;
/** Rows in one command: Redis does nothing else meanwhile. */
const READ_BATCH = 256;
/** Rows in one write to the socket. */
const WRITE_BATCH = 500;

declare module 'ioredis' {
  interface ChainableCommander {
    switchyardFeature(key: string, ...args: string[]): ChainableCommander;
    switchyardFeatures(keys: number, ...args: string[]): ChainableCommander;
  }
}

/**
 * One hash for each entity and view: `sy:feature:<tenant>:<view>:<entity>`, its fields the features as JSON. A read is one
 * pipeline of scripts that call HMGET, and so one round trip. A row is kept for twice its view's TTL: the second time it is
 * OUTSIDE_MAX_AGE, after it NOT_FOUND.
 */
export class RedisStore implements OnlineStore {
  readonly kind = 'redis';
  private readonly client: Redis;

  constructor(url: string, timeoutMs: number) {
    this.client = impatientRedis(url, timeoutMs);
    this.client.defineCommand('switchyardFeature', { numberOfKeys: 1, lua: WRITE });
    this.client.defineCommand('switchyardFeatures', { lua: READ });
  }

  async read(tenant: string, lookups: readonly Lookup[]): Promise<Answers> {
    const pipeline = this.client.pipeline();
    for (const { view, fields, keys } of lookups) {
      const prefix = prefixOf(tenant, view);
      const names = [TIME, ...fields.map((field) => view.names[field])];
      for (let from = 0; from < keys.length; from += READ_BATCH) {
        const part = keys.slice(from, from + READ_BATCH).map((key) => prefix + key);
        pipeline.switchyardFeatures(part.length, ...part, ...names);
      }
    }
    const replies = (await this.run(pipeline)).flat() as (string | null)[][];
    let next = 0;
    return lookups.map(({ view, fields, keys }) => keys.map(() => decodeRow(view, fields, replies[next++])));
  }

  async write(tenant: string, view: View, rows: readonly Row[]): Promise<number> {
    const prefix = prefixOf(tenant, view);
    const now = Date.now();
    let kept = 0;
    for (let from = 0; from < rows.length; from += WRITE_BATCH) {
      const pipeline = this.client.pipeline();
      for (const { key, time, values } of rows.slice(from, from + WRITE_BATCH)) {
        const expires = view.ttlMs === 0 ? 0 : Math.max(now, time) + 2 * view.ttlMs;
        const args = [String(time), String(Math.ceil(expires))];
        for (let i = 0; i < values.length; i++) args.push(view.names[i], valueText(values[i]));
        pipeline.switchyardFeature(prefix + key, ...args);
      }
      const replies = await this.run(pipeline);
      for (const reply of replies) if (reply === 1) kept++;
    }
    return kept;
  }

  close(): void {
    this.client.disconnect();
  }

  private async run(pipeline: ChainableCommander): Promise<unknown[]> {
    if (pipeline.length === 0) return [];
    let replies: [Error | null, unknown][] | null;
    try {
      replies = await pipeline.exec();
    } catch (error) {
      throw away(error as Error);
    }
    if (replies === null) throw away(new Error('no reply'));
    return replies.map(([error, reply]) => {
      if (error !== null) throw away(error);
      return reply;
    });
  }
}

function away(cause: Error): SwitchyardError {
  return new SwitchyardError(
    'unavailable',
    `the online store (Redis) cannot be used: ${cause.message}; retry in a moment`,
    { retryAfterMs: RETRY_MS, cause },
  );
}

function prefixOf(tenant: string, view: View): string {
  return `${PREFIX}:${encodeURIComponent(ownerOf(view, tenant))}:${view.name}:`;
}

function decodeRow(view: View, fields: readonly number[], reply: readonly (string | null)[]): Found | undefined {
  if (reply[0] === null) return undefined;
  const values: (FeatureValue | undefined)[] = new Array(fields.length);
  for (let i = 0; i < fields.length; i++) {
    const text = reply[i + 1];
    values[i] = text === null ? undefined : decodeValue(view.fields[fields[i]], text);
  }
  return { time: Number(reply[0]), values };
}

/** A value of a type that the view has had before is none any more. */
function decodeValue({ type, length, name }: Field, text: string): FeatureValue | undefined {
  if (length === 0 && (type === 'float64' || type === 'float32')) {
    const number = Number(text);
    if (!Number.isNaN(number) && text !== '') return type === 'float32' ? Math.fround(number) : number;
  }
  try {
    return readFeature(type, length, parseExact(text), name);
  } catch {
    return undefined;
  }
}
