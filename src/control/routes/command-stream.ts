import type { Redis } from 'ioredis';

/**
 * Carries out a person's command to a rollout, once for each id however often it comes. Resolves with true once what it
 * leads to has been published, with false if it must come again; 'unknown': there is no such route here. Never rejects.
 */
export type CarryOut = (route: string, id: string, command: unknown) => Promise<boolean | 'unknown'>;

const KEPT = 1000;
const AT_ONCE = 100;
/** Commands wait so long for a route that the leader does not have, or has not read yet. */
const ROUTE_AWAITED_MS = 60_000;

/**
 * Commands to rollouts, from whichever gateway they were given to, for the one that decides: a stream in Redis. One
 * stays in it until what it led to has been published: a leader that is killed meanwhile loses none, and the next one
 * knows by the id whether it was carried out.
 */
export class CommandStream {
  private readonly redis: Redis;
  private readonly key: string;
  private readonly carryOut: CarryOut;
  private taking: Promise<void> = Promise.resolve();

  constructor(redis: Redis, key: string, carryOut: CarryOut) {
    this.redis = redis;
    this.key = key;
    this.carryOut = carryOut;
  }

  /** Rejects when Redis is away. */
  async add(route: string, command: unknown): Promise<void> {
    const fields = ['route', route, 'command', JSON.stringify(command)];
    await this.redis.xadd(this.key, 'MAXLEN', '~', KEPT, '*', ...fields);
  }

  /** Only where this gateway decides. Resolves when all that were there before the call are done, or must come again. */
  take(): Promise<void> {
    // One after the other: an older look at the stream would bring what is done and forgotten.
    const taken = this.taking.then(() => this.takeAll());
    this.taking = taken.catch(() => {});
    return taken;
  }

  private async takeAll(): Promise<void> {
    for (const [id, [, route, , text]] of await this.redis.xrange(this.key, '-', '+', 'COUNT', AT_ONCE)) {
      const done = await this.carryOut(route, id, JSON.parse(text));
      // Those after it must not overtake it.
      if (done === false) return;
      if (done === true || (await this.isOld(id))) await this.redis.xdel(this.key, id);
    }
  }

  /** By the clock of Redis, which gave the id. */
  private async isOld(id: string): Promise<boolean> {
    const [seconds] = await this.redis.time();
    return Number(seconds) * 1000 - Number(id.split('-')[0]) > ROUTE_AWAITED_MS;
  }
}
