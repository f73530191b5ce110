import { decideShed } from '../admission/shedding.ts';
import { queueFull } from '../batching/queue-bound.ts';
import { monotonicMs } from '../shared/clock.ts';
import { SwitchyardError } from '../shared/errors.ts';
import { RetryBudget } from '../shared/retry-budget.ts';
import { type ExecutorLink, effectivePriority, isCopy } from './executor-link.ts';
import { type Pending, STATE } from './pending.ts';
import type { ServingTable, ServingVersion } from './types.ts';

/** With fewer requests ahead, one batch takes them all, and a wait cannot be told from their number. */
const WORTH_PREDICTING = 64;
/** Of the requests in flight, so many may be there for the second time. */
const RETRY_SHARE = 0.2;
/** As many always: the mates in one batch of the default size. */
const RETRY_MINIMUM = 64;

/** A gateway thread's executors: which of them gets a request, and which one gets it when the first let it down. */
export class ExecutorBook {
  private readonly links = new Map<number, ExecutorLink>();
  private readonly retries = new RetryBudget(RETRY_SHARE, RETRY_MINIMUM);

  add(link: ExecutorLink): void {
    this.links.set(link.id, link);
  }

  get(id: number): ExecutorLink | undefined {
    return this.links.get(id);
  }

  /** Nothing is sent to it, or heard from it, any more. */
  lose(id: number): void {
    this.links.get(id)?.close();
    this.links.delete(id);
  }

  close(): void {
    for (const link of this.links.values()) link.close();
  }

  /** The executor of the version with the fewest unanswered requests. */
  private leastLoaded({ executors }: ServingVersion, except: number = -1): ExecutorLink | undefined {
    let best: ExecutorLink | undefined;
    for (let i = 0; i < executors.length; i++) {
      const link = this.links.get(executors[i]);
      if (link === undefined || link.id === except) continue;
      if (best === undefined || link.outstanding < best.outstanding) best = link;
    }
    return best;
  }

  /** The executor for a new request. Throws overloaded, unavailable. */
  choose(pending: Pending, maxOutstanding: number): ExecutorLink {
    const { version, context } = pending;
    const link = this.leastLoaded(version);
    if (link === undefined) {
      throw new SwitchyardError(
        'unavailable',
        `No executor of model '${version.model}' is running; retry in a moment`,
        { retryAfterMs: 1000 },
      );
    }
    const copy = isCopy(pending);
    if (!copy && link.isFull(version))
      throw queueFull(version.model, version.config.batching.defaultQueuePolicy.maxQueueSize);
    const ahead = link.ahead(copy);
    const crowded = ahead >= maxOutstanding >> 1;
    if (crowded || (context.deadline !== Number.POSITIVE_INFINITY && ahead >= WORTH_PREDICTING)) {
      const verdict = decideShed({
        outstanding: ahead,
        maxOutstanding,
        predictedWaitMs: link.predictedWaitMs(copy),
        deadlineLeftMs: context.deadline - monotonicMs(),
        priority: effectivePriority(pending),
        priorityLevels: version.config.batching.priorityLevels,
      });
      if (verdict !== null) {
        throw new SwitchyardError('overloaded', `The gateway is overloaded (${verdict.reason}); retry later`, {
          retryAfterMs: verdict.retryAfterMs,
        });
      }
    }
    return link;
  }

  /**
   * Sends a request whose executor could not answer it to another one, once, while few enough others are under way for
   * the second time. False: it has to fail.
   */
  sendAgain(pending: Pending, table: ServingTable, inFlight: number): boolean {
    if (pending.retried || !pending.replayable || isCopy(pending) || pending.state === STATE.DONE) return false;
    // What a client has had of a stream cannot be taken back.
    if (pending.streamed !== undefined || pending.turn?.deliver !== undefined) return false;
    const { version } = pending;
    const now = table.models.get(version.model)?.versions.find(({ handle }) => handle === version.handle);
    const other = this.leastLoaded(now ?? version, pending.executor);
    if (other === undefined || !this.retries.tryRetry(inFlight)) return false;
    this.links.get(pending.executor)?.ended(pending);
    pending.retried = true;
    pending.executor = other.id;
    other.send(pending);
    return true;
  }

  /** The request is answered, has failed or was cancelled, wherever it was. */
  ended(pending: Pending): void {
    if (pending.retried) this.retries.retried();
    this.links.get(pending.executor)?.ended(pending);
  }
}
