import { randomUUID } from 'node:crypto';
import type { Db, RegistryDatabase } from '../database/database.ts';
import { run } from '../database/statements.ts';
import { groupBy } from '../group-by.ts';
import type { WebhookEvent } from './events.ts';
import type { WebhookPolicy } from './guard.ts';
import { type DeliveryResult, deliver } from './send.ts';

export interface QueueParts {
  database: RegistryDatabase;
  policy: WebhookPolicy;
  now(): number;
  onError(error: unknown): void;
  /** Wait before the second and the third try. */
  waitsMs?: readonly number[];
  /** How often due deliveries are looked for that another process has left. */
  lookMs?: number;
}

const TRIES = 3;
const WAITS_MS = [1000, 5000];
const LOOK_MS = 5000;
/** A delivery that was taken and not answered for is another's after this: longer than any try. */
const LEASE_MS = 60_000;
const PARALLEL = 32;
/** One that never answers holds up its own deliveries alone. */
const PARALLEL_TO_ONE = 2;
/** What is on its way when the queue closes has so long; then the next process sends it again. */
const CLOSE_MS = 1000;
const KEPT_MS = 7 * 24 * 3600 * 1000;

const WANTING = `SELECT w.webhook_id FROM webhook_events e JOIN webhooks w ON w.webhook_id = e.webhook_id
  WHERE e.event = $1 AND w.status = 'ACTIVE'`;

/** MLflow's form of what is sent. */
export function deliveryBody({ entity, action }: WebhookEvent, data: object, at: number): string {
  return JSON.stringify({ entity, action, timestamp: new Date(at).toISOString(), data });
}

/** Something that became true, and what is told of it. */
export interface Happening extends WebhookEvent {
  data: Readonly<Record<string, unknown>>;
}

/**
 * Puts events into the queue of every webhook that wants them. Call it in the write that makes them true: then a kill at
 * any moment loses neither or both. @returns whether somebody wants one.
 */
export async function enqueueEvents(db: Db, happenings: readonly Happening[], at: number): Promise<boolean> {
  let queued = false;
  for (const [name, events] of groupBy(happenings, ({ entity, action }) => `${entity}.${action}`)) {
    const wanting = await run<{ webhook_id: string }>(db, WANTING, [name]);
    if (wanting.length === 0) continue;
    queued = true;
    for (const event of events) {
      const body = deliveryBody(event, event.data, at);
      const rows = wanting.map(({ webhook_id }) => ({
        delivery_id: randomUUID(),
        webhook_id,
        event: name,
        body,
        at,
        tries: 0,
        due: at,
        state: 'pending' as const,
        status: 0,
        error: '',
      }));
      await db.insertInto('webhook_deliveries').values(rows).execute();
    }
  }
  return queued;
}

interface Taken {
  delivery_key: number;
  delivery_id: string;
  webhook_id: string;
  body: string;
  tries: number;
  url: string;
  secret: string;
}

/** Sends what is queued: up to three tries each, also those that an earlier process has left. */
export class WebhookQueue {
  private readonly parts: QueueParts;
  private timer: NodeJS.Timeout | undefined;
  private running: Promise<void> | undefined;
  private readonly sending = new Map<Taken, Promise<void>>();
  private readonly stopping = new AbortController();
  private again = false;
  private closed = false;
  private cleanedAt = Number.NEGATIVE_INFINITY;

  constructor(parts: QueueParts) {
    this.parts = parts;
  }

  start(): void {
    this.wake();
  }

  /** Looks for due deliveries now. */
  wake(): void {
    if (this.closed) return;
    if (this.running !== undefined) {
      this.again = true;
      return;
    }
    clearTimeout(this.timer);
    this.running = this.work()
      .catch((error: unknown) => {
        this.parts.onError(error);
        return this.parts.now() + (this.parts.lookMs ?? LOOK_MS);
      })
      .then((due) => {
        this.running = undefined;
        if (this.closed) return;
        if (this.again) {
          this.again = false;
          this.wake();
          return;
        }
        const wait = Math.min(Math.max(due - this.parts.now(), 1), this.parts.lookMs ?? LOOK_MS);
        this.timer = setTimeout(() => this.wake(), wait).unref();
      });
  }

  /** What is queued stays queued, and so does what is on its way and has no answer within a second. */
  async close(): Promise<void> {
    this.closed = true;
    clearTimeout(this.timer);
    await this.running;
    const timer = setTimeout(() => this.stopping.abort(), CLOSE_MS);
    await Promise.all(this.sending.values());
    clearTimeout(timer);
  }

