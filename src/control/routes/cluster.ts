import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import { monotonicMs } from '../../shared/clock.ts';
import { redisClient } from '../../shared/redis.ts';
import { ACQUIRE, FORGET, PUBLISH, RENEW, RETIRE, TAKE_FOR_GONE, TELL } from './cluster-scripts.ts';
import { type CarryOut, CommandStream } from './command-stream.ts';
import {
  type Contribution,
  decodeContribution,
  type EncodedContribution,
  encodeContribution,
  merge,
} from './contribution.ts';
import { ForwardedLots } from './forwarded-lots.ts';
import { SilentNodes } from './silent-nodes.ts';
import { Staleness } from './staleness.ts';

/** What the gateways of a fleet have to tell one another about routes. */
export interface ClusterEvents {
  /** The leader decided something. `standing` is JSON. */
  onStanding(route: string, standing: string): void;
  /** Routes were changed over another gateway's API. */
  onDocuments(): void;
  /**
   * Rewards for decisions that another gateway did not take. Resolves with whether each is for a decision of this one.
   * Rejects when they must come again.
   */
  onRewards(events: unknown[]): Promise<boolean[]>;
  /** So many of the rewards that this gateway forwarded are for no decision of any other. */
  onUnclaimed(events: number): void;
  /** Earlier processes of this gateway whose decisions it waits for. */
  predecessors(): readonly string[];
  /** Only to the leader: a person's command to a rollout. */
  onCommand: CarryOut;
  /** This gateway decides from now on, and knows what was decided before it. */
  onLeading(): void;
  /** Redis has this gateway's sums as they were when they were asked for. */
  onTold(sums: ReadonlyMap<string, EncodedContribution>): void;
  /** This gateway was taken for gone, with all it had told: it has another id, and begins to count anew. */
  onTakenForGone(id: string): void;
  /** Of sums of gateways that are gone, what has to be kept. */
  kept(name: string, sums: Contribution): Contribution;
  log(level: 'info' | 'warn', message: string, fields: object): void;
}

export interface ClusterSettings {
  url: string;
  leaseMs: number;
  /** What was decided is not gone by any more when nobody who decides was heard of for so long; at least two leases. */
  staleMs: number;
  prefix?: string;
  pollMs?: number;
  /** A gateway that has said nothing for so long is taken for gone: its sums become part of those of all such. */
  goneMs?: number;
}

const TIMEOUT_MS = 2000;
const GONE_MS = 3_600_000;
const GONE = 'gone';
/** Sums that nobody tells of any more are kept so long: a fleet that was off for a while goes on with them. */
const SUMS_KEPT_MS = 30 * 86_400_000;
/** Forwarded lots of rewards that are kept for gateways that could not be reached for a while. */
const KEPT_REWARDS = 100_000;
const REWARDS_AT_ONCE = 1000;
/** Who has sent a lot asks within seconds who claims it. */
const CLAIMS_KEPT_S = 120;
const BLOCK_MS = 1000;
const RETRY_MS = 200;
/** Leases for which somebody must have been heard of before what was decided is gone by again. */
const BACK_LEASES = 3;

/**
 * Several gateways as one, through Redis: each publishes sums that only grow, one of them holds a lease and decides for
 * all. Its token grows with each change of leader, and Redis refuses what an earlier one publishes late. Without Redis
 * everybody keeps the last that was decided, until it is stale, and nobody decides.
 */
export class RouteCluster {
  private name: string = randomUUID();
  private readonly settings: Required<ClusterSettings>;
  private readonly events: ClusterEvents;
  private readonly redis: Redis;
  private readonly subscriber: Redis;
  private readonly commands: CommandStream;
  /** This gateway's sums, by a name that says of what they are: only sums of one name are put together. */
  private readonly own: () => ReadonlyMap<string, EncodedContribution>;
  private others = new Map<string, EncodedContribution[]>();
  private token = 0;
  /** A new leader first reads what the one before it decided. */
  private learning = false;
  private leaseUntil = 0;
  private seen = '';
  private documents = '';
  private reachable = true;
  private timer: NodeJS.Timeout | undefined;
  private closing = false;
  private readonly lots = new ForwardedLots();
  private readonly silent: SilentNodes;
  private readonly staleness: Staleness;
  /** The last lot of rewards that was taken in. */
  private readTo: string | undefined;

