import { hash } from 'node:crypto';

/**
 * Counters of tenants in one SharedArrayBuffer that every gateway thread of the process works on with Atomics. No
 * locks: a thread that dies in the middle of an operation blocks nobody. Four 64-bit words per slot:
 * 0 key (0 = free), 1 theoretical arrival time of the rate limit in ns, 2 quota (day × 2^38 + count), 3 in flight (i32).
 */
const WORDS = 4;
const MAX_PROBES = 64;
/** Counts per day; a product with days since 2020 stays a safe integer for this century. */
export const MAX_DAILY_QUOTA = 2 ** 38 - 1;
const DAY_UNIT = 2 ** 38;

/** A buffer for createLimitTable: made once by the control thread and given to every gateway thread. 32 bytes per slot. */
export function allocateLimitTable(slots = 16384): SharedArrayBuffer {
  return new SharedArrayBuffer(slots * WORDS * 8);
}

/** UTC days since 2020-01-01. */
export function quotaDay(epochMs: number): number {
  return Math.floor(epochMs / 86_400_000) - 18_262;
}

export class LimitTable {
  private readonly wide: BigInt64Array;
  private readonly narrow: Int32Array;
  /** The last slot: shared by everyone who finds the table full. */
  readonly overflow: number;

  constructor(buffer: SharedArrayBuffer) {
    this.wide = new BigInt64Array(buffer);
    this.narrow = new Int32Array(buffer);
    this.overflow = this.wide.length / WORDS - 1;
  }

  /** The slot of a name, claimed for ever when it is new; the same in all threads. Full table: the overflow slot. */
  slotFor(name: string): number {
    const digest = hash('sha256', name, 'hex');
    const key = BigInt.asIntN(64, BigInt(`0x${digest.slice(0, 16)}`) | 1n);
    let slot = Number.parseInt(digest.slice(16, 24), 16) % this.overflow;
    for (let probe = 0; probe < MAX_PROBES; probe++) {
      const found = Atomics.compareExchange(this.wide, slot * WORDS, 0n, key);
      if (found === 0n || found === key) return slot;
      slot = (slot + 1) % this.overflow;
    }
    return this.overflow;
  }

  /**
   * Token bucket as a generic cell rate: one CAS. Exact over all threads: in any span of t ns at most
   * `burstNs / intervalNs + t / intervalNs` calls return 0.
   * @param nowNs monotonic nanoseconds @param intervalNs ns per request @param burstNs burst × intervalNs
   * @returns 0, or ns until a token is there.
   */
  takeToken(slot: number, nowNs: number, intervalNs: number, burstNs: number): number {
    const index = slot * WORDS + 1;
    for (;;) {
      const seen = Atomics.load(this.wide, index);
      const arrival = Number(seen);
      const next = Math.max(arrival, nowNs) + intervalNs;
      if (next - nowNs > burstNs) return next - nowNs - burstNs;
      if (Atomics.compareExchange(this.wide, index, seen, BigInt(next)) === seen) return 0;
    }
  }

  /** What takeToken would return, taking nothing. */
  peekToken(slot: number, nowNs: number, intervalNs: number, burstNs: number): number {
    const arrival = Number(Atomics.load(this.wide, slot * WORDS + 1));
    const wait = (arrival > nowNs ? arrival - nowNs : 0) + intervalNs - burstNs;
    return Math.max(wait, 0);
  }

  /** Counts one request of the day (see quotaDay) unless `quota` are counted. A clock that steps back opens no new day. */
  takeQuota(slot: number, day: number, quota: number): boolean {
    const index = slot * WORDS + 2;
    for (;;) {
      const seen = Atomics.load(this.wide, index);
      const packed = Number(seen);
      const seenDay = Math.floor(packed / DAY_UNIT);
      const count = day > seenDay ? 0 : packed % DAY_UNIT;
      if (count >= quota) return false;
      const next = BigInt(Math.max(day, seenDay) * DAY_UNIT + count + 1);
      if (Atomics.compareExchange(this.wide, index, seen, next) === seen) return true;
    }
  }

  /** Gives back a request counted by takeQuota on the same day. */
  returnQuota(slot: number, day: number): void {
    const index = slot * WORDS + 2;
    for (;;) {
      const seen = Atomics.load(this.wide, index);
      const packed = Number(seen);
      if (Math.floor(packed / DAY_UNIT) !== day || packed % DAY_UNIT === 0) return;
      if (Atomics.compareExchange(this.wide, index, seen, BigInt(packed - 1)) === seen) return;
    }
  }

  /** One more in flight, unless `limit` are. */
  enter(slot: number, limit: number): boolean {
    const index = (slot * WORDS + 3) * 2;
    for (;;) {
      const seen = Atomics.load(this.narrow, index);
      if (seen >= limit) return false;
      if (Atomics.compareExchange(this.narrow, index, seen, seen + 1) === seen) return true;
    }
  }

  /** One less in flight; never below zero, so that limits that appear between enter and leave do no lasting harm. */
  leave(slot: number): void {
    const index = (slot * WORDS + 3) * 2;
    for (;;) {
      const seen = Atomics.load(this.narrow, index);
      if (seen <= 0 || Atomics.compareExchange(this.narrow, index, seen, seen - 1) === seen) return;
    }
  }

  inFlight(slot: number): number {
    return Atomics.load(this.narrow, (slot * WORDS + 3) * 2);
  }
}
