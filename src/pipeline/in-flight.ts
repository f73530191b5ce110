import { monotonicMs } from '../shared/clock.ts';
import { SwitchyardError } from '../shared/errors.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { PipelineCache } from './cache-step.ts';
import type { ExecutorBook } from './executor-book.ts';
import { effectivePriority, isCopy } from './executor-link.ts';
import type { RequestMetrics } from './parts.ts';
import { type Pending, PendingTable, STATE } from './pending.ts';
import { ResponseOrder } from './response-order.ts';
import type { InferResponse, ServingTable, Timings } from './types.ts';

export interface InFlightParts {
  executors: ExecutorBook;
  metrics: RequestMetrics;
  cache: PipelineCache | undefined;
  table(): ServingTable;
}

const SWEEP_MS = 5;

/**
 * A gateway thread's requests that are under way, and the one end that each has: its last answer, a failure or a
 * cancellation. Whichever comes first takes it out of the table, tells its executor and the count, and lets those behind
 * it have their turn; what comes later finds it no more.
 */
export class InFlight {
  private readonly parts: InFlightParts;
  private readonly executors: ExecutorBook;
  /** By the ids that executors answer with. Others only look up, and take one out that has not ended and will come again. */
  readonly pending = new PendingTable();
  private readonly order = new ResponseOrder();
  /** Runs while a request with a deadline is under way: an idle thread is not woken hundreds of times a second. */
  private sweeper: NodeJS.Timeout | undefined;
  /** Called when the last one has ended; set only while someone waits for that. */
  onEmpty: (() => void) | undefined;

  constructor(parts: InFlightParts) {
    this.parts = parts;
    this.executors = parts.executors;
  }

  /** From now on it is under way. An executor that is busy or stuck cannot tell its requests that they are late: this does. */
  add(pending: Pending): void {
    this.pending.add(pending);
    if (this.pending.withDeadline > 0 && this.sweeper === undefined)
      this.sweeper = setInterval(() => this.sweepDeadlines(), SWEEP_MS).unref();
  }

  /** Streams are not held back: their first response would wait for the ends of those before. */
  takeTurn(pending: Pending): void {
    const { handle, config } = pending.version;
    if (!config.batching.preserveOrdering || config.decoupled || pending.turn !== undefined || isCopy(pending)) return;
    pending.turn = this.order.enter(handle, effectivePriority(pending));
  }

  /** Answers now, or once every request of the model that came before has ended. */
  inTurn(pending: Pending, answer: () => void): void {
    const { turn } = pending;
    if (turn === undefined) answer();
    else turn.line.answer(turn, answer);
  }

  /** An answer, the last one if `final`. `now`: monotonicMs() of its arrival. */
  succeed(pending: Pending, outputs: Tensor[], timings: Timings | undefined, final: boolean, now: number): void {
    const { request, version } = pending;
    if (final) {
      const cacheable = pending.cacheKey !== '' && !version.config.decoupled;
      if (cacheable) this.parts.cache?.set(pending.cacheKey, outputs);
      this.finish(pending);
      this.parts.metrics.success(pending, outputs, timings ?? pending.streamed, now);
    } else {
      pending.streamed = timings;
    }
    const response: InferResponse = {
      model: version.model,
      version: version.version,
      id: request.id,
      outputs,
      parameters: undefined,
      timings,
    };
    pending.observer.onResponse(response, final);
  }

  /** `cpu`, `gpu`: milliseconds that it has used up all the same. */
  fail(pending: Pending, error: SwitchyardError, cpu: number = 0, gpu: number = 0): void {
    this.finish(pending);
    const { version, request, context } = pending;
    this.parts.metrics.failure(version, request, context, error, monotonicMs(), cpu, gpu);
    pending.observer.onError(error);
  }

  /** The client went away: its executor hears of it, its observer does not. */
  cancel(pending: Pending): void {
    if (pending.state === STATE.DONE) return;
    this.finish(pending);
    this.executors.get(pending.executor)?.cancel(pending);
    this.parts.metrics.failure(
      pending.version,
      pending.request,
      pending.context,
      new SwitchyardError('cancelled', 'The client went away'),
    );
  }

  /** It is under way no more, whatever its end was. */
  finish(pending: Pending): void {
    pending.state = STATE.DONE;
    this.pending.remove(pending);
    this.executors.ended(pending);
    if (pending.executor >= 0) this.parts.metrics.pending(pending.version, -1);
    const { turn } = pending;
    if (turn !== undefined && !turn.ended) turn.line.leave(turn);
    if (this.onEmpty !== undefined && this.pending.size === 0) this.onEmpty();
  }

  /** Another executor gets it, if it may. False: it has to fail. */
  sendAgain(pending: Pending): boolean {
    return this.executors.sendAgain(pending, this.parts.table(), this.pending.size);
  }

  /** The executor died: its requests go once to another one that holds the version, or fail as unavailable. */
  loseExecutor(id: number): void {
    this.executors.lose(id);
    this.pending.forEach((pending) => {
      if (pending.executor !== id || pending.state !== STATE.QUEUED || pending.turn?.deliver !== undefined) return;
      if (this.sendAgain(pending)) return;
      this.fail(
        pending,
        new SwitchyardError(
          'unavailable',
          `An executor of model '${pending.version.model}' ended unexpectedly; retry the request`,
        ),
      );
    });
  }

  close(): void {
    clearInterval(this.sweeper);
  }

  private sweepDeadlines(): void {
    if (this.pending.withDeadline === 0) {
      clearInterval(this.sweeper);
      this.sweeper = undefined;
      return;
    }
    const now = monotonicMs();
    this.pending.forEach((pending) => {
      if (pending.context.deadline >= now) return;
      this.executors.get(pending.executor)?.cancel(pending);
      this.fail(
        pending,
        new SwitchyardError(
          'deadline_exceeded',
          `The deadline of the request to model '${pending.version.model}' passed after ${(now - pending.context.receivedAt).toFixed(0)} ms`,
        ),
      );
    });
  }
}