  constructor(settings: ClusterSettings, own: () => ReadonlyMap<string, EncodedContribution>, events: ClusterEvents) {
    this.settings = { prefix: 'sy:routes', pollMs: 500, goneMs: GONE_MS, ...settings };
    this.silent = new SilentNodes(this.settings.goneMs);
    const { leaseMs } = settings;
    // A leader that is killed is followed by another one within a lease.
    const staleMs = Math.max(settings.staleMs, 2 * leaseMs);
    this.staleness = new Staleness({ staleMs, gapMs: leaseMs, backMs: Math.min(staleMs, BACK_LEASES * leaseMs) });
    this.own = own;
    this.events = events;
    const options = {
      enableOfflineQueue: false,
      commandTimeout: TIMEOUT_MS,
      connectTimeout: TIMEOUT_MS,
      maxRetriesPerRequest: 0,
      retryStrategy: (attempt: number) => Math.min(100 * attempt, 1000),
    };
    this.redis = redisClient(settings.url, options);
    this.subscriber = redisClient(settings.url, { ...options, commandTimeout: undefined });
    for (const client of [this.redis, this.subscriber]) client.on('error', () => {});
    this.commands = new CommandStream(this.redis, this.key('rollout-commands'), events.onCommand);
  }

  /** Among the gateways. Another one after it was taken for gone. */
  get id(): string {
    return this.name;
  }