  /** Begins to send what is due, as far as there is room. Returns when the next one is due. */
  private async work(): Promise<number> {
    await this.clean();
    while (!this.closed && this.sending.size < PARALLEL) {
      const taken = await this.take();
      if (taken.length === 0) break;
      for (const delivery of taken) this.begin(delivery);
    }
    // Whatever ends wakes the queue.
    if (this.sending.size >= PARALLEL) return Number.POSITIVE_INFINITY;
    const next = await this.parts.database.read((db) => this.waiting(db).select('d.due').limit(1).executeTakeFirst());
    return next?.due ?? Number.POSITIVE_INFINITY;
  }

  private begin(delivery: Taken): void {
    const sent = this.send(delivery)
      .catch(this.parts.onError)
      .then(() => {
        this.sending.delete(delivery);
        this.wake();
      });
    this.sending.set(delivery, sent);
  }

  /** How many deliveries each webhook is being sent. */
  private onTheirWay(): Map<string, number> {
    const counts = new Map<string, number>();
    for (const { webhook_id } of this.sending.keys()) counts.set(webhook_id, (counts.get(webhook_id) ?? 0) + 1);
    return counts;
  }

  /**
   * Pending deliveries by the time they are due, without those of webhooks that have enough on their way, or are disabled: what
   * is queued for these waits until they are active again.
   */
  private waiting(db: Db) {
    const full = [...this.onTheirWay()].flatMap(([webhook, count]) => (count < PARALLEL_TO_ONE ? [] : [webhook]));
    return db
      .selectFrom('webhook_deliveries as d')
      .innerJoin('webhooks as w', 'w.webhook_id', 'd.webhook_id')
      .where('d.state', '=', 'pending')
      .where('w.status', '=', 'ACTIVE')
      .$if(full.length > 0, (query) => query.where('d.webhook_id', 'not in', full))
      .orderBy('d.due');
  }

  /** Takes due deliveries for this process: another one finds them leased. */
  private async take(): Promise<Taken[]> {
    const { database, now } = this.parts;
    const due = await database.read((db) =>
      this.waiting(db)
        .select(['d.delivery_key', 'd.delivery_id', 'd.webhook_id', 'd.body', 'd.tries', 'd.due', 'w.url', 'w.secret'])
        .where('d.due', '<=', now())
        .limit(PARALLEL - this.sending.size)
        .execute(),
    );
    const taken: Taken[] = [];
    if (due.length === 0) return taken;
    const counts = this.onTheirWay();
    await database.write(async (db) => {
      for (const { due: dueAt, ...delivery } of due) {
        const count = counts.get(delivery.webhook_id) ?? 0;
        if (count >= PARALLEL_TO_ONE) continue;
        const { numUpdatedRows } = await db
          .updateTable('webhook_deliveries')
          .set({ due: now() + LEASE_MS, tries: delivery.tries + 1 })
          .where('delivery_key', '=', delivery.delivery_key)
          .where('due', '=', dueAt)
          .where('state', '=', 'pending')
          .executeTakeFirst();
        if (Number(numUpdatedRows) !== 1) continue;
        counts.set(delivery.webhook_id, count + 1);
        taken.push({ ...delivery, tries: delivery.tries + 1 });
      }
    });
    return taken;
  }

  private async send(taken: Taken): Promise<void> {
    const { database, policy, now } = this.parts;
    const { delivery_id: id, url, secret, body, tries } = taken;
    const { signal } = this.stopping;
    const result = await deliver({ id, url, secret, body }, policy, now(), { signal });
    const outcome =
      result.status === 0 && signal.aborted
        ? { due: now(), tries: tries - 1 }
        : nextState(result, tries, now(), this.parts.waitsMs ?? WAITS_MS);
    await database.write((db) =>
      db.updateTable('webhook_deliveries').set(outcome).where('delivery_key', '=', taken.delivery_key).execute(),
    );
  }

  private async clean(): Promise<void> {
    const { database, now } = this.parts;
    if (now() - this.cleanedAt < KEPT_MS / 24) return;
    this.cleanedAt = now();
    await database.write((db) =>
      db
        .deleteFrom('webhook_deliveries')
        .where('at', '<', now() - KEPT_MS)
        .where((is) => is.or([is('state', '!=', 'pending'), is('webhook_id', 'in', disabled(db))]))
        .execute(),
    );
  }
}

function disabled(db: Db) {
  return db.selectFrom('webhooks').select('webhook_id').where('status', '=', 'DISABLED');
}

/** What becomes of a delivery after a try. */
export function nextState(
  result: DeliveryResult,
  tries: number,
  now: number,
  waitsMs: readonly number[],
): { state: 'pending' | 'delivered' | 'failed'; status: number; error: string; due: number } {
  const { status, error, passing } = result;
  const answered = status >= 200 && status < 300;
  const state = answered ? 'delivered' : passing && tries < TRIES ? 'pending' : 'failed';
  const wait = waitsMs[Math.min(tries, waitsMs.length) - 1] ?? 0;
  return { state, status, error: error.slice(0, 500), due: now + wait };
}
