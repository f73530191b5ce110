import type { BatchingConfig } from '../config/model-config.ts';
import type { Lane } from './lane.ts';
import type { LaneSet } from './lane-set.ts';
import type { LatencyModel } from './latency-model.ts';
import { createLevels, type Level, queueTimeoutAt } from './level.ts';
import { BatchSizing } from './sizing.ts';
import { type BatchDecision, COPY_LEVEL, type DropReason, type QueueItem } from './types.ts';

export interface ModelQueueOptions {
  /** p99 target in milliseconds that the batch size keeps; 0: none. */
  latencyTargetMs?: number;
  /** An item without a deadline is ordered as if it had one this many milliseconds after its arrival. */
  patienceMs?: number;
  /** After refusing for so long on prediction alone, one batch runs regardless, so that the model can be corrected. */
  probeAfterMs?: number;
  /** How late a timer may be: a wait for more items ends this many milliseconds before a deadline needs it to. */
  wakeMarginMs?: number;
}

/** Must not call back into the queue it was called from. */
export type DropListener<T> = (item: T, reason: DropReason) => void;

/** Cancelled items still inside the lanes beyond which (and beyond the live ones) the lanes are swept. */
const MAX_TOMBSTONES = 64;
/** Least milliseconds between two sweeps for expired items. */
const SWEEP_INTERVAL_MS = 1;
/** Later than any deadline: added to the arrival of copies, so that a model with clients waiting goes first. */
const AFTER_CLIENTS_MS = 2 ** 50;

/**
 * The waiting requests of one model on one executor, and the policy that makes batches of them. Levels come first
 * (1 is the highest), then earliest deadline, then order of arrival; with `preserveOrdering` arrival alone decides
 * within a level. A batch holds one shape, the first item's, and takes from lower levels only what is left over. Copies
 * for a shadow come last of all and never share a client's batch, which they would make slower.
 */
export class ModelQueue<T extends QueueItem> {
  readonly #latency: LatencyModel;
  readonly #sizing: BatchSizing;
  /** Those of clients, then that of copies. */
  readonly #levels: Level<T>[];
  readonly #copies: number;
  readonly #fifo: boolean;
  readonly #single: boolean;
  readonly #delayMs: number;
  readonly #patienceMs: number;
  readonly #probeAfterMs: number;
  readonly #wakeMarginMs: number;
  #size = 0;
  #rows = 0;
  #sequence = 0;
  #tombstones = 0;
  /** No item expires before this time. */
  #expiryBound = Infinity;
  /** The last batch had to drop items for their deadlines. */
  #overloaded = false;
  #droppedLate = false;
  /** Since when nothing but refusals on prediction happened; -1: a batch ran since. */
  #refusingSince = -1;
  // The batch being formed, and the lanes it came from, so that it can be put back.
  #batch: T[] = [];
  readonly #fromSet: LaneSet<T>[] = [];
  readonly #fromLane: Lane<T>[] = [];
  readonly #fromEnd: number[] = [];

  /** `latency` is shared with whoever feeds it the measured batches. */
  constructor(config: BatchingConfig, latency: LatencyModel, options: ModelQueueOptions = {}) {
    this.#patienceMs = options.patienceMs ?? 10_000;
    this.#latency = latency;
    this.#sizing = new BatchSizing(config, latency, options.latencyTargetMs ?? 0);
    this.#fifo = config.preserveOrdering;
    this.#levels = createLevels<T>(config, this.#fifo ? (item) => item.slot : (item) => this.#urgency(item));
    this.#copies = this.#levels.length - 1;
    this.#single = !config.enabled || config.maxBatchSize <= 1;
    this.#delayMs = this.#single ? 0 : config.maxQueueDelayMicros / 1000;
    this.#probeAfterMs = options.probeAfterMs ?? 1000;
    this.#wakeMarginMs = options.wakeMarginMs ?? 2;
  }

  /** Items waiting, cancelled ones not counted. */
  get size(): number {
    return this.#size;
  }