  /** Tries to reach Redis for at most `waitMs`, takes part from then on either way. */
  async start(waitMs: number): Promise<void> {
    if (this.redis.status !== 'ready') {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, waitMs);
        this.redis.once('ready', () => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
    await this.round();
    this.schedule();
    void this.readRewards();
  }

  /** Whether this gateway decides. A lease that could not be renewed ends here before it ends in Redis. */
  leading(): boolean {
    return this.token > 0 && !this.learning && monotonicMs() < this.leaseUntil;
  }

  /** Whether it is too long ago that somebody was heard of who decides. */
  stale(): boolean {
    return this.staleness.look(monotonicMs());
  }

  describe(): { id: string; leader: boolean; reachable: boolean; stale: boolean; token: number } {
    const { id, reachable, token } = this;
    return { id, leader: this.leading(), reachable, stale: this.stale(), token };
  }

  /** Other gateways' sums of a name, as of the last round. */
  contributions(sums: string): EncodedContribution[] {
    return this.others.get(sums) ?? [];
  }

  /** Publishes decisions. False: this gateway is not the leader (any more), or Redis is away. */
  async publish(standings: ReadonlyMap<string, string | undefined>): Promise<boolean> {
    if (!this.leading() || standings.size === 0) return false;
    const fields = [...standings].flatMap(([route, standing]) => [route, standing ?? '']);
    const keys = [this.key('fence'), this.key('leader'), this.key('standings'), this.key('seq')];
    const done = await this.redis
      .eval(PUBLISH, keys.length, ...keys, this.token, this.id, ...fields)
      .catch(() => undefined);
    // Refused: somebody else has been leading. When Redis is away the lease runs out by itself.
    if (done === 0) this.token = 0;
    return done !== 0 && done !== undefined;
  }

  /**
   * Removes sums of names that nothing goes by any more. A gateway that still goes by one tells its own again; where
   * this one does not decide, or Redis is away, they stay until their time is over.
   */
  async forget(names: readonly string[]): Promise<void> {
    if (!this.leading() || names.length === 0) return;
    const keys = [this.key('fence'), this.key('leader'), ...names.map((name) => this.key(`sums:${name}`))];
    await this.redis.eval(FORGET, keys.length, ...keys, this.token, this.id).catch(() => undefined);
  }

  /** Rejects when Redis is away. */
  async forwardRewards(events: readonly unknown[]): Promise<void> {
    const fields = ['from', this.id, 'events', JSON.stringify(events)];
    const lot = await this.redis.xadd(this.key('rewards'), 'MAXLEN', '~', KEPT_REWARDS, '*', ...fields);
    if (lot !== null) this.lots.sent(lot, events.length, monotonicMs());
  }

  /**
   * For the leader to carry out, at once if that is this gateway; it is not lost with a leader. Rejects when Redis is
   * away.
   */
  async forwardCommand(route: string, command: unknown): Promise<void> {
    await this.commands.add(route, command);
    // It is there: what fails here comes with the next round.
    if (this.leading()) await this.commands.take().catch(() => {});
  }

  async documentsChanged(): Promise<void> {
    this.documents = String(await this.redis.incr(this.key('documents')));
  }

  async close(): Promise<void> {
    this.closing = true;
    clearTimeout(this.timer);
    // A leader that leaves makes place at once.
    if (this.leading()) {
      await this.redis.eval(RENEW, 1, this.key('leader'), this.id, 1).catch(() => undefined);
    }
    this.redis.disconnect();
    this.subscriber.disconnect();
  }

  private key(name: string): string {
    return `${this.settings.prefix}:${name}`;
  }

  private schedule(): void {
    if (this.closing) return;
    this.timer = setTimeout(() => {
      void this.round().finally(() => this.schedule());
    }, this.settings.pollMs);
    this.timer.unref();
  }

  /** Never rejects. */
  private async round(): Promise<void> {
    try {
      // First: who was taken for gone must not decide under the name it had.
      await this.tellSums();
      await this.holdLease();
      const decided = await this.readStandings();
      await this.readSums();
      if (decided) this.staleness.heard(monotonicMs());
      await this.readClaims();
      if (this.leading()) await this.commands.take();
      if (!this.reachable) this.events.log('info', 'Redis answers again', {});
      this.reachable = true;
    } catch (error) {
      if (this.reachable) {
        const reason = (error as Error).message;
        this.events.log('warn', 'Redis does not answer: nobody decides on routes until it does', { reason });
      }
      this.reachable = false;
      this.silent.reset();
    }
  }

  private async holdLease(): Promise<void> {
    const asked = monotonicMs();
    const { leaseMs } = this.settings;
    const led = this.token;
    const answer =
      led > 0
        ? await this.redis.eval(RENEW, 1, this.key('leader'), this.id, leaseMs)
        : await this.redis.eval(ACQUIRE, 2, this.key('leader'), this.key('token'), this.id, leaseMs);
    if (Number(answer) === 0) {
      this.token = 0;
      return;
    }
    if (led === 0) {
      this.token = Number(answer);
      this.learning = true;
      this.silent.reset();
      this.events.log('info', 'this gateway decides for all now', { token: this.token });
    }
    // Counted from before the question, and a margin for clocks that run differently.
    this.leaseUntil = asked + leaseMs * 0.9;
  }

  private async tellSums(): Promise<void> {
    let sums = this.own();
    if (!(await this.tell(sums))) {
      await this.beginAnew();
      sums = this.own();
      if (!(await this.tell(sums))) return;
    }
    this.events.onTold(sums);
  }

  /** False: this gateway was taken for gone. */
  private async tell(sums: ReadonlyMap<string, EncodedContribution>): Promise<boolean> {
    const names = [...sums.keys()].map((name) => this.key(`sums:${name}`));
    const keys = [this.markOf(this.id), this.key('nodes'), ...names];
    const texts = [...sums.values()].map((contribution) => JSON.stringify(contribution));
    return (await this.redis.eval(TELL, keys.length, ...keys, this.id, SUMS_KEPT_MS, ...texts)) === 1;
  }

  private markOf(id: string): string {
    return this.key(`gone:${id}`);
  }

  /** What was told before is counted for good. What was counted since then is lost: it would take the old sums along. */
  private async beginAnew(): Promise<void> {
    this.events.log('warn', 'this gateway was taken for gone; it counts anew under another id', { id: this.name });
    const name = randomUUID();
    if (this.readTo !== undefined) await this.redis.hset(this.key('read'), name, this.readTo);
    this.name = name;
    this.token = 0;
    this.events.onTakenForGone(name);
  }

  /**
   * Which of its waiting decisions a process that is gone has learnt: all before the number. Of one that Redis does not
   * know any more, all: rather none is learnt than one twice. Rejects when Redis is away.
   */
  async learnt(sums: string, node: string): Promise<number> {
    const text = await this.redis.hget(this.key(`sums:${sums}`), node);
    if (text !== null) return (JSON.parse(text) as EncodedContribution).learnt ?? 0;
    const known = await this.redis.hexists(this.key('nodes'), node);
    return known === 1 ? 0 : Number.POSITIVE_INFINITY;
  }

  /** @returns whether somebody decides */
  private async readStandings(): Promise<boolean> {
    const names = ['seq', 'documents', 'token', 'leader'].map((name) => this.key(name));
    const [seq, documents, token, leader] = await this.redis.mget(names);
    const decided = leader !== null;
    const mark = `${seq}/${token}`;
    if ((documents ?? '') !== this.documents) {
      this.documents = documents ?? '';
      this.events.onDocuments();
    }
    if (this.leading() || (mark === this.seen && !this.learning)) return decided;
    const standings = await this.redis.hgetall(this.key('standings'));
    this.seen = mark;
    for (const [route, standing] of Object.entries(standings)) this.events.onStanding(route, standing);
    if (!this.learning) return decided;
    this.learning = false;
    this.events.onLeading();
    return true;
  }

  /** Of all names at once: a lease does not wait for as many round trips as there are routes. */
  private async readSums(): Promise<void> {
    const looking = this.leading() && this.silent.due(monotonicMs());
    if (looking) await this.takeSilentForGone();
    const others = new Map<string, EncodedContribution[]>();
    const names = [...this.own().keys()];
    const pipeline = this.redis.pipeline();
    for (const name of names) pipeline.hgetall(this.key(`sums:${name}`));
    for (const [i, [error, answer]] of ((await pipeline.exec()) ?? []).entries()) {
      if (error !== null) throw error;
      const name = names[i];
      const { [this.id]: _, ...fields } = answer as Record<string, string>;
      const parsed = new Map(Object.entries(fields).map(([id, text]) => [id, JSON.parse(text) as EncodedContribution]));
      others.set(name, [...parsed.values()]);
      if (looking) await this.retire(name, parsed);
    }
    this.others = others;
  }

  /** From here on they can tell nothing more under the names they had. */
  private async takeSilentForGone(): Promise<void> {
    const { [this.id]: _, ...counts } = await this.redis.hgetall(this.key('nodes'));
    const silent = this.silent.look(counts, monotonicMs());
    if (silent.length === 0) return;
    const marks = silent.map(([id]) => this.markOf(id));
    const keys = [this.key('fence'), this.key('leader'), this.key('nodes'), this.key('read'), ...marks];
    const counted = silent.flat();
    await this.redis.eval(TAKE_FOR_GONE, keys.length, ...keys, this.token, this.id, SUMS_KEPT_MS, ...counted);
  }

  /** Adds what gateways that are gone have told to the sum of all such, in one step. */
  private async retire(name: string, parsed: ReadonlyMap<string, EncodedContribution>): Promise<void> {
    const ids = [...parsed.keys()].filter((id) => id !== GONE);
    const marks = ids.length === 0 ? [] : await this.redis.mget(ids.map((id) => this.markOf(id)));
    const gone = ids.filter((_, i) => marks[i] !== null);
    // Rewards that nobody had learnt from when their gateway was gone are kept until somebody has.
    const unlearnt = (parsed.get(GONE)?.epochs.length ?? 0) > 0;
    if (gone.length === 0 && !unlearnt) return;
    const parts = [GONE, ...gone].flatMap((id) => parsed.get(id) ?? []).map(decodeContribution);
    const keys = [this.key('fence'), this.key('leader'), this.key(`sums:${name}`)];
    const sum = JSON.stringify(encodeContribution(this.events.kept(name, merge(parts))));
    await this.redis.eval(RETIRE, keys.length, ...keys, this.token, this.id, GONE, sum, ...gone);
  }

  /** Tells of rewards that it forwarded and nobody knew, once their time is over. */
  private async readClaims(): Promise<void> {
    const due = this.lots.due(monotonicMs());
    if (due.length === 0) return;
    const pipeline = this.redis.pipeline();
    for (const { id } of due) pipeline.scard(this.key(`claims:${id}`));
    let unclaimed = 0;
    for (const [i, [error, claims]] of ((await pipeline.exec()) ?? []).entries()) {
      if (error !== null) throw error;
      unclaimed += due[i].events - Number(claims);
    }
    this.lots.settled(due.length);
    if (unclaimed > 0) this.events.onUnclaimed(unclaimed);
  }

  /** Says which rewards of other gateways' lots are for decisions of this one, by their places: a lot may come twice. */
  private async claim(lots: readonly { id: string; events: unknown[] }[], known: readonly boolean[]): Promise<void> {
    const pipeline = this.redis.pipeline();
    let at = 0;
    for (const { id, events } of lots) {
      const own = events.flatMap((_, i) => (known[at + i] ? [i] : []));
      at += events.length;
      if (own.length === 0) continue;
      pipeline.sadd(this.key(`claims:${id}`), ...own);
      pipeline.expire(this.key(`claims:${id}`), CLAIMS_KEPT_S);
    }
    await pipeline.exec();
  }

  /** Follows the stream of rewards until the end, and writes down how far it is for the process that comes after it. */
  private async readRewards(): Promise<void> {
    const key = this.key('rewards');
    const predecessors = this.events.predecessors();
    let last: string | undefined;
    while (!this.closing) {
      try {
        if (last === undefined) {
          last = await this.readUntil(predecessors);
          await this.redis.hset(this.key('read'), this.id, last);
        }
        this.readTo = last;
        const answer = await this.subscriber.xread('COUNT', REWARDS_AT_ONCE, 'BLOCK', BLOCK_MS, 'STREAMS', key, last);
        const lots = answer?.[0][1] ?? [];
        const others = lots.flatMap(([id, [, from, , events]]) =>
          from === this.id ? [] : [{ id, events: readLot(events) }],
        );
        const rewards = others.flatMap(({ events }) => events);
        const known = rewards.length === 0 ? [] : await this.events.onRewards(rewards);
        if (lots.length === 0) continue;
        // First of all: what was taken in must not come again.
        last = lots[lots.length - 1][0];
        await this.claim(others, known);
        await this.redis.hset(this.key('read'), this.id, last);
      } catch {
        await sleep(RETRY_MS);
      }
    }
  }

  /**
   * The last reward in the stream that was taken in by those whose decisions this gateway waits for: what came while it
   * was away is for them. Without any, or of ones that Redis knows no more, the last there is now.
   */
  private async readUntil(predecessors: readonly string[]): Promise<string> {
    const known = predecessors.length === 0 ? [] : await this.redis.hmget(this.key('read'), ...predecessors);
    const positions = known.filter((position) => position !== null).sort(inStreamOrder);
    return (
      positions.at(-1) ?? (await this.subscriber.xrevrange(this.key('rewards'), '+', '-', 'COUNT', 1))[0]?.[0] ?? '0-0'
    );
  }
}

/** Nothing, of what no gateway has written. */
function readLot(text: string): unknown[] {
  try {
    const events: unknown = JSON.parse(text);
    return Array.isArray(events) ? events : [];
  } catch {
    return [];
  }
}

/** Ids of a stream are `milliseconds-number`. */
function inStreamOrder(a: string, b: string): number {
  const [[aTime, aNumber], [bTime, bNumber]] = [a, b].map((id) => id.split('-').map(Number));
  return aTime - bTime || aNumber - bNumber;
}
