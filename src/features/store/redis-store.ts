import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ChainableCommander, Redis } from 'ioredis';
import { SwitchyardError } from '../../shared/errors.ts';
import { parseExact } from '../../shared/exact-json.ts';
import { impatientRedis } from '../../shared/redis.ts';
import type { Field, View } from '../documents/catalog.ts';
import { type FeatureValue, readFeature, valueText } from '../documents/values.ts';
import { hasWindows, type WindowView } from '../windows/events.ts';
import { applyEvent, expiryOf, newState, readWindows, type WindowEvent, type WindowState } from '../windows/state.ts';
import { decodeState, encodeState } from '../windows/state-text.ts';
import {
  type Answers,
  type Found,
  type IngestCounts,
  type Lookup,
  noCounts,
  type OnlineStore,
  ownerOf,
  type Row,
} from './online-store.ts';

const PREFIX = 'sy:feature';
/** The hash's field that holds the event time. */
const TIME = '@t';
/** Fields of the hash that holds a state of windows: the state, and what its writer called it. */
const STATE = '@w';
const VERSION = '@v';
/** So long a deletion is remembered where values do not age: as long as Kafka keeps one, unless told otherwise. */
const DELETED_MS = 24 * 3600 * 1000;
/** Instead of a version: whatever is there. */
const ANY = '*';
const RETRY_MS = 500;
/** Another gateway may write the same entity at the same time; so often in a row it does not. */
const MAX_TRIES = 100;
const MAX_PAUSE_MS = 20;