  /** Rows of the items waiting. */
  get rows(): number {
    return this.#rows;
  }

  /**
   * Takes the item, which stays the caller's to read but not to change. False: the level's queue is full, and the
   * item is still the caller's. `cancelled` must be false, and only `cancel` may set it. `timeoutMs`: the request's own queue timeout, 0 = none.
   */
  enqueue(item: T, now: number, timeoutMs = 0): boolean {
    const level = this.#levelOf(item);
    const policy = level.policy;
    if (policy.maxQueueSize !== 0 && level.size >= policy.maxQueueSize) return false;
    item.queueTimeoutAt = queueTimeoutAt(policy, now, timeoutMs);
    item.slot = this.#sequence++;
    if (item.deadline < this.#expiryBound) this.#expiryBound = item.deadline;
    if (level.rejects && item.queueTimeoutAt < this.#expiryBound) this.#expiryBound = item.queueTimeoutAt;
    level.active.push(item);
    level.size++;
    this.#size++;
    this.#rows += item.rows;
    return true;
  }

  /** A waiting item that satisfies the predicate; linear, for cancellation. */
  find(predicate: (item: T) => boolean): T | undefined {
    for (const level of this.#levels) {
      if (level.size === 0) continue;
      const found = level.active.findItem(predicate) ?? level.delayed.findItem(predicate);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  /** Frees the item's place at once; it will be in no batch and in no drop. Nothing happens if it already left. */
  cancel(item: T): void {
    if (item.slot < 0 || item.cancelled) return;
    item.cancelled = true;
    this.#uncount(item);
    if (++this.#tombstones > MAX_TOMBSTONES && this.#tombstones > this.#size) this.#sweep(-Infinity, undefined);
  }

  /**
   * The deadline of the item that would go first (arrival plus patience if it has none), by which an executor picks
   * among models. Where only copies wait it is later than any client's; Infinity: nothing waits.
   */
  earliestDeadline(): number {
    if (this.#size === 0) return Infinity;
    for (const level of this.#levels) {
      if (level.size === 0) continue;
      const item = this.#firstLive(level.active) ?? this.#firstLive(level.delayed);
      if (item !== undefined) return this.#urgency(item);
    }
    return Infinity;
  }

  /**
   * Drops whatever is past its deadline or its REJECT timeout. Returns when to call again at the latest, in
   * monotonic milliseconds: for queues that wait long for their executor; `next` does it by itself.
   */
  expire(now: number, dropped: DropListener<T>): number {
    if (now >= this.#expiryBound) {
      this.#sweep(now, dropped);
      if (this.#expiryBound < now + SWEEP_INTERVAL_MS) this.#expiryBound = now + SWEEP_INTERVAL_MS;
    }
    return this.#expiryBound;
  }

  /** The batch to run now. Its items have left the queue; `dropped` hears of each one that left without running. */
  next(now: number, dropped: DropListener<T>): BatchDecision<T> {
    if (now >= this.#expiryBound) this.expire(now, dropped);
    this.#droppedLate = false;
    for (let i = 0; i < this.#levels.length && this.#size > 0; i++) {
      const level = this.#levels[i];
      if (level.size === 0) continue;
      let set = level.active;
      let lane = this.#firstLane(level, set, now, dropped);
      if (lane === undefined) {
        set = level.delayed;
        lane = this.#firstLane(level, set, now, dropped);
      }
      if (lane !== undefined) return this.#form(i, lane, now, dropped);
    }
    return { batch: [], rows: 0, paddedRows: 0, wakeAt: Infinity };
  }

  /** Fills a batch from this level's lane on, then decides whether to run it, a part of it, or wait. */
  #form(levelIndex: number, first: Lane<T>, now: number, dropped: DropListener<T>): BatchDecision<T> {
    const sizing = this.#sizing;
    const head = first.peek() as T;
    const shapeKey = head.shapeKey;
    const targetRows = this.#single ? 1 : sizing.targetRows(now - head.enqueuedAt);
    const known = this.#latency.observations > 0;
    const batch: T[] = [];
    this.#batch = batch;
    let rows = 0;
    let oldest = Infinity;
    let tightest = Infinity;
    let preferredCount = 0;
    let preferredRows = 0;
    let full = false;
    const end = levelIndex === this.#copies ? this.#levels.length : this.#copies;
    for (let i = levelIndex; i < end && !full; i++) {
      const level = this.#levels[i];
      if (level.size === 0) continue;
      for (let phase = 0; phase < 2 && !full; phase++) {
        const set = phase === 0 ? level.active : level.delayed;
        const lane = set.find(shapeKey);
        if (lane === undefined || lane.length === 0) continue;
        while (!full) {
          const item = this.#ready(level, lane, phase === 0, now, dropped);
          if (item === undefined) break;
          if (batch.length > 0) {
            const total = rows + item.rows;
            const limit = Math.min(item.deadline, tightest);
            if (
              total > targetRows ||
              total > sizing.maxRows ||
              (this.#fifo && item.shapeKey !== shapeKey) ||
              (limit < Infinity && known && now + sizing.cost(total) > limit)
            ) {
              full = true;
              break;
            }
          }
          lane.pop();
          batch.push(item);
          rows += item.rows;
          if (item.deadline < tightest) tightest = item.deadline;
          if (item.enqueuedAt < oldest) oldest = item.enqueuedAt;
          if (sizing.maxPreferred > 0 && sizing.isPreferred(rows)) {
            preferredCount = batch.length;
            preferredRows = rows;
          }
          full = this.#single || rows >= sizing.maxRows || rows === sizing.maxPreferred;
        }
        this.#fromSet.push(set);
        this.#fromLane.push(lane);
        this.#fromEnd.push(batch.length);
      }
    }
    let wakeAt = Infinity;
    if (preferredCount > 0) {
      this.#putBack(preferredCount);
      rows = preferredRows;
    } else if (!full && this.#delayMs > 0) {
      wakeAt = Math.min(oldest + this.#delayMs, sizing.latestStart(rows, oldest, tightest) - this.#wakeMarginMs);
      if (wakeAt > now) {
        this.#putBack(0);
        this.#settle();
        return { batch, rows: 0, paddedRows: 0, wakeAt: Math.min(wakeAt, this.#expiryBound) };
      }
    }
    this.#settle();
    this.#depart(batch, rows);
    this.#overloaded = this.#droppedLate;
    this.#refusingSince = -1;
    return { batch, rows, paddedRows: sizing.padded(rows), wakeAt: Infinity };
  }

  /** The lane whose first item can run, after dropping or moving those before it that cannot. */
  #firstLane(level: Level<T>, set: LaneSet<T>, now: number, dropped: DropListener<T>): Lane<T> | undefined {
    for (let lane = set.top(); lane !== undefined; lane = set.top()) {
      const before = lane.peek();
      let item = this.#ready(level, lane, set === level.active, now, dropped);
      if (item !== undefined && this.#isWasteful(item, lane, now)) {
        this.#drop(lane, item, 'deadline', dropped);
        item = undefined;
      }
      if (item !== undefined && item === before) return lane;
      set.settle(lane);
    }
    return undefined;
  }

  /** The lane's first item that can run; drops or moves those before it. The caller settles the lane. */
  #ready(level: Level<T>, lane: Lane<T>, active: boolean, now: number, dropped: DropListener<T>): T | undefined {
    for (let item = lane.peek(); item !== undefined; item = lane.peek()) {
      if (item.cancelled) {
        lane.pop();
        this.#bury(item);
      } else if (item.deadline < Infinity && this.#misses(item, now)) {
        this.#drop(lane, item, 'deadline', dropped);
      } else if (active && item.queueTimeoutAt <= now) {
        if (level.rejects) {
          this.#drop(lane, item, 'queue_timeout', dropped);
        } else {
          lane.pop();
          item.slot = this.#sequence++;
          level.delayed.push(item);
        }
      } else {
        return item;
      }
    }
    return undefined;
  }

  /** Whether the item cannot be answered in time even by a batch of its own. */
  #misses(item: T, now: number): boolean {
    if (now >= item.deadline) return true;
    if (this.#latency.observations === 0) return false;
    if (now + this.#sizing.expectedCost(item.rows) <= item.deadline) return false;
    if (this.#refusingSince < 0) this.#refusingSince = now;
    return now - this.#refusingSince < this.#probeAfterMs;
  }

  #isWasteful(item: T, lane: Lane<T>, now: number): boolean {
    if (!this.#overloaded || this.#single || item.deadline === Infinity || this.#fifo) return false;
    if (this.#latency.observations === 0 || lane.length < 2 * this.#sizing.maxRows) return false;
    return this.#sizing.wasteful(item.deadline - now, item.rows, lane.length);
  }

  #drop(lane: Lane<T>, item: T, reason: DropReason, dropped: DropListener<T>): void {
    lane.pop();
    if (reason === 'deadline') this.#droppedLate = true;
    this.#uncount(item);
    item.slot = -1;
    dropped(item, reason);
  }

  /** Returns the batch's items from index `keep` on to the lanes they came from. */
  #putBack(keep: number): void {
    const batch = this.#batch;
    for (let i = this.#fromLane.length - 1; i >= 0 && batch.length > keep; i--) {
      const start = Math.max(keep, i === 0 ? 0 : this.#fromEnd[i - 1]);
      while (batch.length > start) this.#fromLane[i].unpop(batch.pop() as T);
    }
  }

  #settle(): void {
    for (let i = 0; i < this.#fromLane.length; i++) this.#fromSet[i].settle(this.#fromLane[i]);
    this.#fromSet.length = 0;
    this.#fromLane.length = 0;
    this.#fromEnd.length = 0;
  }

  #depart(batch: T[], rows: number): void {
    this.#size -= batch.length;
    this.#rows -= rows;
    for (const item of batch) {
      item.slot = -1;
      this.#levelOf(item).size--;
    }
  }

  #uncount(item: T): void {
    this.#size--;
    this.#rows -= item.rows;
    this.#levelOf(item).size--;
  }

  #bury(item: T): void {
    item.slot = -1;
    this.#tombstones--;
  }

  #urgency(item: T): number {
    if (item.priority === COPY_LEVEL) return item.enqueuedAt + AFTER_CLIENTS_MS;
    return item.deadline === Infinity ? item.enqueuedAt + this.#patienceMs : item.deadline;
  }

  #levelOf(item: T): Level<T> {
    const { priority } = item;
    if (priority === COPY_LEVEL) return this.#levels[this.#copies];
    return this.#levels[Math.min(Math.max(priority, 1), this.#copies) - 1];
  }

  #firstLive(set: LaneSet<T>): T | undefined {
    for (let lane = set.top(); lane !== undefined; lane = set.top()) {
      const item = lane.peek();
      if (item !== undefined && !item.cancelled) return item;
      if (item !== undefined) this.#bury(item);
      lane.pop();
      set.settle(lane);
    }
    return undefined;
  }

  /** Clears cancelled items out of every lane and, given a listener, expired ones; recomputes the expiry bound. */
  #sweep(now: number, dropped: DropListener<T> | undefined): void {
    let bound = Infinity;
    for (const level of this.#levels) {
      for (const set of [level.active, level.delayed]) {
        const times = level.rejects && set === level.active;
        set.sweep((item) => {
          if (item.cancelled) {
            this.#bury(item);
            return false;
          }
          const late = now >= item.deadline;
          if (dropped !== undefined && (late || (times && now >= item.queueTimeoutAt))) {
            this.#uncount(item);
            item.slot = -1;
            dropped(item, late ? 'deadline' : 'queue_timeout');
            return false;
          }
          const expiry = times ? Math.min(item.deadline, item.queueTimeoutAt) : item.deadline;
          if (expiry < bound) bound = expiry;
          return true;
        });
      }
    }
    this.#expiryBound = bound;
  }
}