/** KEYS: the row. ARGV: its time, when it expires (0: never), then fields and values. Returns 1 if it was kept. */
const WRITE = `
local before = redis.call('HGET', KEYS[1], '${TIME}')
if before and tonumber(before) > tonumber(ARGV[1]) then return 0 end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], '${TIME}', ARGV[1], unpack(ARGV, 3))
if ARGV[2] ~= '0' then redis.call('PEXPIREAT', KEYS[1], ARGV[2]) end
return 1`;
/** KEYS: the state's hash. ARGV: the version it must have, the new one, the state, when it expires. Returns 1 if it was put. */
const PUT_STATE = `
local before = redis.call('HGET', KEYS[1], '${VERSION}')
if ARGV[1] ~= '${ANY}' and (before or '') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], '${VERSION}', ARGV[2], '${STATE}', ARGV[3])
redis.call('PEXPIREAT', KEYS[1], ARGV[4])
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
    switchyardWindows(key: string, ...args: string[]): ChainableCommander;
    switchyardFeatures(keys: number, ...args: string[]): ChainableCommander;
  }
}

/**
 * One hash for each entity and view: `sy:feature:<tenant>:<view>:<entity>`, its fields the features as JSON. A read is one
 * pipeline of scripts that call HMGET, and so one round trip. A row is kept for twice its view's TTL: the second time it is
 * OUTSIDE_MAX_AGE, after it NOT_FOUND.
 *
 * Windows of an entity are one hash, too, with `<layout>:` before the entity. It is read, changed and put back if it is
 * still the one that was read: panes and the offsets of what they hold change in one step, whoever else writes.
 */
export class RedisStore implements OnlineStore {
  readonly kind = 'redis';
  private readonly client: Redis;

  private readonly now: () => number;

  constructor(url: string, timeoutMs: number, now: () => number = Date.now) {
    this.now = now;
    this.client = impatientRedis(url, timeoutMs);
    this.client.defineCommand('switchyardWindows', { numberOfKeys: 1, lua: PUT_STATE });
    this.client.defineCommand('switchyardFeature', { numberOfKeys: 1, lua: WRITE });
    this.client.defineCommand('switchyardFeatures', { lua: READ });
  }

  async read(tenant: string, lookups: readonly Lookup[]): Promise<Answers> {
    const pipeline = this.client.pipeline();
    for (const { view, fields, keys } of lookups) {
      const prefix = prefixOf(tenant, view);
      const names = view.windows === undefined ? [TIME, ...fields.map((field) => view.names[field])] : [STATE];
      for (let from = 0; from < keys.length; from += READ_BATCH) {
        const part = keys.slice(from, from + READ_BATCH).map((key) => prefix + key);
        pipeline.switchyardFeatures(part.length, ...part, ...names);
      }
    }
    const replies = (await this.run(pipeline)).flat() as (string | null)[][];
    let next = 0;
    const now = this.now();
    return lookups.map(({ view, fields, keys }) =>
      keys.map(() => {
        const reply = replies[next++];
        return hasWindows(view) ? decodeWindows(view, fields, reply[0], now) : decodeRow(view, fields, reply);
      }),
    );
  }

  async write(tenant: string, view: View, rows: readonly Row[]): Promise<number> {
    const prefix = prefixOf(tenant, view);
    const now = Date.now();
    let kept = 0;
    for (let from = 0; from < rows.length; from += WRITE_BATCH) {
      const pipeline = this.client.pipeline();
      const part = rows.slice(from, from + WRITE_BATCH);
      for (const { key, time, values } of part) {
        const kept = 2 * view.ttlMs || (values === null ? DELETED_MS : 0);
        const expires = kept === 0 ? 0 : Math.max(now, time) + kept;
        const args = [String(time), String(Math.ceil(expires))];
        // Without fields: an older row that comes later must not bring back what was deleted.
        for (const [i, value] of (values ?? []).entries()) args.push(view.names[i], valueText(value));
        pipeline.switchyardFeature(prefix + key, ...args);
      }
      const replies = await this.run(pipeline);
      for (const [i, reply] of replies.entries()) if (reply === 1 && part[i].values !== null) kept++;
    }
    return kept;
  }

  async ingest(tenant: string, view: WindowView, events: readonly WindowEvent[]): Promise<IngestCounts> {
    const counts = noCounts();
    let waiting = new Map<string, WindowEvent[]>();
    for (const event of events) {
      const of = waiting.get(event.key);
      if (of === undefined) waiting.set(event.key, [event]);
      else of.push(event);
    }
    for (let tries = 0; waiting.size > 0; tries++) {
      if (tries === MAX_TRIES) throw away(new Error(`${waiting.size} entities are written by others all the time`));
      if (tries > 0) await sleep(Math.random() * MAX_PAUSE_MS);
      const left = new Map<string, WindowEvent[]>();
      const groups = [...waiting];
      for (let from = 0; from < groups.length; from += WRITE_BATCH)
        for (const group of await this.putEvents(tenant, view, groups.slice(from, from + WRITE_BATCH), counts))
          left.set(...group);
      waiting = left;
    }
    return counts;
  }

  /** Returns those whose state another writer changed meanwhile. */
  private async putEvents(
    tenant: string,
    view: WindowView,
    groups: readonly [string, WindowEvent[]][],
    counts: IngestCounts,
  ): Promise<[string, WindowEvent[]][]> {
    const prefix = prefixOf(tenant, view);
    const reading = this.client.pipeline();
    reading.switchyardFeatures(groups.length, ...groups.map(([key]) => prefix + key), VERSION, STATE);
    const [rows] = (await this.run(reading)) as [string | null, string | null][][];
    const writing = this.client.pipeline();
    const outcomes = groups.map(([key, events], i) => {
      const [version, text] = rows[i];
      const state = (text === null ? undefined : stateOf(view, text)) ?? newState();
      const outcomes = noCounts();
      for (const event of events) outcomes[applyEvent(view.windows, state, event)]++;
      writing.switchyardWindows(prefix + key, ...putArguments(view, state, version ?? ''));
      return outcomes;
    });
    const replies = await this.run(writing);
    for (const [i, { kept, late, duplicate }] of outcomes.entries()) {
      if (replies[i] !== 1) continue;
      counts.kept += kept;
      counts.late += late;
      counts.duplicate += duplicate;
    }
    return groups.filter((_, i) => replies[i] !== 1);
  }

  async replace(tenant: string, view: WindowView, states: ReadonlyMap<string, WindowState>): Promise<void> {
    const prefix = prefixOf(tenant, view);
    const all = [...states];
    for (let from = 0; from < all.length; from += WRITE_BATCH) {
      const pipeline = this.client.pipeline();
      for (const [key, state] of all.slice(from, from + WRITE_BATCH))
        pipeline.switchyardWindows(prefix + key, ...putArguments(view, state, ANY));
      await this.run(pipeline);
    }
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
  const layout = view.windows === undefined ? '' : `${view.windows.layout}:`;
  return `${PREFIX}:${encodeURIComponent(ownerOf(view, tenant))}:${view.name}:${layout}`;
}

function putArguments(view: WindowView, state: WindowState, before: string): string[] {
  const expires = String(Math.ceil(expiryOf(view.windows, state)));
  return [before, randomBytes(9).toString('base64'), encodeState(state), expires];
}

/** Undefined where it is damaged. */
function stateOf(view: WindowView, text: string): WindowState | undefined {
  try {
    return decodeState(view.windows, text);
  } catch {
    return undefined;
  }
}

function decodeWindows(
  view: WindowView,
  fields: readonly number[],
  text: string | null,
  now: number,
): Found | undefined {
  const state = text === null ? undefined : stateOf(view, text);
  return state === undefined ? undefined : readWindows(view.windows, state, now, fields);
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
